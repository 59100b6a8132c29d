using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>One instruction at a time, without delivering what comes of it.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    /// <summary>Executes the instruction at rip and says what stopped it; no exception is delivered, no observer is asked.</summary>
    /// <param name="fault">The exception, if the answer is <see cref="StopReason.Fault"/>.</param>
    /// <remarks>The caller makes sure that no other vCPU of the group runs.</remarks>
    internal StopReason StepOnce(out FaultInfo fault)
    {
        SoftwareVcpu? outer = Current;
        Current = this;
        EnterGuest();
        SelectContext();
        StopReason stop;
        do
        {
            _c->Stop = StopReason.None;
            _budgetAtEntry = _c->Budget = 0;
            ExecuteAlone();
            stop = _c->Stop;
            _isExclusive = _mustRunExclusive;
            _mustRunExclusive = false;
        }
        while (stop == StopReason.RunAlone && _isExclusive);

        _isExclusive = false;
        _retired += (ulong)-_c->Budget;
        _c->Budget = _c->Repeated = 0;
        _c->Stop = StopReason.None;
        LeaveGuest();
        Current = outer;
        fault = stop == StopReason.Fault ? _c->Fault : default;
        return stop;
    }
}
