using Hyperscope.Cli.Output;

namespace Hyperscope.Cli;

/// <summary>Prints events and answers them, until enough were seen, the VM ends or Ctrl-C.</summary>
internal static class EventLoop
{
    public static async Task<int> RunAsync(
        CliConsole console, IAsyncEnumerable<VmEvent> events, bool json, EventAction answer, int? limit, CancellationToken cancellation,
        bool discardsWrites = false)
    {
        int seen = 0;
        await foreach (VmEvent e in events.WithCancellation(cancellation).ConfigureAwait(false))
        {
            bool accepts = !EventCatalog.TryGet(e.Id, out EventInfo info) || info.Accepts.Allows(answer);
            EventAction action = accepts ? answer : EventAction.Continue;
            bool isDiscarded = e.Is(out VmEvent<AccessEvent> access) && discardsWrites && access.Access == PageAccess.Write;
            EventRecord record = EventText.Describe(e, action);
            if (isDiscarded)
            {
                record = record with { Answer = "discard" };
                access.Discard();
            }
            else if (e.IsPending)
            {
                e.Answer(action);
            }

            if (json)
                console.WriteJson(record, CliJson.Default.EventRecord);
            else
                await console.Out.WriteLineAsync(EventText.ToLine(record)).ConfigureAwait(false);
            if (e.Id == EventId.Unhook || ++seen == limit)
                break;
        }

        return ExitCode.Done;
    }
}
