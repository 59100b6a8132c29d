using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>Control registers: what may be written, and what follows from it (SDM vol. 3, "Control Registers").</summary>
public sealed unsafe partial class SoftwareVcpu
{
    /// <summary>MOV to CR0, LMSW, CLTS. False: stopped.</summary>
    internal bool TryWriteCr0(Op* o, ulong value)
    {
        ulong before = _c->Cr0;
        if (value >> 32 != 0)
            return StopWith(o, X64.Vector.GeneralProtection, 0);
        value = (value & Cr0.All) | Cr0.Et;
        bool enablesPaging = (value & ~before & Cr0.Pg) != 0, disablesPaging = (before & ~value & Cr0.Pg) != 0;
        bool isInvalid = ((value & Cr0.Pg) != 0 && (value & Cr0.Pe) == 0)
            || ((value & Cr0.Nw) != 0 && (value & Cr0.Cd) == 0)
            || (enablesPaging && (_c->Efer & Efer.Lme) != 0 && ((_c->Cr4 & Cr4.Pae) == 0 || _c->Cs.Long))
            || (disablesPaging && (_c->Is64Bit || (_c->Cr4 & Cr4.Pcide) != 0));
        if (isInvalid)
            return StopWith(o, X64.Vector.GeneralProtection, 0);
        if (enablesPaging && (_c->Efer & Efer.Lme) == 0 && (_c->Cr4 & Cr4.Pae) != 0 && !TryCheckPdptes(o, _c->Cr3))
            return false;
        if (!AllowControlRegisterWrite(o, 0, before, ref value))
            return false;
        _c->Cr0 = (value & Cr0.All) | Cr0.Et;
        if ((_c->Cr0 & Cr0.Pg) != 0 && (_c->Efer & Efer.Lme) != 0)
            _c->Efer |= Efer.Lma;
        else
            _c->Efer &= ~Efer.Lma;
        if (((before ^ _c->Cr0) & (Cr0.Pg | Cr0.Wp | Cr0.Pe)) != 0)
            FlushTranslations();
        else
            AdvanceEpoch();
        return true;
    }

    /// <summary>MOV to CR3. False: stopped.</summary>
    internal bool TryWriteCr3(Op* o, ulong value)
    {
        const ulong KeepTranslations = 1UL << 63;
        bool mayKeep = (_c->Cr4 & Cr4.Pcide) != 0 && (value & KeepTranslations) != 0;
        if (mayKeep)
            value &= ~KeepTranslations;
        if (_c->IsLongMode && value >> PhysicalBits != 0)
            return StopWith(o, X64.Vector.GeneralProtection, 0);
        if (!_c->IsLongMode)
        {
            value &= 0xFFFF_FFFF;
            if ((_c->Cr0 & Cr0.Pg) != 0 && (_c->Cr4 & Cr4.Pae) != 0 && !TryCheckPdptes(o, value))
                return false;
        }

        if (!AllowControlRegisterWrite(o, 3, _c->Cr3, ref value))
            return false;
        ulong before = _c->Cr3;
        _c->Cr3 = value & ((1UL << PhysicalBits) - 1);
        if (!mayKeep || _c->Cr3 != before) // translations are not tagged with the PCID: those of another address space never survive
            FlushLocalTranslations();
        return true;
    }

    /// <summary>MOV to CR4. False: stopped.</summary>
    internal bool TryWriteCr4(Op* o, ulong value)
    {
        ulong before = _c->Cr4;
        bool isInvalid = (value & ~Cr4.Supported) != 0
            || (_c->IsLongMode && (value & Cr4.Pae) == 0)
            || ((value & ~before & Cr4.Pcide) != 0 && (!_c->IsLongMode || (_c->Cr3 & 0xFFF) != 0));
        if (isInvalid)
            return StopWith(o, X64.Vector.GeneralProtection, 0);
        const ulong PagingBits = Cr4.Pse | Cr4.Pae | Cr4.Pge | Cr4.Pcide | Cr4.Smep | Cr4.Smap;
        if ((_c->Cr0 & Cr0.Pg) != 0 && !_c->IsLongMode && (value & Cr4.Pae) != 0 && ((before ^ value) & (PagingBits & ~Cr4.Pcide)) != 0
            && !TryCheckPdptes(o, _c->Cr3))
        {
            return false;
        }

        if (!AllowControlRegisterWrite(o, 4, before, ref value))
            return false;
        _c->Cr4 = value & Cr4.Supported;
        if (((before ^ value) & PagingBits) != 0)
            FlushTranslations();
        else
            AdvanceEpoch();
        return true;
    }

    /// <summary>MOV to CR8. False: stopped.</summary>
    internal bool TryWriteCr8(Op* o, ulong value)
    {
        if (value > 15)
            return StopWith(o, X64.Vector.GeneralProtection, 0);
        WriteCr8(value);
        return true;
    }

    internal ulong ReadCr8() => Interrupts is { } controller ? controller.TaskPriority : _c->Cr8;

    private void WriteCr8(ulong value)
    {
        if (Interrupts is { } controller)
            controller.TaskPriority = (byte)value;
        else
            _c->Cr8 = value;
    }

    /// <summary>XSETBV. False: stopped.</summary>
    internal bool TryWriteXcr0(Op* o, ulong value)
    {
        const ulong X87 = 1, Sse = 2;
        if ((value & X87) == 0 || (value & ~(X87 | Sse)) != 0)
            return StopWith(o, X64.Vector.GeneralProtection, 0);
        ulong before = _c->Xcr0;
        _c->Xcr0 = value;
        ReportXsetbv(o, before, value);
        return true;
    }

    // PAE paging loads four entries when CR3 is written; a present one with reserved bits set is refused.
    // Deviation: they are not kept but read again by each walk.
    private bool TryCheckPdptes(Op* o, ulong cr3)
    {
        for (uint index = 0; index < 4; index++)
        {
            ulong* slot = TableEntry((cr3 & 0xFFFF_FFE0) + (index * 8), out _);
            ulong entry = slot != null ? Volatile.Read(ref *slot) : 0;
            if ((entry & Present) != 0 && (entry & (PaeReservedBits | NoExecute | 0x1E6)) != 0)
                return StopWith(o, X64.Vector.GeneralProtection, 0);
        }

        return true;
    }
}
