namespace Hyperscope.Kvmi;

/// <summary>A vCPU was added (C name KVMI_EVENT_CREATE_VCPU). Can be enabled; never sent, because a VM has all its vCPUs from the start.</summary>
/// <remarks>No specific data. An extension of v9. Source: kvmi-dialect-libkvmi.md 5.</remarks>
public readonly struct CreateVcpuEvent : IEvent<CreateVcpuEvent>
{
    /// <inheritdoc/>
    public static EventId Id => EventId.CreateVcpu;

    /// <inheritdoc/>
    public static EventActions Accepts => EventActions.Continue | EventActions.Crash;

    /// <inheritdoc/>
    public static int WireSize => 0;

    /// <inheritdoc/>
    public bool IsWellFormed => true;
}
