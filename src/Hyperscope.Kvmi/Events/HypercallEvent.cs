namespace Hyperscope.Kvmi;

/// <summary>The guest made the introspection hypercall (C name KVMI_EVENT_HYPERCALL).</summary>
/// <remarks>No specific data; rip is at the hypercall, which returns 0. Source: kvmi-abi.md 2.6.2.</remarks>
public readonly struct HypercallEvent : IEvent<HypercallEvent>
{
    /// <inheritdoc/>
    public static EventId Id => EventId.Hypercall;

    /// <inheritdoc/>
    public static EventActions Accepts => EventActions.Continue | EventActions.Crash;

    /// <inheritdoc/>
    public static int WireSize => 0;

    /// <inheritdoc/>
    public bool IsWellFormed => true;
}
