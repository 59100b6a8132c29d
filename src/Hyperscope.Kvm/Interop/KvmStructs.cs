using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Hyperscope.Vm;

namespace Hyperscope.Kvm;

/// <summary>The head of a list with a variable number of entries (kvm_msrs, kvm_cpuid2). 8 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmListHeader
{
    public uint Count;
    public uint Padding;
}

/// <summary>kvm_userspace_memory_region. 32 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmUserspaceMemoryRegion
{
    public const uint ReadOnly = 1 << 1;

    public uint Slot, Flags;
    public ulong GuestAddress, Bytes, UserAddress;
}

/// <summary>kvm_enable_cap. 104 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmEnableCap
{
    public uint Capability, Flags;
    public fixed ulong Arguments[4];
    public fixed byte Padding[64];
}

/// <summary>kvm_xen_hvm_config. 56 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmXenHvmConfig
{
    public const uint InterceptHypercalls = 1 << 1;

    public uint Flags, Msr;
    public ulong BlobAddress32, BlobAddress64;
    public byte BlobSize32, BlobSize64;
    public fixed byte Padding[30];
}

/// <summary>kvm_msr_filter_range. 24 bytes. A clear bit in the bitmap denies the MSR.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmMsrFilterRange
{
    public const uint Reads = 1, Writes = 2;

    public uint Flags, Count, First;
    public nint Bitmap;
}

/// <summary>kvm_msr_filter. 392 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmMsrFilter
{
    public const int MaxRanges = 16;

    public uint Flags;
    public RangeArray Ranges;

    [InlineArray(MaxRanges)]
    internal struct RangeArray
    {
        private KvmMsrFilterRange _first;
    }
}

/// <summary>kvm_guest_debug. 72 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmGuestDebug
{
    public const uint Enable = 1, SingleStep = 2, SoftwareBreakpoints = 0x10000;

    public uint Control, Padding;
    public fixed ulong DebugRegisters[8];
}

/// <summary>kvm_vcpu_events. 64 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmVcpuEvents
{
    public const uint ValidShadow = 4, ValidNmiPending = 1;
    public const byte ShadowMovSs = 1, ShadowSti = 2;

    public byte ExceptionInjected, ExceptionVector, ExceptionHasErrorCode, ExceptionPending;
    public uint ExceptionErrorCode;
    public byte InterruptInjected, InterruptVector, InterruptSoft, InterruptShadow;
    public byte NmiInjected, NmiPending, NmiMasked, NmiPadding;
    public uint SipiVector, Flags;
    public byte SmiSmm, SmiPending, SmiInsideNmi, SmiLatchedInit;
    public byte TripleFaultPending;
    public fixed byte Reserved[26];
    public byte ExceptionHasPayload;
    public ulong ExceptionPayload;
}

/// <summary>kvm_debugregs. 128 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmDebugRegs
{
    public fixed ulong Addresses[4];
    public ulong Dr6, Dr7, Flags;
    public fixed ulong Reserved[9];
}

/// <summary>kvm_xsave: a standard-format image. 4096 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmXsave
{
    public fixed byte Image[4096];
}

/// <summary>kvm_xcrs. 392 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmXcrs
{
    public uint Count, Flags;

    // The first of 16 entries of 16 bytes: number, reserved, value.
    public uint FirstNumber, FirstReserved;
    public ulong FirstValue;
    public fixed byte Rest[15 * 16];
    public fixed ulong Padding[16];
}

/// <summary>kvm_cpuid_entry2. 40 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmCpuidEntry
{
    public const uint IndexIsSignificant = 1;

    public uint Function, Index, Flags, Eax, Ebx, Ecx, Edx;
    public fixed uint Padding[3];
}

/// <summary>The page that kernel and process share for each vCPU (kvm_run): its fixed head.</summary>
[StructLayout(LayoutKind.Explicit, Size = 304 + 2048)]
internal struct KvmRun
{
    public const ulong SyncRegs = 1, SyncSregs = 2, SyncEvents = 4;

    [FieldOffset(0)]
    public byte RequestInterruptWindow;

    [FieldOffset(1)]
    public byte ImmediateExit;

    [FieldOffset(8)]
    public KvmExitReason ExitReason;

    [FieldOffset(12)]
    public byte ReadyForInterrupt;

    [FieldOffset(16)]
    public ulong Cr8;

    [FieldOffset(24)]
    public ulong ApicBase;

    [FieldOffset(32)]
    public KvmExitIo Io;

    [FieldOffset(32)]
    public KvmExitMmio Mmio;

    [FieldOffset(32)]
    public KvmExitMsr Msr;

    [FieldOffset(32)]
    public KvmExitXen Xen;

    [FieldOffset(32)]
    public KvmExitInternal Internal;

    [FieldOffset(32)]
    public ulong HardwareReason;

    [FieldOffset(288)]
    public ulong ValidRegs;

    [FieldOffset(296)]
    public ulong DirtyRegs;

    [FieldOffset(304)]
    public KvmRegs Regs;

    [FieldOffset(304 + 144)]
    public KvmSregs Sregs;

    [FieldOffset(304 + 144 + 312)]
    public KvmVcpuEvents Events;
}

[StructLayout(LayoutKind.Sequential)]
internal struct KvmExitIo
{
    public byte Direction, Size; // 0: in, 1: out
    public ushort Port;
    public uint Count;
    public ulong DataOffset;
}

[StructLayout(LayoutKind.Sequential)]
internal struct KvmExitMmio
{
    public ulong Address, Data;
    public uint Length;
    public byte IsWrite;
}

[StructLayout(LayoutKind.Sequential)]
internal struct KvmExitMsr
{
    public byte Error;
    public byte Padding0, Padding1, Padding2, Padding3, Padding4, Padding5, Padding6;
    public uint Reason, Index;
    public ulong Data;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmExitXen
{
    public uint Type, Padding;
    public uint LongMode, Cpl;
    public ulong Input, Result;
    public fixed ulong Parameters[6];
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmExitInternal
{
    public uint Suberror, Count;
    public fixed ulong Data[16];
}

/// <summary>Why KVM_RUN came back (KVM_EXIT_*).</summary>
internal enum KvmExitReason : uint
{
    Unknown = 0,
    Io = 2,
    Hypercall = 3,
    Debug = 4,
    Halt = 5,
    Mmio = 6,
    InterruptWindow = 7,
    Shutdown = 8,
    FailEntry = 9,
    Interrupted = 10,
    SetTaskPriority = 11,
    InternalError = 17,
    SystemEvent = 24,
    ReadMsr = 29,
    WriteMsr = 30,
    Xen = 34,
    MemoryFault = 39,
}
