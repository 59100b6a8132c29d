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
        using var release = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        int left = vcpus.Count;
        var allStopped = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using IDisposable handling = vm.OnAsync<PauseVcpuEvent>(async e =>
        {
            EventRecord record = EventText.Describe(e.Untyped, null);
            lock (allStopped)
            {
                if (IsJson(parsed))
                    Console.WriteJson(record, CliJson.Default.EventRecord);
                else
                    Console.Out.WriteLine(EventText.ToLine(record));
                if (--left == 0)
                    allStopped.SetResult();
            }

            await Task.Delay(Timeout.Infinite, release.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            e.Continue();
        });
        foreach (IntrospectedVcpu vcpu in vcpus)
            await vcpu.PauseAsync(wait: true, cancellation).ConfigureAwait(false);
        await (await Task.WhenAny(allStopped.Task, vm.Completion).ConfigureAwait(false)).WaitAsync(cancellation).ConfigureAwait(false);
        await Console.Error.WriteLineAsync($"{vcpus.Count} vCPU(s) paused; Ctrl-C lets them go").ConfigureAwait(false);
        TimeSpan time = parsed.GetValue(_seconds) is { } seconds ? TimeSpan.FromSeconds(seconds) : Timeout.InfiniteTimeSpan;
        await Task.WhenAny(vm.Completion, Task.Delay(time, cancellation)).ConfigureAwait(false);
        await release.CancelAsync().ConfigureAwait(false);
        return ExitCode.Done;
    }
}
