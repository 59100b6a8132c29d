using System.Diagnostics.Metrics;

namespace Hyperscope.Introspection;

/// <summary>What is counted instead of logged. Meter <c>Hyperscope.Introspection</c>.</summary>
internal static class IntrospectionMetrics
{
    private static readonly Meter Meter = new("Hyperscope.Introspection");

    private static readonly EventId[] EventIds = Enum.GetValues<EventId>();

    private static readonly string[] EventNames = [.. EventIds.Select(static id => id.ToString())];

    /// <summary>Commands answered, whatever the answer.</summary>
    public static readonly Counter<long> Commands = Meter.CreateCounter<long>("hyperscope.kvmi.commands");

    /// <summary>Commands answered with an error.</summary>
    public static readonly Counter<long> Refusals = Meter.CreateCounter<long>("hyperscope.kvmi.refusals");

    /// <summary>Events that ended without a reply, by lost connection or deadline.</summary>
    public static readonly Counter<long> Unanswered = Meter.CreateCounter<long>("hyperscope.kvmi.events.unanswered");

    /// <summary>Jobs dropped because their connection was gone.</summary>
    public static readonly Counter<long> Dropped = Meter.CreateCounter<long>("hyperscope.kvmi.jobs.dropped");

    /// <summary>Messages that had to wait because the peer did not read.</summary>
    public static readonly Counter<long> Backlogged = Meter.CreateCounter<long>("hyperscope.kvmi.messages.backlogged");

    private static readonly Counter<long> Events = Meter.CreateCounter<long>("hyperscope.kvmi.events");

    /// <summary>Counts one event sent.</summary>
    public static void CountEvent(EventId id)
    {
        if (Events.Enabled)
            Events.Add(1, new KeyValuePair<string, object?>("event", EventNames[Array.IndexOf(EventIds, id)]));
    }
}
