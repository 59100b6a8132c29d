using System.Runtime.InteropServices;
using Hyperscope.Vm;
using Hyperscope.X64;

namespace Hyperscope.Kvm;

/// <summary>What goes from the software vCPU to the kernel and back.</summary>
internal sealed partial class KvmAccelerator
{
    private const uint Rdtsc = MsrIndex.Tsc;

    private readonly byte[] _xsave = new byte[4096];
    private readonly KvmMsrEntry[] _systemCallMsrs = [.. SoftwareVcpu.SystemCallMsrs.ToArray().Select(static index => new KvmMsrEntry { Index = index })];
    private readonly ulong[] _systemCallValues = new ulong[SoftwareVcpu.SystemCallMsrs.Length];

    // What the kernel has, to send only what differs.
    private KvmRegs _knownRegs;
    private KvmSregs _knownSregs;
    private bool _isFirstPush = true, _mustPushRegisters;
    private bool _hasKnownMsrs;
    private bool _knownNmiBlocked, _hasKernelEvents;
    private AcceleratorState _fetched;

    /// <summary>Brings the kernel up to date with the software vCPU.</summary>
    private void Push()
    {
        ref KvmRun page = ref _vcpu.Page;
        _hasKnownMsrs = false;
        if (_fetched != AcceleratorState.None)
            PushFetched();

        // What the kernel has not taken over yet, because attention was asked for before KVM_RUN, it must still get.
        ulong dirty = _isFirstPush ? KvmRun.SyncRegs | KvmRun.SyncSregs | KvmRun.SyncEvents : page.DirtyRegs;
        _owner.GetRegisters(out KvmRegs regs);
        if ((dirty & KvmRun.SyncRegs) != 0 || _mustPushRegisters || regs != _knownRegs)
        {
            page.Regs = regs;
            dirty |= KvmRun.SyncRegs;
        }

        _owner.GetSpecialRegisters(out KvmSregs sregs);
        if ((dirty & KvmRun.SyncSregs) != 0 || !AreEqual(sregs, _knownSregs))
        {
            page.Sregs = sregs;

            // Without an interrupt controller in the kernel this register is only a number, but for x2APIC mode, which needs one.
            const ulong X2Apic = 1 << 10;
            page.Sregs.ApicBase &= ~X2Apic;
            page.Sregs.InterruptBitmap = default;
            dirty |= KvmRun.SyncSregs;
        }

        bool isNmiBlocked = _owner.IsNmiBlocked;
        if ((dirty & KvmRun.SyncEvents) != 0 || isNmiBlocked != _knownNmiBlocked || _hasKernelEvents)
        {
            page.Events = new KvmVcpuEvents { Flags = KvmVcpuEvents.ValidShadow | KvmVcpuEvents.ValidNmiPending, NmiMasked = (byte)(isNmiBlocked ? 1 : 0) };
            dirty |= KvmRun.SyncEvents;
        }

        page.DirtyRegs = dirty;
        _isFirstPush = _mustPushRegisters = false;
    }

    /// <summary>Brings the software vCPU up to date with the kernel.</summary>
    private void Pull()
    {
        ref KvmRun page = ref _vcpu.Page;
        KvmVcpuEvents events = page.Events;
        int shadow = (events.InterruptShadow & KvmVcpuEvents.ShadowMovSs) != 0 ? 2 : (events.InterruptShadow & KvmVcpuEvents.ShadowSti) != 0 ? 1 : 0;
        PendingEvent? unfinished = null;
        bool isNmi = false;
        if ((events.ExceptionInjected | events.ExceptionPending) != 0 && events.ExceptionVector is not (3 or 4))
        {
            // INT3 and INTO are executed again from where they are, like every other software interrupt.
            unfinished = new PendingEvent(events.ExceptionVector, events.ExceptionHasErrorCode != 0, events.ExceptionErrorCode, IsExternal: false);
        }
        else if (events.InterruptInjected != 0 && events.InterruptSoft == 0)
        {
            unfinished = new PendingEvent(events.InterruptVector, false, 0, IsExternal: true);
        }
        else if (events.NmiInjected != 0)
        {
            unfinished = new PendingEvent(2, false, 0, IsExternal: false);
            isNmi = true;
        }

        _hasKernelEvents = (events.ExceptionInjected | events.ExceptionPending | events.InterruptInjected | events.NmiInjected | events.InterruptShadow) != 0;
        _owner.AdoptState(page.Regs, page.Sregs, shadow, events.NmiMasked != 0, unfinished, isNmi);

        // As the software gives them back when nothing has changed.
        _owner.GetRegisters(out _knownRegs);
        _owner.GetSpecialRegisters(out _knownSregs);
        _knownNmiBlocked = events.NmiMasked != 0;
    }

