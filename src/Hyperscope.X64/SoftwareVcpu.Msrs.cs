using Hyperscope.Vm;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>Model-specific registers (SDM vol. 4). An index that is not listed here is #GP.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    private const ulong DefaultPat = 0x0007_0406_0007_0406;

    private ulong _specCtrl, _miscFeatures, _machineCheckStatus, _apicBase, _microcode, _debugControl;

    /// <summary>MISC_FEATURES_ENABLES; bit 0 makes CPUID fault in user code.</summary>
    internal ulong MiscFeatures => _miscFeatures;

    /// <inheritdoc/>
    public bool TryReadMsr(uint index, out ulong value)
    {
        value = 0;
        if (Accelerator is { } accelerator && !IsKeptHere(index) && accelerator.TryReadMsr(index, out value))
            return true;
        switch (index)
        {
            case MsrIndex.Tsc: value = ReadTsc(); return true;
            case MsrIndex.TscAdjust: value = _tscAdjust; return true;
            case MsrIndex.TscDeadline: return TryReadDeadline(out value);
            case MsrIndex.ApicBase: value = ReadApicBase(); return true;
            case 0x17: return true; // IA32_PLATFORM_ID
            case 0x3A: value = 1; return true; // IA32_FEATURE_CONTROL: locked, nothing enabled
            case 0x48: value = _specCtrl; return true;
            case 0x8B: value = _microcode; return true;
            case 0xCE: value = ((Model.TscFrequency / 100_000_000) << 8) | (1UL << 31); return true; // MSR_PLATFORM_INFO: ratio to 100 MHz, CPUID faulting
            case 0x10A: value = CpuModel.ArchitecturalCapabilities; return true;
            case 0x140: value = _miscFeatures; return true;
            case MsrIndex.SysenterCs: value = _c->SysenterCs; return true;
            case MsrIndex.SysenterEsp: value = _c->SysenterEsp; return true;
            case MsrIndex.SysenterEip: value = _c->SysenterEip; return true;
            case 0x179: return true; // IA32_MCG_CAP: no banks
            case 0x17A: value = _machineCheckStatus; return true;
            case MsrIndex.MiscEnable: value = _c->MiscEnable; return true;
            case 0x1D9: value = _debugControl; return true;
            case MsrIndex.Pat: value = _c->Pat; return true;
            case MsrIndex.Efer: value = _c->Efer; return true;
            case MsrIndex.Star: value = _c->Star; return true;
            case MsrIndex.Lstar: value = _c->Lstar; return true;
            case MsrIndex.Cstar: value = _c->Cstar; return true;
            case MsrIndex.Sfmask: value = _c->Sfmask; return true;
            case MsrIndex.FsBase: value = _c->Fs.Base; return true;
            case MsrIndex.GsBase: value = _c->Gs.Base; return true;
            case MsrIndex.KernelGsBase: value = _c->KernelGsBase; return true;
            case MsrIndex.TscAux: value = _c->TscAux; return true;
            case KvmClock.WallClock or KvmClock.OldWallClock: value = _wallClockMsr; return Model.HasKvmClock;
            case KvmClock.SystemTime or KvmClock.OldSystemTime: value = _systemTimeMsr; return Model.HasKvmClock;
            case >= 0x800 and <= 0x8FF: return Interrupts is { } controller && controller.TryReadMsr(index, out value);
            default: return _mtrrs.TryRead(index, out value);
        }
    }

    /// <summary>Sets an MSR from outside the guest: the same checks, no report. On the vCPU's thread, or before it runs.</summary>
    /// <returns>False, with nothing changed, if the index is unknown or the value not acceptable.</returns>
    public bool SetMsr(uint index, ulong value)
    {
        // Checks that depend on what the guest is doing right now do not bind its loader.
        if (index == MsrIndex.Efer)
        {
            if ((value & ~(Efer.Sce | Efer.Lme | Efer.Lma | Efer.Nx)) != 0)
                return false;
            _c->Efer = (value & ~Efer.Lma) | ((value & Efer.Lme) != 0 && (_c->Cr0 & Cr0.Pg) != 0 ? Efer.Lma : 0);
            FlushTranslations();
            return true;
        }

        if (index == 0x8B)
        {
            _microcode = value;
            return true;
        }

        return TryWriteMsr(index, value);
    }

    /// <summary>WRMSR after its privilege check. False: stopped, with #GP or because an observer refused.</summary>
    internal bool WriteMsr(Op* o, uint index, ulong value) =>
        AllowMsrWrite(o, index, ref value) && (TryWriteMsr(index, value) || StopWith(o, X64.Vector.GeneralProtection, 0));

    // Registers that belong to the state that is handed over, to the interrupt controller, or to what introspection asks about.
    private static bool IsKeptHere(uint index) => index is MsrIndex.ApicBase or MsrIndex.TscDeadline or MsrIndex.Efer or MsrIndex.FsBase or MsrIndex.GsBase
        or MsrIndex.MtrrCap or (>= 0x200 and <= MsrIndex.MtrrDefType and not MsrIndex.Pat) or (>= 0x800 and <= 0x8FF);

    private bool TryWriteMsr(uint index, ulong value)
    {
        if (Accelerator is { } accelerator && !IsKeptHere(index) && accelerator.TryWriteMsr(index, value))
            return true;
        switch (index)
        {
            case MsrIndex.Tsc: SetTsc(value); return true;
            case MsrIndex.TscAdjust: SetTscAdjust(value); return true;
            case MsrIndex.TscDeadline: return TryWriteDeadline(value);
            case MsrIndex.ApicBase: return TryWriteApicBase(value);
            case 0x48: return Keep(ref _specCtrl, value, 0x7);
            case 0x49: return (value & ~1UL) == 0; // IA32_PRED_CMD: a barrier, nothing to do
            case 0x79: return true; // microcode update: ignored
            case 0x8B: return value == 0; // written with 0 before CPUID to obtain the revision
            case 0x140: return Keep(ref _miscFeatures, value, 0x1);
            case MsrIndex.SysenterCs: _c->SysenterCs = (uint)value; return true;
            case MsrIndex.SysenterEsp: return KeepCanonical(ref _c->SysenterEsp, value);
            case MsrIndex.SysenterEip: return KeepCanonical(ref _c->SysenterEip, value);
            case 0x17A: return Keep(ref _machineCheckStatus, value, 0x7);
            case MsrIndex.MiscEnable: return Keep(ref _c->MiscEnable, value, 0x4_0040_1889); // bits that the architecture defines
            case 0x1D9: return Keep(ref _debugControl, value, 0); // neither branch stepping nor branch records
            case MsrIndex.Pat: return TryWritePat(value);
            case MsrIndex.Efer: return TryWriteEfer(value);
            case MsrIndex.Star: _c->Star = value; return true;
            case MsrIndex.Lstar: return KeepCanonical(ref _c->Lstar, value);
            case MsrIndex.Cstar: return KeepCanonical(ref _c->Cstar, value);
            case MsrIndex.Sfmask: return Keep(ref _c->Sfmask, value, 0xFFFF_FFFF);
            case MsrIndex.FsBase: return TrySetBase(SegmentIndex.Fs, value);
            case MsrIndex.GsBase: return TrySetBase(SegmentIndex.Gs, value);
            case MsrIndex.KernelGsBase: return KeepCanonical(ref _c->KernelGsBase, value);
            case MsrIndex.TscAux: return Keep(ref _c->TscAux, value, 0xFFFF_FFFF);
            case KvmClock.WallClock or KvmClock.OldWallClock: return TryWriteWallClock(value);
            case KvmClock.SystemTime or KvmClock.OldSystemTime: return TryWriteSystemTime(value);
            case >= 0x800 and <= 0x8FF: return Interrupts is { } controller && controller.TryWriteMsr(index, value);
            default: return _mtrrs.TryWrite(index, value);
        }
    }

    /// <inheritdoc/>
    public MemoryType GetMemoryType(Gpa gpa) => _mtrrs.TypeOf(gpa.Value);

    private static bool Keep(ref ulong register, ulong value, ulong allowed)
    {
        if ((value & ~allowed) != 0)
            return false;
        register = value;
        return true;
    }

    private static bool KeepCanonical(ref ulong register, ulong value)
    {
        if (!IsCanonicalAddress(value))
            return false;
        register = value;
        return true;
    }

    internal static bool IsCanonicalAddress(ulong value) => (ulong)(((long)value << 16) >> 16) == value;

    /// <summary>Writes the base of FS or GS; false if it is not canonical.</summary>
    internal bool TrySetBase(SegmentIndex index, ulong value)
    {
        if (!IsCanonicalAddress(value))
            return false;
        (&_c->Es)[(int)index].Base = value;
        _c->SegmentBase[(int)index] = value;
        return true;
    }

    private bool TryWriteEfer(ulong value)
    {
        if ((value & ~(Efer.Sce | Efer.Lme | Efer.Lma | Efer.Nx)) != 0 || ((_c->Cr0 & Cr0.Pg) != 0 && ((value ^ _c->Efer) & Efer.Lme) != 0))
            return false;
        ulong before = _c->Efer;
        _c->Efer = (value & ~Efer.Lma) | (before & Efer.Lma);
        if (((before ^ value) & Efer.Nx) != 0)
            FlushTranslations();
        return true;
    }

    private bool TryWritePat(ulong value)
    {
        for (int entry = 0; entry < 8; entry++)
        {
            if ((byte)(value >> (entry * 8)) is not (0 or 1 or 4 or 5 or 6 or 7))
                return false;
        }

        _c->Pat = value;
        return true;
    }

    private ulong ReadApicBase() => Interrupts is { } controller ? controller.ApicBase : _apicBase;

    private bool TryWriteApicBase(ulong value)
    {
        const ulong Bootstrap = 1 << 8, X2Apic = 1 << 10, Enabled = 1 << 11;
        ulong addressBits = ((1UL << PhysicalBits) - 1) & ~0xFFFUL;
        ulong before = ReadApicBase();
        bool wasX2Apic = (before & X2Apic) != 0;
        bool isInvalid = (value & ~(addressBits | Bootstrap | X2Apic | Enabled)) != 0
            || (value & (X2Apic | Enabled)) == X2Apic
            || (wasX2Apic && (value & (X2Apic | Enabled)) == Enabled)
            || ((before & Enabled) == 0 && (value & X2Apic) != 0);
        if (isInvalid)
            return false;
        if (Interrupts is { } controller)
            controller.ApicBase = value;
        else
            _apicBase = value;
        return true;
    }

    private void ResetMsrs()
    {
        _c->Star = _c->Lstar = _c->Cstar = _c->Sfmask = _c->KernelGsBase = _c->TscAux = 0;
        _c->SysenterCs = _c->SysenterEsp = _c->SysenterEip = 0;
        _c->Pat = DefaultPat;
        _c->MiscEnable = 1; // fast strings
        _specCtrl = _miscFeatures = _machineCheckStatus = _debugControl = 0;
        _microcode = 0x1UL << 32;
        _apicBase = 0xFEE0_0800 | (Index.Value == 0 ? 0x100UL : 0);
        _mtrrs.Reset();
        _systemTimeMsr = _wallClockMsr = 0;
        _tscAdjust = 0;
        _tscOffset = 0;
    }
}
