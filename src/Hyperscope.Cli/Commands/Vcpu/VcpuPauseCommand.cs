using Hyperscope.Cli.Output;

namespace Hyperscope.Cli.Commands;

/// <summary><c>vcpu pause</c>.</summary>
internal sealed class VcpuPauseCommand : ToolCommand
{
    private readonly Argument<int?> _index = new("index")
    {
        Description = "Which vCPU; all if not given",
        Arity = ArgumentArity.ZeroOrOne,
        CustomParser = static result => Values.Index(result),
    };

    private readonly Option<int?> _seconds = new("--for")
    {
        Description = "Let them run again after this time, instead of at Ctrl-C",
        HelpName = "seconds",
        CustomParser = static result => Values.Count(result),
    };

    /// <summary>Adds its arguments.</summary>
    public VcpuPauseCommand()
        : base(
            "pause",
            "Stop vCPUs and show where. They stand still while the command runs: Ctrl-C lets them go.",
            new("hyperscope vcpu pause --kvmi unix:/run/vm.sock", "Freeze the whole VM"),
            new("hyperscope vcpu pause --kvmi unix:/run/vm.sock 1 --for 5", "Stop vCPU 1 for five seconds"))
    {
        Arguments.Add(_index);
        Options.Add(_seconds);
    }

    /// <inheritdoc/>
    protected override bool RunsUntilInterrupted => true;

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(IntrospectedVm vm, ParseResult parsed, CancellationToken cancellation)
    {
        IReadOnlyList<IntrospectedVcpu> vcpus = parsed.GetValue(_index) is { } index ? [vm.Vcpu(index)] : vm.Vcpus;
        await using StoppedVcpus stopped = await StoppedVcpus.StopAsync(vm, vcpus, cancellation).ConfigureAwait(false);
        foreach (VmEvent<PauseVcpuEvent> pause in await stopped.EventsAsync(cancellation).ConfigureAwait(false))
        {
            EventRecord record = EventText.Describe(pause.Untyped, null);
            if (IsJson(parsed))
                Console.WriteJson(record, CliJson.Default.EventRecord);
            else
                Console.Out.WriteLine(EventText.ToLine(record));
        }

        await Console.Error.WriteLineAsync($"{vcpus.Count} vCPU(s) paused; Ctrl-C lets them go").ConfigureAwait(false);
        TimeSpan time = parsed.GetValue(_seconds) is { } seconds ? TimeSpan.FromSeconds(seconds) : Timeout.InfiniteTimeSpan;
        await Task.WhenAny(vm.Completion, Task.Delay(time, cancellation)).ConfigureAwait(false);
        return ExitCode.Done;
    }
}
