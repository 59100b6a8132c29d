using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hyperscope.X64.Execution;

/// <summary>Everything an instruction handler touches, in one pinned block of memory outside the managed heap.</summary>
/// <remarks>Register operands of an <see cref="Op"/> are byte offsets from the start of this struct, so AH is "RAX + 1" and an absent
/// base or index is the slot that always holds zero. The fields of the hot path come first, so that they share cache lines.</remarks>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct CpuState
{
    public const int ZeroRegister = 16;
    public const int GeneralRegisters = 16;
    public const int SegmentCount = 6;

    /// <summary>RAX RCX RDX RBX RSP RBP RSI RDI R8..R15 in encoding order, then a slot that is always zero.</summary>
    public fixed ulong R[17];

    /// <summary>Lazy flags: the result of the last arithmetic instruction, sign-extended. See <see cref="Flags"/>.</summary>
    public ulong FlagResult;

    /// <summary>Lazy flags: carries and corrections. See <see cref="Flags"/>.</summary>
    public ulong FlagAux;

    /// <summary>Instructions left before the run loop looks around. Ends of blocks subtract.</summary>
    public long Budget;

    /// <summary>Zero, or <see cref="long.MinValue"/> to leave the chain of blocks at the next end of a block. Set by any thread.</summary>
    public long Attention;

    /// <summary>The translation cache of the current privilege context.</summary>
    public TlbEntry* Tlb;

    /// <summary>Names the current mappings and code mode; a block link made under another generation is looked up again.</summary>
    public ulong Generation;

    /// <summary>Direct-mapped cache of block starts for computed branches.</summary>
    public JumpCacheEntry* JumpCache;

    /// <summary>Instruction pointer; true only outside a block.</summary>
    public ulong Rip;

    /// <summary>RFLAGS without the six arithmetic flags, bit 1 set: TF IF DF IOPL NT RF VM AC VIF VIP ID.</summary>
    public ulong SystemFlags;

    /// <summary>Bases of ES CS SS DS FS GS, then zero for "no segment".</summary>
    public fixed ulong SegmentBase[7];

    /// <summary>Why the handlers returned to the run loop.</summary>
    public StopReason Stop;

    /// <summary>Current privilege level, 0 to 3.</summary>
    public int Cpl;

    /// <summary>The exception of <see cref="StopReason.Fault"/>.</summary>
    public FaultInfo Fault;

    /// <summary>Interrupts are held off for one instruction: 1 after STI, 2 (debug traps too) after MOV SS and POP SS.</summary>
    public int InterruptShadow;

    /// <summary>1 while an interrupt waits for IF; instructions that set IF then leave the chain.</summary>
    public int InterruptWaiting;

    /// <summary>Parts of repeated string instructions done in this slice: each counts against the budget, none as an instruction retired.</summary>
    public long Repeated;

    public ulong Cr0, Cr2, Cr3, Cr4, Cr8, Efer, Xcr0;
    public ulong Star, Lstar, Cstar, Sfmask, KernelGsBase, TscAux, SysenterCs, SysenterEsp, SysenterEip, Pat, MiscEnable;
    public fixed ulong Dr[8];
    public Segment Es, Cs, Ss, Ds, Fs, Gs, Ldtr, Tr;
    public TableRegister Gdtr, Idtr;

    /// <summary>Sixteen vector registers of 32 bytes; SSE uses the low halves.</summary>
    public fixed ulong Vector[16 * 4];

    /// <summary>x87 registers by physical number: 64-bit significand, then sign and exponent in the low 16 bits.</summary>
    public fixed ulong X87[8 * 2];

    public uint Mxcsr;
    public ushort X87Control, X87Status, X87Opcode;

    /// <summary>One bit a physical x87 register: 1 = in use. TOP is kept in <see cref="X87Status"/>.</summary>
    public byte X87Tags;
    public ulong X87InstructionPointer, X87DataPointer;
    public ushort X87CodeSelector, X87DataSelector;

    /// <summary>Staging for accesses that cross a page or go to a device: the value read, or the value about to be written.</summary>
    public fixed byte Staging[4096 + 64];

    /// <summary>GCHandle of the owning <see cref="SoftwareVcpu"/>.</summary>
    public nint OwnerHandle;

    /// <summary>The managed half. For cold paths only.</summary>
    public readonly SoftwareVcpu Owner => Unsafe.As<SoftwareVcpu>(GCHandle.FromIntPtr(OwnerHandle).Target!);

    public readonly bool IsLongMode => (Efer & X64.Efer.Lma) != 0;

    public readonly bool Is64Bit => (Efer & X64.Efer.Lma) != 0 && Cs.Long;

    public readonly bool IsProtected => (Cr0 & X64.Cr0.Pe) != 0;

    public readonly bool IsVirtual8086 => (SystemFlags & Rflags.Vm) != 0;

    /// <summary>Records a fault at <paramref name="op"/> and stops: nothing of the instruction has happened.</summary>
    /// <returns>False, so that a handler can say <c>return c->Raise(...)</c>.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public bool Raise(Op* op, byte vector, uint errorCode = 0, bool hasErrorCode = false)
    {
        Fault = new FaultInfo { Vector = vector, ErrorCode = errorCode, HasErrorCode = hasErrorCode };
        return StopAt(op, StopReason.Fault);
    }

    /// <summary>#GP with an error code.</summary>
    public bool RaiseGp(Op* op, uint errorCode = 0) => Raise(op, X64.Vector.GeneralProtection, errorCode, true);

    /// <summary>#UD.</summary>
    public bool RaiseUd(Op* op) => Raise(op, X64.Vector.InvalidOpcode);

    /// <summary>Stops in front of <paramref name="op"/>, whose instruction has had no effect.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public bool StopAt(Op* op, StopReason reason)
    {
        Rip = op->Rip;
        Budget -= op->Index;
        Stop = reason;
        return false;
    }
}

