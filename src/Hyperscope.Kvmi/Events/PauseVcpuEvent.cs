namespace Hyperscope.Kvmi;

/// <summary>Answers one VCPU_PAUSE; the vCPU stands still until the reply (C name KVMI_EVENT_PAUSE_VCPU).</summary>
/// <remarks>No specific data; rip is the next instruction. Source: kvmi-abi.md 2.6.1.</remarks>
public readonly struct PauseVcpuEvent : IEvent<PauseVcpuEvent>
{
    /// <inheritdoc/>
    public static EventId Id => EventId.PauseVcpu;

    /// <inheritdoc/>
    public static EventActions Accepts => EventActions.Continue | EventActions.Crash;

    /// <inheritdoc/>
    public static int WireSize => 0;

    /// <inheritdoc/>
    public bool IsWellFormed => true;
}
