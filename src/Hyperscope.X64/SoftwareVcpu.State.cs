using System.Runtime.CompilerServices;
using Hyperscope.Vm;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>Registers as introspection and loaders see them.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    /// <inheritdoc/>
    public CpuMode Mode => _c->Is64Bit ? CpuMode.Bits64 : _c->Cs.Default32 ? CpuMode.Bits32 : CpuMode.Bits16;

    /// <inheritdoc/>
    public ulong Xcr0
    {
        get
        {
            Accelerator?.Fetch(AcceleratorState.Vector);
            return _c->Xcr0;
        }
    }

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
        if (_delivery is { Fault.IsSoftware: true } pending && registers.Rip != _c->Rip)
        {
            FaultInfo fault = pending.Fault;
            fault.NextRip = registers.Rip;
            _delivery = pending with { Fault = fault };
        }

        _c->Rip = registers.Rip;

        // Virtual-8086 mode is entered and left by the guest only: it would drag segments and privilege along.
        SetFlags((registers.Rflags & ~Rflags.Vm) | (_c->SystemFlags & Rflags.Vm));
    }

    /// <inheritdoc/>
    public void GetSpecialRegisters(out KvmSregs registers)
    {
        registers = new KvmSregs
        {
            Cs = ToKvm(_c->Cs),
            Ds = ToKvm(_c->Ds),
            Es = ToKvm(_c->Es),
            Fs = ToKvm(_c->Fs),
            Gs = ToKvm(_c->Gs),
            Ss = ToKvm(_c->Ss),
            Tr = ToKvm(_c->Tr),
            Ldt = ToKvm(_c->Ldtr),
            Gdt = new KvmDtable { Base = _c->Gdtr.Base, Limit = _c->Gdtr.Limit },
            Idt = new KvmDtable { Base = _c->Idtr.Base, Limit = _c->Idtr.Limit },
            Cr0 = _c->Cr0,
            Cr2 = _c->Cr2,
            Cr3 = _c->Cr3,
            Cr4 = _c->Cr4,
            Cr8 = ReadCr8(),
            Efer = _c->Efer,
            ApicBase = ReadApicBase(),
        };
        registers.Ss.Dpl = (byte)_c->Cpl;
        if (_delivery is { IsExternal: true } pending)
            registers.InterruptBitmap[pending.Fault.Vector >> 6] = 1UL << (pending.Fault.Vector & 63);
    }

    /// <summary>Replaces segment, table and control registers: for loaders, before the vCPU runs or on its own thread.</summary>
    /// <remarks>The privilege level is the DPL of SS. EFER.LMA follows from EFER.LME and CR0.PG. Values are not checked
    /// beyond keeping reserved bits clear.</remarks>
    public void SetSpecialRegisters(in KvmSregs registers)
    {
        _c->Cr0 = (registers.Cr0 & Cr0.All) | Cr0.Et;
        _c->Cr2 = registers.Cr2;
        _c->Cr3 = registers.Cr3 & ~(1UL << 63);
        _c->Cr4 = registers.Cr4 & Cr4.Supported;
        ulong efer = registers.Efer & (Efer.Sce | Efer.Lme | Efer.Nx);
        if ((efer & Efer.Lme) != 0 && (_c->Cr0 & Cr0.Pg) != 0)
            efer |= Efer.Lma;
        _c->Efer = efer;
        SetSegment(SegmentIndex.Ds, FromKvm(registers.Ds));
        SetSegment(SegmentIndex.Es, FromKvm(registers.Es));
        SetSegment(SegmentIndex.Fs, FromKvm(registers.Fs));
        SetSegment(SegmentIndex.Gs, FromKvm(registers.Gs));
        SetSegment(SegmentIndex.Ss, FromKvm(registers.Ss));
        _c->Tr = FromKvm(registers.Tr);
        _c->Ldtr = FromKvm(registers.Ldt);
        _c->Gdtr = new TableRegister { Base = registers.Gdt.Base, Limit = registers.Gdt.Limit };
        _c->Idtr = new TableRegister { Base = registers.Idt.Base, Limit = registers.Idt.Limit };
        SetCode(FromKvm(registers.Cs), _c->IsProtected ? registers.Ss.Dpl & 3 : 0);
        WriteCr8(registers.Cr8 & 0xF);
        FlushTranslations();
    }

    /// <summary>Copies a segment register in, hidden part and all.</summary>
    internal void SetSegment(SegmentIndex index, in KvmSegment segment)
    {
        if (index == SegmentIndex.Cs)
            SetCode(FromKvm(segment), _c->Cpl);
        else
            SetSegment(index, FromKvm(segment));
    }

    /// <summary>Loads RFLAGS whole and selects the context that goes with it.</summary>
    internal void SetFlags(ulong flags)
    {
        Flags.Load(_c, flags);
        _c->SystemFlags = (flags & Rflags.All & ~Rflags.Arithmetic) | Rflags.Fixed;
        SelectContext();
    }

    private static KvmSegment ToKvm(in Segment segment) => new()
    {
        Base = segment.Base,
        Limit = segment.Limit,
        Selector = segment.Selector,
        Type = segment.Type,
        Dpl = segment.Dpl,
        Present = Bit(segment.Present),
        S = Bit(segment.CodeOrData),
        Db = Bit(segment.Default32),
        L = Bit(segment.Long),
        G = Bit(segment.Granular),
        Avl = Bit(segment.Available),
        Unusable = Bit(segment.Unusable),
    };

    private static byte Bit(bool value) => (byte)(value ? 1 : 0);

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
}
