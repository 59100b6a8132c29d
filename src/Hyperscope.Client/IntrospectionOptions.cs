namespace Hyperscope.Client;

/// <summary>How a tool wants one connection to behave.</summary>
public sealed record IntrospectionOptions
{
    /// <summary>How long a command may stay unanswered before it fails with <see cref="TimeoutException"/>; infinite is allowed. A vCPU
    /// that its VM does not run leaves its commands unanswered.</summary>
    public TimeSpan CommandTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>What is answered to an event that nobody handles. An event that does not accept it is answered CONTINUE. Such events are
    /// counted in <see cref="IntrospectionStatistics.UnhandledEvents"/>.</summary>
    public EventAction DefaultAnswer { get; init; } = EventAction.Continue;

    /// <summary>Called when a handler throws or does not answer its event; the event then gets the default answer and the connection
    /// stays. Without it, the connection closes and <see cref="IntrospectedVm.Completion"/> carries the exception.</summary>
    public Action<Exception>? HandlerError { get; init; }

    /// <summary>Count gaps in the numbering of events (<see cref="IntrospectionStatistics.MissedEvents"/>) instead of closing the
    /// connection.</summary>
    public bool TolerateSequenceGaps { get; init; }

    /// <summary>Remember which rights this connection gave to which page, for <see cref="IntrospectedVm.PageAccesses"/>. The protocol
    /// cannot be asked.</summary>
    public bool RememberPageAccess { get; init; }

    /// <summary>The VM greets first and awaits a cookie, as VMs that serve existing C tools do; null: it starts with the protocol
    /// itself.</summary>
    public ToolHandshake? Handshake { get; init; }

    /// <summary>Commands that may be unanswered at a time; further ones wait for their turn.</summary>
    public int MaxCommandsInFlight { get; init; } = 256;
}
