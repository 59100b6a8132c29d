namespace Hyperscope.Kvmi;

/// <summary>The tool should clean up and close the connection (C name KVMI_EVENT_UNHOOK).</summary>
/// <remarks>No specific data, all state zero, no reply. Source: kvmi-abi.md 2.6.0.</remarks>
public readonly struct UnhookEvent : IEvent<UnhookEvent>
{
    /// <inheritdoc/>
    public static EventId Id => EventId.Unhook;

    /// <inheritdoc/>
    public static EventActions Accepts => EventActions.None;

    /// <inheritdoc/>
    public static int WireSize => 0;

    /// <inheritdoc/>
    public bool IsWellFormed => true;
}
