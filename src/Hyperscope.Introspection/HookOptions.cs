namespace Hyperscope.Introspection;

/// <summary>What becomes of a vCPU whose event gets no answer.</summary>
public enum FailurePolicy
{
    /// <summary>Fail open: it goes on as if the tool had said CONTINUE. The reference behaviour.</summary>
    Continue,

    /// <summary>Fail closed: it stays where it is until the device manager unhooks.</summary>
    Pause,
}

/// <summary>How one connection is treated.</summary>
public sealed record HookOptions
{
    /// <summary>What the peer speaks.</summary>
    public Dialect Dialect { get; init; } = Dialect.V9;

    /// <summary>Commands allowed from the first message on; null: only those that always are. Control calls may change it later.</summary>
    public IReadOnlySet<MessageId>? AllowedCommands { get; init; }

    /// <summary>Events allowed from the first message on; null: none.</summary>
    public IReadOnlySet<EventId>? AllowedEvents { get; init; }

    /// <summary>A name for the peer in logs.</summary>
    public string ToolName { get; init; } = "tool";

    /// <summary>How long an event may stay unanswered before the connection is given up; null for ever.</summary>
    public TimeSpan? ReplyDeadline { get; init; }

    /// <summary>What becomes of vCPUs that wait for a reply when the deadline passes or the connection is lost.</summary>
    public FailurePolicy FailurePolicy { get; init; }

    /// <summary>Bytes that may wait to be sent because the peer does not read. One byte more and the connection closes.</summary>
    public int MaxBacklogBytes { get; init; } = 16 << 20;

    /// <summary>Bytes of commands that may wait for one vCPU to run. One byte more and the connection closes.</summary>
    public int MaxQueuedBytes { get; init; } = 16 << 20;
}
