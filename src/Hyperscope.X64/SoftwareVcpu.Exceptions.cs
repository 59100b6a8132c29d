using Hyperscope.Vm;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>Exceptions and interrupts on their way into the guest.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    private bool _hasCodeBreakpoints, _hasDataBreakpoints;

    private readonly record struct PendingDelivery(FaultInfo Fault, bool IsExternal);

    private static bool TouchesDataBreakpoint(ulong linear)
    {
        _ = linear;
        return false;
    }

    private void BeginDelivery(in FaultInfo fault) => _delivery = new PendingDelivery(fault, false);

    /// <inheritdoc/>
    public ulong Xcr0 => _c->Xcr0;

    /// <inheritdoc/>
    public VcpuIntercepts Intercepts { get; set; }

    /// <inheritdoc/>
    public PendingEvent? PendingEvent => null;

    /// <inheritdoc/>
    public void GetSpecialRegisters(out KvmSregs registers) => throw new NotImplementedException();

    /// <inheritdoc/>
    public bool TryReadMsr(uint index, out ulong value) => throw new NotImplementedException();

    /// <inheritdoc/>
    public void InterceptMsr(uint index, bool enable) => throw new NotImplementedException();

    /// <inheritdoc/>
    public bool TryGetCpuid(uint function, uint index, out CpuidResult result) => throw new NotImplementedException();

    /// <inheritdoc/>
    public MemoryType GetMemoryType(Gpa gpa) => throw new NotImplementedException();

    /// <inheritdoc/>
    public bool TryQueueException(byte vector, uint errorCode, ulong address) => throw new NotImplementedException();

    /// <inheritdoc/>
    public void DeliverPendingEvent() => throw new NotImplementedException();

    internal void SetBreakpointFlags(bool code, bool data)
    {
        _hasCodeBreakpoints = code;
        _hasDataBreakpoints = data;
    }

    private bool AcceptEvents()
    {
        if (_delivery is null)
            return true;
        _isShutDown = true;
        return false;
    }

    private void ExecuteOneWithTraps()
    {
        _c->InterruptShadow = 0;
        ExecuteAlone();
        if (_c->Stop == StopReason.None)
            _approvalCount = 0;
    }
}
