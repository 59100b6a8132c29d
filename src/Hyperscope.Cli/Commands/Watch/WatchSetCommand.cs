namespace Hyperscope.Cli.Commands;

/// <summary><c>watch set</c>.</summary>
internal sealed class WatchSetCommand : ToolCommand
{
    private readonly Argument<WatchRange[]> _ranges = new("ranges")
    {
        Description = "Bytes and the kinds of access to report: 0x20100+8=w, 0x1000=x",
        Arity = ArgumentArity.OneOrMore,
        CustomParser = Values.Watches,
    };

    private readonly Option<EventAction> _answer = new("--answer")
    {
        Description = "What to answer: continue (unless given), retry or crash",
        HelpName = "action",
        CustomParser = Values.Action,
    };

    private readonly Option<bool> _discard = new("--discard") { Description = "Let writes retire without effect" };

    private readonly Option<int?> _count = new("--count")
    {
        Description = "Leave after this many accesses",
        HelpName = "n",
        CustomParser = static result => Values.Count(result),
    };

    /// <summary>Adds its arguments.</summary>
    public WatchSetCommand()
        : base(
            "set",
            "Watch bytes of guest memory and print each access to them. The rest of their pages is not reported. Until Ctrl-C, which ends the "
            + "watches. x on an instruction's first byte is a breakpoint that the guest cannot see.",
            new("hyperscope watch set --kvmi unix:/run/vm.sock 0x20100+8=w", "Who writes to these eight bytes?"),
            new("hyperscope watch set --kvmi unix:/run/vm.sock 0x1000040=x --count 10", "Ten calls of a function"),
            new("hyperscope watch set --kvmi unix:/run/vm.sock 0x20100+8=w --discard", "Keep these bytes as they are"))
    {
        Arguments.Add(_ranges);
        Options.Add(_answer);
        Options.Add(_discard);
        Options.Add(_count);
    }

    /// <inheritdoc/>
    protected override bool RunsUntilInterrupted => true;

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(IntrospectedVm vm, ParseResult parsed, CancellationToken cancellation)
    {
        WatchRange[] ranges = parsed.GetValue(_ranges)!;
        IAsyncEnumerable<VmEvent> events = vm.Events(cancellation);
        await vm.EnableAsync(EventId.Access, cancellation).ConfigureAwait(false);
        foreach (WatchRange range in ranges)
            await vm.SetWatchAsync(range.Gpa, range.Length, range.Kinds, cancellation).ConfigureAwait(false);
        await Console.Error.WriteLineAsync($"watching {ranges.Sum(static range => (long)range.Length)} byte(s); Ctrl-C ends").ConfigureAwait(false);
        return await EventLoop.RunAsync(
            Console, events, IsJson(parsed), parsed.GetValue(_answer), parsed.GetValue(_count), cancellation,
            parsed.GetValue(_discard)).ConfigureAwait(false);
    }
}
