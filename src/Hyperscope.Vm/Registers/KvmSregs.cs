using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hyperscope.Vm;

/// <summary>One segment register with its hidden part (C name <c>kvm_segment</c>).</summary>
/// <remarks>24 bytes. <c>Limit</c> is in bytes, <c>Db</c> is the default operand size, <c>Unusable</c> is 1 for a null segment.
/// Source: kvmi-abi.md 3.2.</remarks>
[StructLayout(LayoutKind.Sequential)]
public struct KvmSegment
{
#pragma warning disable CS1591 // descriptor fields by their SDM names
    public ulong Base;
    public uint Limit;
    public ushort Selector;
    public byte Type, Present, Dpl, Db, S, L, G, Avl, Unusable;
    public byte Padding;
#pragma warning restore CS1591
}

/// <summary>GDTR or IDTR (C name <c>kvm_dtable</c>).</summary>
/// <remarks>16 bytes. Source: kvmi-abi.md 3.3.</remarks>
[StructLayout(LayoutKind.Sequential)]
public struct KvmDtable
{
#pragma warning disable CS1591
    public ulong Base;
    public ushort Limit;
    public ushort Padding0, Padding1, Padding2;
#pragma warning restore CS1591
}

/// <summary>256 bits, at most one of them set: the external interrupt being delivered.</summary>
[InlineArray(4)]
public struct InterruptBitmap
{
    private ulong _bits;
}

/// <summary>Segment, descriptor-table and control registers (C name <c>kvm_sregs</c>).</summary>
/// <remarks>312 bytes. Source: kvmi-abi.md 3.4.</remarks>
[StructLayout(LayoutKind.Sequential)]
public struct KvmSregs
{
#pragma warning disable CS1591 // the register names say it
    public KvmSegment Cs, Ds, Es, Fs, Gs, Ss, Tr, Ldt;
    public KvmDtable Gdt, Idt;
    public ulong Cr0, Cr2, Cr3, Cr4, Cr8, Efer, ApicBase;
    public InterruptBitmap InterruptBitmap;
#pragma warning restore CS1591
}

/// <summary>An MSR and its value (C name <c>kvm_msr_entry</c>).</summary>
/// <remarks>16 bytes. Source: kvmi-abi.md 3.5.</remarks>
[StructLayout(LayoutKind.Sequential)]
public struct KvmMsrEntry
{
#pragma warning disable CS1591
    public uint Index;
    public uint Reserved;
    public ulong Data;
#pragma warning restore CS1591
}

/// <summary>The result of one CPUID leaf, as the guest sees it. 16 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct CpuidResult(uint Eax, uint Ebx, uint Ecx, uint Edx);

/// <summary>Bytes per default address/operand of the running code, as KVMI reports it (kvmi-abi.md 3.8).</summary>
public enum CpuMode : byte
{
    /// <summary>CS.D/B = 0 outside 64-bit code.</summary>
    Bits16 = 2,

    /// <summary>CS.D/B = 1 outside 64-bit code.</summary>
    Bits32 = 4,

    /// <summary>EFER.LMA and CS.L.</summary>
    Bits64 = 8,
}

/// <summary>MTRR memory types (SDM vol. 3, "Memory Type Range Registers").</summary>
public enum MemoryType : byte
{
#pragma warning disable CS1591
    Uncacheable = 0,
    WriteCombining = 1,
    WriteThrough = 4,
    WriteProtected = 5,
    WriteBack = 6,
#pragma warning restore CS1591
}
