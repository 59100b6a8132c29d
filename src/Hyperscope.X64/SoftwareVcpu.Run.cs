using Hyperscope.Vm;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>Why <see cref="SoftwareVcpu.Run"/> returned.</summary>
public enum RunOutcome
{
    /// <summary><see cref="SoftwareVcpu.RequestStop"/> was called.</summary>
    Stopped,

    /// <summary>Triple fault. The vCPU needs a reset before it can run again.</summary>
    Shutdown,

    /// <summary>The instruction limit was reached.</summary>
    LimitReached,

    /// <summary>HLT with nothing that could ever wake the vCPU (only where asked for).</summary>
    Halted,
}

/// <summary>The run loop: requests, events, then blocks until something stops them.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    /// <summary>Instructions between two looks at the clock and at requests that forgot to ask for attention.</summary>
    private const long Slice = 1 << 20;

    private ulong _retired;

    // Parts of repeated string instructions done so far; they use up an instruction limit.
    private ulong _repeated;
    private long _budgetAtEntry;
    private long _alone;
    private bool _isHalted, _mustRunAlone, _isShutDown;
    private PendingDelivery? _delivery;

    /// <summary>Where the vCPU reports to; null: nowhere.</summary>
    public IVcpuEvents? Events { get; set; }

    /// <inheritdoc/>
    public bool IsSingleStepping { get; set; }

    /// <summary>True while the vCPU sleeps in HLT.</summary>
    public bool IsHalted => _isHalted;

    /// <summary>Executes the guest on the calling thread.</summary>
    /// <param name="instructionLimit">Return after about this many instructions; a repeated string instruction counts in parts of up to a page.</param>
    /// <param name="returnOnHalt">Return from HLT instead of sleeping.</param>
    public RunOutcome Run(ulong instructionLimit = ulong.MaxValue, bool returnOnHalt = false)
    {
        SoftwareVcpu? outer = Current;
        Current = this;
        try
        {
            return RunCore(instructionLimit > ulong.MaxValue - WorkDone ? ulong.MaxValue : WorkDone + instructionLimit, returnOnHalt);
        }
        finally
        {
            Current = outer;
        }
    }

    private ulong WorkDone => InstructionsRetired + _repeated;

    private RunOutcome RunCore(ulong limit, bool returnOnHalt)
    {
        while (true)
        {
            Volatile.Write(ref _c->Attention, 0);
            Interlocked.MemoryBarrier();
            if (_stopRequested)
            {
                _stopRequested = false;
                return RunOutcome.Stopped;
            }

            if (_kicked)
            {
                _kicked = false;
                Events?.OnEntry(this);
                continue;
            }

            TakeStartup();
            if (_isShutDown)
                return RunOutcome.Shutdown;
            if (WorkDone >= limit)
                return RunOutcome.LimitReached;
            if (_mustClearBlocks)
                ClearBlocks();

            EnterGuest();
            if (_kicked)
            {
                // Whoever kicked may have been told already that this vCPU is outside.
                LeaveGuest();
                continue;
            }

            bool isReady = IsInitialized && AcceptEvents();
            bool isExecuting = isReady && !_isHalted;
            bool isStep = isExecuting && IsSingleStepping;
            if (isExecuting)
                Execute(limit - WorkDone);
            LeaveGuest();
            StopReason stop = _c->Stop;
            HandleStop();
            if (isStep && stop is (StopReason.None or StopReason.Halt or StopReason.X87Error or StopReason.Fault))
                ReportStep(stop);
            if ((isReady && !_isHalted) || stop is StopReason.Halt or StopReason.X87Error)
                continue; // a processor that has just halted looks for a wake-up that is there already
            if (returnOnHalt && _isHalted && _delivery is null)
                return RunOutcome.Halted;
            if (!IsInitialized || _isHalted)
                WaitForEvent();
        }
    }

    private void Execute(ulong limit)
    {
        _c->Stop = StopReason.None;
        bool isNearLimit = limit <= BlockCache.MaxInstructions;
        _budgetAtEntry = _c->Budget = isNearLimit ? 0 : (long)Math.Min(limit - BlockCache.MaxInstructions, Slice);
        bool runAlone = _mustRunAlone || IsSingleStepping || _approvalCount != 0 || _c->InterruptShadow != 0
            || (_c->SystemFlags & (Rflags.Tf | Rflags.Rf)) != 0 || _hasCodeBreakpoints || isNearLimit;
        if (runAlone)
        {
            _mustRunAlone = false;
            if (_mustRunExclusive)
                ExecuteExclusive();
            else
                ExecuteOneWithTraps();
        }
        else if (Accelerator is { } accelerator)
        {
            RunAccelerated(accelerator);
        }
        else
        {
            CpuState* c = _c;
            Op* op = FindBlock(c->Rip, out _);
            while (op != null)
                op = RawCalliHelper.Invoke(c, op);
        }

        _retired += (ulong)(_budgetAtEntry - _c->Budget);
        _budgetAtEntry = _c->Budget = 0;
        _repeated += (ulong)_c->Repeated;
        _c->Repeated = 0;
    }

    private void ExecuteExclusive()
    {
        _mustRunExclusive = false;
        _isExclusive = true;
        if (!Group.RunExclusive(this, ExecuteOneWithTraps))
        {
            _mustRunExclusive = true;
            _c->Stop = StopReason.RunAlone;
        }

        _isExclusive = false;
    }

    private void ClearBlocks()
    {
        _mustClearBlocks = false;
        _blocks.Clear();
        AdvanceEpoch();
    }

    /// <summary>Acts on why the handlers came back. Outside guest mode.</summary>
    private void HandleStop()
    {
        StopReason stop = _c->Stop;
        _c->Stop = StopReason.None;
        switch (stop)
        {
            case StopReason.Fault:
                ForgetApprovals();
                BeginDelivery(_c->Fault);
                break;
            case StopReason.PageAccess:
                AskPageTracker();
                break;
            case StopReason.RunAlone:
                _mustRunAlone = true;
                _alone++;
                break;
            case StopReason.X87Error:
                X87ErrorLine?.Set(asserted: true);
                goto case StopReason.Halt;
            case StopReason.Halt:
                _isHalted = true;
                _c->InterruptShadow = 0;
                break;
            default:
                break;
        }
    }

    // A fault counts as the step: it goes in first, so that the report shows the handler's first instruction.
    private void ReportStep(StopReason stop)
    {
        if (stop == StopReason.Fault)
            DeliverPendingEvent();
        Events?.OnSingleStep(this, failed: stop is StopReason.Halt or StopReason.X87Error);
    }
}
