namespace Hyperscope.Cli.Commands;

/// <summary><c>events watch</c>.</summary>
internal sealed class EventsWatchCommand : ToolCommand
{
    private readonly Option<EventId[]> _kinds = new("--kind")
    {
        Description = $"What to watch (pf unless given): {Values.AllEventNames}",
        HelpName = "list",
        CustomParser = Values.Events,
    };

    private readonly Option<PageRange[]> _pages = new("--page")
    {
        Description = "Pages to restrict meanwhile, for pf: 0x1000=r-x, 0x1000+16=r--",
        HelpName = "list",
        CustomParser = Values.Pages,
    };

    private readonly Option<byte[]> _crs = new("--cr")
    {
        Description = "Control registers to watch, for cr (0,3,4 unless given)",
        HelpName = "list",
        CustomParser = Values.Crs,
    };

    private readonly Option<uint[]> _msrs = new("--msr")
    {
        Description = "MSRs whose writes to watch, for msr",
        HelpName = "list",
        CustomParser = Values.Msrs,
    };

    private readonly Option<EventAction> _answer = new("--answer")
    {
        Description = "What to answer: continue (unless given), retry or crash",
        HelpName = "action",
        CustomParser = Values.Action,
    };

    private readonly Option<int?> _count = new("--count")
    {
        Description = "Leave after this many events",
        HelpName = "n",
        CustomParser = static result => Values.Count(result),
    };

    /// <summary>Adds its options.</summary>
    public EventsWatchCommand()
        : base(
            "watch",
            "Print events as they happen, and let the guest go on. Until Ctrl-C, or until the VM ends.",
            new("hyperscope events watch --kvmi unix:/run/vm.sock --kind cr,msr --msr 0xc0000082",
                "Who changes control registers or LSTAR?"),
            new("hyperscope events watch --kvmi unix:/run/vm.sock --page 0x100000+256=r-x", "Who writes to the first MiB of code?"),
            new("hyperscope events watch --kvmi unix:/run/vm.sock --listen --kind bp --json",
                "Wait for a VM, print breakpoints as JSON lines"))
    {
        Options.Add(_kinds);
        Options.Add(_pages);
        Options.Add(_crs);
        Options.Add(_msrs);
        Options.Add(_answer);
        Options.Add(_count);
    }

    /// <inheritdoc/>
    protected override IEnumerable<string> Misuse(ParseResult parsed)
    {
        bool namesMsrs = parsed.GetValue(_msrs) is { Length: > 0 };
        if (KindsOf(parsed).Contains(EventId.Msr) != namesMsrs)
            yield return "--kind msr and --msr go together: --kind msr --msr 0xc0000082";
    }

    /// <inheritdoc/>
    protected override bool RunsUntilInterrupted => true;

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(IntrospectedVm vm, ParseResult parsed, CancellationToken cancellation)
    {
        IAsyncEnumerable<VmEvent> events = vm.Events(cancellation);
        EventId[] kinds = KindsOf(parsed);
        foreach (EventId kind in kinds)
            await vm.EnableAsync(kind, cancellation).ConfigureAwait(false);
        foreach (IntrospectedVcpu vcpu in vm.Vcpus)
        {
            if (kinds.Contains(EventId.Cr))
            {
                foreach (byte cr in parsed.GetValue(_crs) ?? [0, 3, 4])
                    await vcpu.ControlCrAsync(cr, enable: true, cancellation).ConfigureAwait(false);
            }

            foreach (uint msr in kinds.Contains(EventId.Msr) ? parsed.GetValue(_msrs)! : [])
                await vcpu.ControlMsrAsync(msr, enable: true, cancellation).ConfigureAwait(false);
            if (kinds.Contains(EventId.Singlestep))
                await vcpu.ControlSinglestepAsync(enable: true, cancellation).ConfigureAwait(false);
        }

        foreach (PageRange range in parsed.GetValue(_pages) ?? [])
            await vm.SetPageAccessAsync(range.First, range.Count, range.Access, cancellation).ConfigureAwait(false);
        using HeldPages held = HeldPages.Note(EndpointOf(parsed), vm);
        await Console.Error.WriteLineAsync($"watching {string.Join(", ", kinds.Select(Values.NameOf))}; Ctrl-C ends").ConfigureAwait(false);
        return await EventLoop.RunAsync(
            Console, events, IsJson(parsed), parsed.GetValue(_answer), parsed.GetValue(_count), cancellation).ConfigureAwait(false);
    }

    private EventId[] KindsOf(ParseResult parsed) => parsed.GetValue(_kinds) ?? [EventId.PageFault];
}
