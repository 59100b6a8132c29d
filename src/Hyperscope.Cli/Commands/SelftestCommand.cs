using System.Text.Json;
using Hyperscope.Cli.Output;
using Hyperscope.Cli.Running;
using Hyperscope.Conformance;
using Hyperscope.Machine.Control;

namespace Hyperscope.Cli.Commands;

/// <summary><c>selftest</c>.</summary>
internal sealed class SelftestCommand : CliCommand
{
    private readonly Option<int> _vcpus = new("--vcpus")
    {
        Description = "Number of vCPUs of the VM that is started",
        HelpName = "n",
        DefaultValueFactory = static _ => 2,
        CustomParser = Values.Count,
    };

    private readonly Option<Endpoint?> _kvmi = new("--kvmi")
    {
        Description = "Check the server that listens there instead of starting a VM",
        HelpName = "endpoint",
        CustomParser = Values.Endpoint,
    };

    private readonly Option<Endpoint?> _control = new("--control")
    {
        Description = "Check the VM whose owner's socket this is instead of starting one",
        HelpName = "endpoint",
        CustomParser = Values.Endpoint,
    };

    private readonly Option<bool> _foreignGuest = new("--foreign-guest") { Description = "The VM does not run the self-test guest: skip what needs it" };

    private readonly Option<string?> _backend = BackendChoice.Option();

    private readonly Option<string?> _protect = ProtectionChoice.Option();

    private readonly Option<string?> _rows = new("--rows") { Description = "Only these rows, such as 10,59,x22", HelpName = "list" };

    private readonly Option<bool> _json = new("--json") { Description = "Print one JSON object a row" };

    /// <summary>Adds its options.</summary>
    public SelftestCommand()
        : base(
            "selftest",
            "Check a KVMI server against the protocol, row by row.",
            new("hyperscope selftest", "Check the software machine, in a process of its own"),
            new("hyperscope selftest --rows 59,x26", "Two rows only"),
            new("hyperscope selftest --kvmi unix:/run/vm.sock --foreign-guest", "Another server, with whatever guest it runs"))
    {
        foreach (Option option in (Option[])[_vcpus, _kvmi, _control, _foreignGuest, _rows, _backend, _protect, _json])
            Options.Add(option);
        Validators.Add(result =>
        {
            if (result.GetValue(_kvmi) is not null && result.GetValue(_control) is not null)
                result.AddError("give either --kvmi or --control");
        });
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        HashSet<string>? wanted = parsed.GetValue(_rows)?.Split(',').ToHashSet();
        bool isJson = parsed.GetValue(_json);
        bool hasGuest = !parsed.GetValue(_foreignGuest);
        IReadOnlyList<RowResult> Run(ConformanceContext context) =>
            ConformanceSuite.Run(context, result => Print(result, isJson), wanted is null ? null : row => wanted.Contains(row.Id), cancellation);

        IReadOnlyList<RowResult> results = await Task.Run(
            () =>
            {
                if (parsed.GetValue(_kvmi) is { } endpoint)
                {
                    using var context = new ConformanceContext(null, () => new RawPeer(StreamSocket.Connect(endpoint)), hasGuest);
                    return Run(context);
                }

                DirectoryInfo folder = ChildVm.CreateFolder();
                if (parsed.GetValue(_control) is { } control)
                {
                    using var manager = new ControlledVm(ControlClient.Connect(control), ChildVm.Socket(folder, "tool"));
                    using var context = new ConformanceContext(manager, null, hasGuest);
                    IReadOnlyList<RowResult> rows = Run(context);
                    folder.Delete(recursive: true);
                    return rows;
                }

                // One of the first rows lets the VM run; a selection may be without it.
                string[] start = wanted is null ? ["--paused"] : [];
                return RunOwn(
                    folder,
                    parsed.GetValue(_vcpus),
                    ["--backend", parsed.GetValue(_backend) ?? "software", "--kvm-protect", parsed.GetValue(_protect) ?? "auto", .. start],
                    Run);
            },
            cancellation).ConfigureAwait(false);
        int Count(RowOutcome outcome) => results.Count(result => result.Outcome == outcome);
        await Console.Error.WriteLineAsync(
            $"{Count(RowOutcome.Passed)} passed, {Count(RowOutcome.Failed)} failed, {Count(RowOutcome.Skipped)} skipped").ConfigureAwait(false);
        return Count(RowOutcome.Failed) == 0 ? ExitCode.Done : ExitCode.Failed;
    }

    private static IReadOnlyList<RowResult> RunOwn(
        DirectoryInfo folder, int vcpus, string[] arguments, Func<ConformanceContext, IReadOnlyList<RowResult>> run)
    {
        Endpoint control = ChildVm.Socket(folder, "control");
        using ChildVm vm = ChildVm.Start(
            folder, ["--image", "builtin:selftest", "--vcpus", $"{vcpus}", "--memory", "8M", "--control", $"{control}", .. arguments]);
        using var manager = new ControlledVm(vm.ConnectWhenReady(() => ControlClient.Connect(control)), ChildVm.Socket(folder, "tool"));
        using var context = new ConformanceContext(manager, null, hasGuest: true) { VcpuCount = vcpus };
        return run(context);
    }

    private void Print(RowResult result, bool isJson)
    {
        if (isJson)
        {
            Console.Out.WriteLine(JsonSerializer.Serialize(
                new SelftestRecord(result.Row.Id, result.Row.Area, result.Row.Claim, $"{result.Outcome}", result.Detail, result.Duration.TotalMilliseconds),
                CliJson.Default.SelftestRecord));
            return;
        }

        string mark = result.Outcome switch { RowOutcome.Passed => "ok  ", RowOutcome.Failed => "FAIL", _ => "skip" };
        Console.Out.WriteLine($"{mark} {result.Row.Id,4}  {result.Row.Area}: {result.Row.Claim}");
        if (result.Detail.Length > 0)
            Console.Out.WriteLine($"           {result.Detail}");
    }
}
