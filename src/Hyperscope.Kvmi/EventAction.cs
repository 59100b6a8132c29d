namespace Hyperscope.Kvmi;

/// <summary>The verdict that an event reply carries (C names <c>KVMI_EVENT_ACTION_*</c>). What each means depends on the event.</summary>
public enum EventAction : byte
{
    /// <summary>Go on as if nobody watched.</summary>
    Continue = 0,

    /// <summary>Execute the instruction again.</summary>
    Retry = 1,

    /// <summary>Stop the VM.</summary>
    Crash = 2,
}

/// <summary>A set of <see cref="EventAction"/>.</summary>
[Flags]
public enum EventActions
{
    /// <summary>The event has no reply.</summary>
    None = 0,

    /// <summary><see cref="EventAction.Continue"/>.</summary>
    Continue = 1 << EventAction.Continue,

    /// <summary><see cref="EventAction.Retry"/>.</summary>
    Retry = 1 << EventAction.Retry,

    /// <summary><see cref="EventAction.Crash"/>.</summary>
    Crash = 1 << EventAction.Crash,
}

/// <summary>Membership of actions.</summary>
public static class EventActionsExtensions
{
    /// <summary>True if <paramref name="action"/>, which may be any byte off the wire, is one of <paramref name="actions"/>.</summary>
    public static bool Allows(this EventActions actions, EventAction action) =>
        action <= EventAction.Crash && ((int)actions & (1 << (int)action)) != 0;
}
