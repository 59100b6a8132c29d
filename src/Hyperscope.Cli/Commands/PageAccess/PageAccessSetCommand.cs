namespace Hyperscope.Cli.Commands;

/// <summary><c>page-access set</c>.</summary>
internal sealed class PageAccessSetCommand : ToolCommand
{
    private readonly Argument<PageRange[]> _pages = new("pages")
    {
        Description = "Pages and their rights: 0x1000=r-x, or 0x1000+16=r-- for 16 pages",
        Arity = ArgumentArity.OneOrMore,
        CustomParser = Values.Pages,
    };

    private readonly Option<EventAction> _answer = new("--answer")
    {
        Description = "What to answer to violations: continue (unless given), retry or crash",
        HelpName = "action",
        CustomParser = Values.Action,
    };

    private readonly Option<int?> _count = new("--count")
    {
        Description = "Leave after this many violations",
        HelpName = "n",
        CustomParser = static result => Values.Count(result),
    };

    private readonly Option<bool> _noWait = new("--no-wait")
    {
        Description = "Leave at once and do not lift the rights "
            + "(some VMs keep them until they unhook, others lift them as the tool leaves)",
    };

    /// <summary>Adds its arguments.</summary>
    public PageAccessSetCommand()
        : base(
            "set",
            "Restrict guest pages and print each violation. The rights hold while the command runs: Ctrl-C lifts them.",
            new("hyperscope page-access set --kvmi unix:/run/vm.sock 0x1000=r-x", "Guard one page of code against writes"),
            new("hyperscope page-access set --kvmi unix:/run/vm.sock 0x200000+512=rw- --answer crash",
                "Stop the VM when it executes its heap"))
    {
        Arguments.Add(_pages);
        Options.Add(_answer);
        Options.Add(_count);
        Options.Add(_noWait);
    }

    /// <inheritdoc/>
    protected override bool RunsUntilInterrupted => true;

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(IntrospectedVm vm, ParseResult parsed, CancellationToken cancellation)
    {
        bool wait = !parsed.GetValue(_noWait);
        IAsyncEnumerable<VmEvent> events = vm.Events(cancellation);
        if (wait)
            await vm.EnableAsync(EventId.PageFault, cancellation).ConfigureAwait(false);
        long pages = 0;
        foreach (PageRange range in parsed.GetValue(_pages)!)
        {
            await vm.SetPageAccessAsync(range.First, range.Count, range.Access, cancellation).ConfigureAwait(false);
            pages += range.Count;
        }

        await Console.Error.WriteLineAsync($"rights of {pages} page(s) set{(wait ? "; Ctrl-C lifts them" : "")}").ConfigureAwait(false);
        if (!wait)
        {
            vm.Dispose(); // without lifting them
            return ExitCode.Done;
        }

        using HeldPages held = HeldPages.Note(EndpointOf(parsed), vm);
        return await EventLoop.RunAsync(
            Console, events, IsJson(parsed), parsed.GetValue(_answer), parsed.GetValue(_count), cancellation).ConfigureAwait(false);
    }
}
