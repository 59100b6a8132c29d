using Hyperscope.Vm;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>What is on its way into the guest: exceptions, interrupts, NMIs, traps of single instructions.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    // An exception queued from outside; it waits while the vCPU is single-stepped.
    private FaultInfo? _injected;
    private bool _isNmiBlocked;

    // The instruction just executed hides the single-step trap (SYSCALL that masked TF).
    private bool _suppressTrap;

    /// <summary>An event being delivered.</summary>
    private readonly record struct PendingDelivery(FaultInfo Fault, bool IsExternal, bool IsNmi);

    /// <inheritdoc/>
    public PendingEvent? PendingEvent => _delivery is { } pending
        ? new PendingEvent(pending.Fault.Vector, pending.Fault.HasErrorCode, pending.Fault.ErrorCode, pending.IsExternal)
        : _injected is { } fault ? new PendingEvent(fault.Vector, fault.HasErrorCode, fault.ErrorCode, false) : null;

    /// <inheritdoc/>
    public bool TryQueueException(byte vector, uint errorCode, ulong address)
    {
        if (_delivery is not null || _injected is not null)
            return false;
        bool hasErrorCode = X64.Vector.HasErrorCode(vector);
        _injected = new FaultInfo { Vector = vector, HasErrorCode = hasErrorCode, ErrorCode = hasErrorCode ? errorCode : 0, Address = address };
        return true;
    }

    /// <inheritdoc/>
    public void DeliverPendingEvent()
    {
        if (_isReporting)
            return; // in the middle of an instruction: it goes in at the next entry
        TakeInjected();
        while (_delivery is not null && !_isShutDown && !_stopRequested)
        {
            EnterGuest();
            bool delivered = TryDeliver();
            LeaveGuest();
            if (!delivered)
                HandleStop();
        }
    }

    private void TakeInjected()
    {
        if (_delivery is not null || _injected is not { } fault)
            return;
        _injected = null;
        BeginDelivery(fault);
    }

    private void BeginDelivery(in FaultInfo fault)
    {
        _delivery = new PendingDelivery(fault, IsExternal: false, IsNmi: false);
        _isHalted = false;
        _c->InterruptShadow = 0;
    }

    /// <summary>Lets in what is due. In guest mode, between instructions. False: stopped in front of it.</summary>
    private bool AcceptEvents()
    {
        if (!IsSingleStepping)
            TakeInjected();
        if (_delivery is not null && !TryDeliver())
            return false;
        _c->InterruptWaiting = 0;
        if (IsSingleStepping || _isJustApproved || Interrupts is not { } controller)
            return true;
        if (!_isNmiBlocked && _c->InterruptShadow == 0 && controller.TryTakeNmi())
        {
            _isHalted = false;
            _delivery = new PendingDelivery(new FaultInfo { Vector = X64.Vector.Nmi }, IsExternal: false, IsNmi: true);
            if (!TryDeliver())
                return false;
        }

        if (!controller.HasPending)
            return true;
        if ((_c->SystemFlags & Rflags.If) != 0 && _c->InterruptShadow == 0 && controller.TryAcknowledge(out byte vector))
        {
            _isHalted = false;
            _delivery = new PendingDelivery(new FaultInfo { Vector = vector }, IsExternal: true, IsNmi: false);
            if (!TryDeliver())
                return false;
        }

        _c->InterruptWaiting = 1; // at worst one look too many when IF is set again
        return true;
    }

    /// <summary>Executes one instruction and raises the debug exceptions that belong to it.</summary>
    private void ExecuteOneWithTraps()
    {
        ulong flagsBefore = _c->SystemFlags;
        int shadowBefore = _c->InterruptShadow;
        if (_hasCodeBreakpoints && (flagsBefore & Rflags.Rf) == 0 && shadowBefore != 2 && CodeBreakpointHits() is not 0 and var hits)
        {
            _c->Dr[6] |= hits;
            _c->Fault = new FaultInfo { Vector = X64.Vector.Debug };
            _c->Stop = StopReason.Fault;
            return;
        }

        _c->InterruptShadow = 0;
        _c->SystemFlags = flagsBefore & ~Rflags.Rf;
        _debugHits = 0;
        _suppressTrap = false;
        long budgetBefore = _c->Budget;
        ExecuteAlone();
        bool isComplete = _c->Budget != budgetBefore;
        if (!isComplete && _c->Stop != StopReason.None)
        {
            if (_c->Stop == StopReason.Fault)
            {
                DropToolRegisters(keepThem: true);
            }
            else if (_c->Stop is StopReason.PageAccess or StopReason.RunAlone)
            {
                _c->SystemFlags |= flagsBefore & Rflags.Rf;
                _c->InterruptShadow = shadowBefore;
            }

            return;
        }

        if (isComplete)
            ForgetApprovals();
        else
            ForgetDataApprovals();
        MergeToolRegisters();
        if (!isComplete)
            _c->SystemFlags |= flagsBefore & Rflags.Rf; // between two elements of a repeated instruction
        ulong debug = _debugHits;
        if ((flagsBefore & Rflags.Tf) != 0 && !_suppressTrap)
            debug |= Dr6.SingleStep;
        if (debug == 0 || _c->InterruptShadow == 2 || _c->Stop == StopReason.Fault)
            return;
        Accelerator?.Fetch(AcceleratorState.Debug);
        _c->Dr[6] |= debug;
        _c->Fault = new FaultInfo { Vector = X64.Vector.Debug };
        _c->Stop = StopReason.Fault;
    }

    /// <summary>INT n, INT3, INTO, INT1: stops with rip at the instruction.</summary>
    internal bool RaiseSoftware(Op* o, byte vector, bool skipsGatePrivilege = false)
    {
        _c->Fault = new FaultInfo { Vector = vector, IsSoftware = true, SkipsGatePrivilege = skipsGatePrivilege, NextRip = o->NextRip };
        return _c->StopAt(o, StopReason.Fault);
    }
}
