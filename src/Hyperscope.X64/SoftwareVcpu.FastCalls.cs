using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>SYSCALL, SYSRET, SYSENTER, SYSEXIT: no descriptor is read.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    private static Segment FlatCode(int selector, int dpl, bool isLong) => new()
    {
        Limit = 0xFFFF_FFFF,
        Selector = (ushort)((selector & ~3) | dpl),
        Type = 0xB,
        Dpl = (byte)dpl,
        Present = true,
        CodeOrData = true,
        Long = isLong,
        Default32 = !isLong,
        Granular = true,
    };

    private static Segment FlatStack(int selector, int dpl) => new()
    {
        Limit = 0xFFFF_FFFF,
        Selector = (ushort)((selector & ~3) | dpl),
        Type = 3,
        Dpl = (byte)dpl,
        Present = true,
        CodeOrData = true,
        Default32 = true,
        Granular = true,
    };

    /// <summary>SYSCALL. False: stopped.</summary>
    internal bool TrySystemCall(Op* o, out ulong rip)
    {
        rip = 0;

        // Outside 64-bit code only processors that are not Intel's have it.
        if ((_c->Efer & Efer.Sce) == 0 || !_c->IsLongMode || (!_c->Is64Bit && Model.Vendor == "GenuineIntel"))
            return _c->RaiseUd(o);
        rip = _c->Is64Bit ? _c->Lstar : _c->Cstar;
        ulong flags = Flags.GetAll(_c) & ~Rflags.Rf;
        _c->R[1] = o->NextRip;
        _c->R[11] = flags;
        int selector = (int)(_c->Star >> 32) & 0xFFFC;
        SetSegment(SegmentIndex.Ss, FlatStack(selector + 8, 0));
        _suppressTrap = (_c->Sfmask & Rflags.Tf) != 0;
        SetFlags(flags & ~_c->Sfmask);
        SetCode(FlatCode(selector, 0, isLong: true), 0);
        return true;
    }

    /// <summary>SYSRET. False: stopped.</summary>
    internal bool TrySystemReturn(Op* o, out ulong rip)
    {
        bool to64Bit = o->OperandSize == 8;
        rip = to64Bit ? _c->R[1] : (uint)_c->R[1];
        if ((_c->Efer & Efer.Sce) == 0 || !_c->Is64Bit)
            return _c->RaiseUd(o);
        if (_c->Cpl != 0 || (to64Bit && !IsCanonical(rip)))
            return _c->RaiseGp(o);
        int selector = (int)(_c->Star >> 48);
        SetSegment(SegmentIndex.Ss, FlatStack(selector + 8, 3));
        SetFlags(_c->R[11] & (Rflags.All & ~(Rflags.Rf | Rflags.Vm)));
        SetCode(FlatCode(to64Bit ? selector + 16 : selector, 3, to64Bit), 3);
        return true;
    }

    /// <summary>SYSENTER. False: stopped.</summary>
    internal bool TrySystemEnter(Op* o, out ulong rip)
    {
        rip = 0;
        if (!_c->IsProtected || (_c->SysenterCs & 0xFFFC) == 0)
            return _c->RaiseGp(o);
        bool isLong = _c->IsLongMode;
        rip = isLong ? _c->SysenterEip : (uint)_c->SysenterEip;
        int selector = (int)_c->SysenterCs & 0xFFFC;
        _c->SystemFlags &= ~(Rflags.Vm | Rflags.If | Rflags.Rf);
        SetSegment(SegmentIndex.Ss, FlatStack(selector + 8, 0));
        SetCode(FlatCode(selector, 0, isLong), 0);
        _c->R[Rsp] = isLong ? _c->SysenterEsp : (uint)_c->SysenterEsp;
        return true;
    }

    /// <summary>SYSEXIT. False: stopped.</summary>
    internal bool TrySystemExit(Op* o, out ulong rip)
    {
        bool to64Bit = _c->Is64Bit && o->OperandSize == 8;
        rip = to64Bit ? _c->R[2] : (uint)_c->R[2];
        ulong stack = to64Bit ? _c->R[1] : (uint)_c->R[1];
        if (!_c->IsProtected || _c->Cpl != 0 || (_c->SysenterCs & 0xFFFC) == 0 || (to64Bit && (!IsCanonical(rip) || !IsCanonical(stack))))
            return _c->RaiseGp(o);
        int selector = (int)_c->SysenterCs & 0xFFFC;
        SetSegment(SegmentIndex.Ss, FlatStack(selector + (to64Bit ? 40 : 24), 3));
        SetCode(FlatCode(selector + (to64Bit ? 32 : 16), 3, to64Bit), 3);
        _c->R[Rsp] = stack;
        return true;
    }
}