/// <summary>Why the chain of handlers came back to the run loop.</summary>
internal enum StopReason
{
    /// <summary>Budget used up, attention asked for, or the end of a single instruction: rip is at the next instruction.</summary>
    None,

    /// <summary>An exception is to be delivered; rip is at the faulting instruction (for a trap: behind it).</summary>
    Fault,

    /// <summary>An access met a restricted frame; the details are in the vCPU.</summary>
    PageAccess,

    /// <summary>The instruction must run alone (it writes to its own block, or repeats after an approved access).</summary>
    RunAlone,

    /// <summary>HLT: sleep until an interrupt.</summary>
    Halt,

    /// <summary>A pending x87 error with CR0.NE clear: drive the error pin, sleep until an interrupt, begin the instruction again.</summary>
    X87Error,

    /// <summary>An observer asked to start over at the rip that is now in the registers.</summary>
    Restart,
}

/// <summary>An exception about to be delivered.</summary>
internal struct FaultInfo
{
    public byte Vector;
    public bool HasErrorCode;

    /// <summary>INT n, INT3, INTO, INT1: rip is at the instruction, and <see cref="NextRip"/> is what the handler returns to.</summary>
    public bool IsSoftware;

    /// <summary>INT1: the gate's privilege level is not looked at.</summary>
    public bool SkipsGatePrivilege;

    /// <summary>#DB in front of an access to a debug register (DR7.GD): pushes RF as other faults do.</summary>
    public bool IsGeneralDetect;
    public uint ErrorCode;

    /// <summary>For a software interrupt: instruction pointer behind it.</summary>
    public ulong NextRip;

    /// <summary>For #PF: goes to CR2.</summary>
    public ulong Address;
}

/// <summary>A segment register with its hidden part.</summary>
internal struct Segment
{
    public ulong Base;

    /// <summary>In bytes, granularity applied.</summary>
    public uint Limit;
    public ushort Selector;

    /// <summary>Descriptor type field, 4 bits.</summary>
    public byte Type;
    public byte Dpl;
    public bool Present, CodeOrData, Default32, Long, Granular, Available, Unusable;

    public readonly bool IsCode => CodeOrData && (Type & 8) != 0;

    public readonly bool IsWritableData => CodeOrData && (Type & 0xA) == 2;

    public readonly bool IsReadable => CodeOrData && (Type & 0xA) != 8;

    public readonly bool IsExpandDown => CodeOrData && (Type & 0xC) == 4;

    public readonly bool IsConforming => CodeOrData && (Type & 0xC) == 0xC;
}

/// <summary>GDTR or IDTR.</summary>
internal struct TableRegister
{
    public ulong Base;
    public ushort Limit;
}

/// <summary>Segment registers in encoding order; <see cref="None"/> indexes a base of zero.</summary>
internal enum SegmentIndex : byte
{
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
    None,
}
