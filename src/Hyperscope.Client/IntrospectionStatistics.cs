namespace Hyperscope.Client;

/// <summary>Counts of one connection since it began.</summary>
/// <param name="Commands">Commands sent.</param>
/// <param name="Events">Events received.</param>
/// <param name="UnhandledEvents">Events that nobody handled; each got the default answer.</param>
/// <param name="MissedEvents">Numbers missing between events, where gaps are tolerated.</param>
/// <param name="HandlerErrors">Handlers that threw, or did not answer their event.</param>
public readonly record struct IntrospectionStatistics(
    long Commands, long Events, long UnhandledEvents, long MissedEvents, long HandlerErrors);
