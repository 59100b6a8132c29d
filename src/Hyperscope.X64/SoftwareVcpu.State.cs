using System.Runtime.CompilerServices;
using Hyperscope.Vm;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>Registers as introspection and loaders see them.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    /// <inheritdoc/>
    public bool IsInitialized { get; private set; }

    /// <inheritdoc/>
    public CpuMode Mode => _c->Is64Bit ? CpuMode.Bits64 : _c->Cs.Default32 ? CpuMode.Bits32 : CpuMode.Bits16;

    /// <inheritdoc/>
    public void GetRegisters(out KvmRegs registers)
    {
        ulong* r = _c->R;
        registers = new KvmRegs
        {
            Rax = r[0],
            Rcx = r[1],
            Rdx = r[2],
            Rbx = r[3],
            Rsp = r[4],
            Rbp = r[5],
            Rsi = r[6],
            Rdi = r[7],
            R8 = r[8],
            R9 = r[9],
            R10 = r[10],
            R11 = r[11],
            R12 = r[12],
            R13 = r[13],
            R14 = r[14],
            R15 = r[15],
            Rip = _c->Rip,
            Rflags = Flags.GetAll(_c),
        };
    }

    /// <inheritdoc/>
    public void SetRegisters(in KvmRegs registers)
    {
        ulong* r = _c->R;
        r[0] = registers.Rax;
        r[1] = registers.Rcx;
        r[2] = registers.Rdx;
        r[3] = registers.Rbx;
        r[4] = registers.Rsp;
        r[5] = registers.Rbp;
        r[6] = registers.Rsi;
        r[7] = registers.Rdi;
        r[8] = registers.R8;
        r[9] = registers.R9;
        r[10] = registers.R10;
        r[11] = registers.R11;
        r[12] = registers.R12;
        r[13] = registers.R13;
        r[14] = registers.R14;
        r[15] = registers.R15;
        _c->Rip = registers.Rip;
        SetFlags(registers.Rflags);
    }

    /// <summary>Loads RFLAGS whole and selects the context that goes with it.</summary>
    internal void SetFlags(ulong flags)
    {
        Flags.Load(_c, flags);
        _c->SystemFlags = (flags & Rflags.All & ~Rflags.Arithmetic) | Rflags.Fixed;
        SelectContext();
    }

    /// <summary>Copies a segment register in, hidden part and all.</summary>
    internal void SetSegment(SegmentIndex index, in KvmSegment segment)
    {
        Segment* target = &_c->Es + (int)index;
        *target = FromKvm(segment);
        _c->SegmentBase[(int)index] = target->Base;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Segment FromKvm(in KvmSegment segment) => new()
    {
        Base = segment.Base,
        Limit = segment.Limit,
        Selector = segment.Selector,
        Type = (byte)(segment.Type & 0xF),
        Dpl = (byte)(segment.Dpl & 3),
        Present = segment.Present != 0,
        CodeOrData = segment.S != 0,
        Default32 = segment.Db != 0,
        Long = segment.L != 0,
        Granular = segment.G != 0,
        Available = segment.Avl != 0,
        Unusable = segment.Unusable != 0,
    };

    private void Reset()
    {
        IsInitialized = true;
        _c->Rip = 0xFFF0;
        ResetVectorState();
        SetFlags(Rflags.Fixed);
    }
}