    public void Fetch(AcceleratorState state)
    {
        state &= ~_fetched;
        if (state == AcceleratorState.None)
            return;
        _fetched |= state;
        if (_isFirstPush)
            return; // both sides are as after power-up
        if ((state & AcceleratorState.Vector) != 0)
            FetchVectors();
        if ((state & AcceleratorState.SystemCalls) != 0)
        {
            ReadSystemCallMsrs();
            _owner.AdoptSystemCallMsrs(_systemCallValues);
        }

        if ((state & AcceleratorState.Debug) != 0)
            FetchDebugRegisters();
    }

    public bool TryReadMsr(uint index, out ulong value)
    {
        if (index != Rdtsc && SoftwareVcpu.SystemCallMsrs.IndexOf(index) is >= 0 and var position && !_isFirstPush)
        {
            ReadSystemCallMsrs();
            value = _systemCallValues[position];
            return true;
        }

        return _vcpu.TryGetMsr(index, out value);
    }

    public bool TryWriteMsr(uint index, ulong value)
    {
        _hasKnownMsrs = false;
        return _vcpu.TrySetMsr(index, value);
    }

    private static bool AreEqual(in KvmSregs left, in KvmSregs right) =>
        MemoryMarshal.AsBytes(new ReadOnlySpan<KvmSregs>(in left)).SequenceEqual(MemoryMarshal.AsBytes(new ReadOnlySpan<KvmSregs>(in right)));

    private void ReadSystemCallMsrs()
    {
        if (_hasKnownMsrs)
            return;
        _hasKnownMsrs = true;
        _vcpu.GetMsrs(_systemCallMsrs);
        for (int index = 0; index < _systemCallMsrs.Length; index++)
            _systemCallValues[index] = _systemCallMsrs[index].Data;
    }

    private void FetchVectors()
    {
        _vcpu.GetXsave(_xsave);
        _owner.AdoptXcr0(_vcpu.GetXcr0());
        const int Components = 512;
        const ulong Known = 3;
        ref ulong components = ref MemoryMarshal.AsRef<ulong>(_xsave.AsSpan(Components));
        components &= Known;
        _ = _owner.TrySetXsave(_xsave);
    }

    private unsafe void FetchDebugRegisters()
    {
        _vcpu.GetDebugRegs(out KvmDebugRegs registers);
        _owner.AdoptDebugRegisters(new ReadOnlySpan<ulong>(registers.Addresses, 4), registers.Dr6, registers.Dr7);
    }

    private void PushFetched()
    {
        AcceleratorState fetched = _fetched;
        if ((fetched & AcceleratorState.Vector) != 0)
        {
            _owner.GetXsave(_xsave);
            _vcpu.SetXcr0(_owner.Xcr0);
            _vcpu.SetXsave(_xsave);
        }

        if ((fetched & AcceleratorState.SystemCalls) != 0)
            _vcpu.TrySetMsr(MsrIndex.KernelGsBase, _owner.KernelGsBase);
        if ((fetched & AcceleratorState.Debug) != 0)
            PushDebugRegisters();
        _fetched = AcceleratorState.None;
    }

    private unsafe void PushDebugRegisters()
    {
        var registers = new KvmDebugRegs { Dr6 = _owner.GetDebugRegister(6), Dr7 = _owner.GetDebugRegister(7) };
        for (int number = 0; number < 4; number++)
            registers.Addresses[number] = _owner.GetDebugRegister(number);
        _vcpu.SetDebugRegs(registers);

        // The hardware watches from here on.
        const ulong Nothing = 0x400;
        _owner.AdoptDebugRegisters(new ReadOnlySpan<ulong>(registers.Addresses, 4), registers.Dr6, Nothing);
    }
}
