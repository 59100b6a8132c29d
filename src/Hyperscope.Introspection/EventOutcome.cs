namespace Hyperscope.Introspection;

/// <summary>How an event ended.</summary>
internal enum EventOutcome
{
    /// <summary>Nobody answered: the guest goes on as if nobody watched.</summary>
    Lost,

    /// <summary>It was not sent, because a requested pause must be reported first.</summary>
    Postponed,

    /// <summary>CONTINUE.</summary>
    Continue,

    /// <summary>RETRY, where the event accepts it.</summary>
    Retry,

    /// <summary>CRASH: the VM is being stopped.</summary>
    Crash,

    /// <summary>An action that the event does not accept: not continued, and the connection is closed.</summary>
    Refused,
}
