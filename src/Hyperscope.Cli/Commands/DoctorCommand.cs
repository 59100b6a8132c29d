using Hyperscope.Cli.Output;
using Hyperscope.Cli.Running;
using Hyperscope.Conformance;
using Hyperscope.Machine;
using Hyperscope.Machine.Control;

namespace Hyperscope.Cli.Commands;

/// <summary><c>doctor</c>.</summary>
internal sealed class DoctorCommand : CliCommand
{
    private const int Width = 80, NameWidth = 25, ColumnWidth = 10;

    // What shows each cell to work: rows of the conformance suite, run with a guest that causes it.
    private static readonly (string Kind, string Name, string[] Rows)[] Cells =
    [
        ("command", Command(MessageId.GetVersion), ["10"]),
        ("command", Command(MessageId.VmCheckCommand), ["11"]),
        ("command", Command(MessageId.VmCheckEvent), ["16"]),
        ("command", Command(MessageId.VmGetInfo), ["18"]),
        ("command", Command(MessageId.VmControlEvents), ["20"]),
        ("command", Command(MessageId.VmReadPhysical), ["24"]),
        ("command", Command(MessageId.VmWritePhysical), ["23"]),
        ("command", Command(MessageId.VcpuGetInfo), ["27"]),
        ("command", Command(MessageId.VcpuPause), ["30"]),
        ("command", Command(MessageId.VcpuControlEvents), ["33"]),
        ("command", Command(MessageId.VcpuGetRegisters), ["36"]),
        ("command", Command(MessageId.VcpuSetRegisters), ["41"]),
        ("command", Command(MessageId.VcpuGetCpuid), ["42"]),
        ("command", Command(MessageId.VmControlCleanup), ["45"]),
        ("command", Command(MessageId.VcpuControlCr), ["46"]),
        ("command", Command(MessageId.VcpuInjectException), ["48"]),
        ("command", Command(MessageId.VmGetMaxGfn), ["50"]),
        ("command", Command(MessageId.VcpuGetXcr), ["52"]),
        ("command", Command(MessageId.VcpuGetXsave), ["53"]),
        ("command", Command(MessageId.VcpuSetXsave), ["53"]),
        ("command", Command(MessageId.VcpuGetMtrrType), ["54"]),
        ("command", Command(MessageId.VcpuControlMsr), ["56"]),
        ("command", Command(MessageId.VmSetPageAccess), ["58"]),
        ("command", Command(MessageId.VcpuControlSinglestep), ["60"]),
        ("command", Command(MessageId.VcpuTranslateGva), ["63"]),
        ("event", Event(EventId.Unhook), ["19"]),
        ("event", Event(EventId.PauseVcpu), ["30"]),
        ("event", Event(EventId.Hypercall), ["43"]),
        ("event", Event(EventId.Breakpoint), ["44"]),
        ("event", Event(EventId.Cr), ["46"]),
        ("event", Event(EventId.Trap), ["48"]),
        ("event", Event(EventId.Xsetbv), ["51"]),
        ("event", Event(EventId.Descriptor), ["55"]),
        ("event", Event(EventId.Msr), ["56"]),
        ("event", $"{Event(EventId.PageFault)} read", ["x20"]),
        ("event", $"{Event(EventId.PageFault)} write", ["59"]),
        ("event", $"{Event(EventId.PageFault)} execute", ["x21"]),
        ("event", Event(EventId.Singlestep), ["60"]),
        ("action", "continue", ["x22"]),
        ("action", "retry", ["x24", "x25"]),
        ("action", "crash", ["x38"]),
    ];

    private readonly Option<bool> _json = new("--json") { Description = "Print one JSON object a line: back ends, then cells" };

    /// <summary>Adds its options.</summary>
    public DoctorCommand()
        : base(
            "doctor",
            "What introspection can do on this machine: each command, event and action, tried with a small guest on each back end.",
            new("hyperscope doctor", "A table for people"),
            new("hyperscope doctor --json", "The same for programs")) => Options.Add(_json);

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        bool isJson = parsed.GetValue(_json);
        string? obstacle = HardwareBackend.FindObstacle();
        List<(string Name, string? Obstacle, Dictionary<string, RowResult> Rows)> backends = [];
        foreach ((string name, string? why) in new[] { ("software", (string?)null), ("kvm", obstacle) })
        {
            Dictionary<string, RowResult> rows = why is null
                ? await Task.Run(() => Measure(name, cancellation), cancellation).ConfigureAwait(false)
                : [];
            backends.Add((name, why, rows));
        }

        string? protectionObstacle = obstacle is null ? HardwareBackend.FindUserfaultObstacle() : null;
        if (isJson)
        {
            PrintJson(backends, protectionObstacle);
            return ExitCode.Done;
        }

        PrintTable(backends);
        if (obstacle is null)
            WriteWrapped(Console.Out, "kvm:", $"restricts pages with {(protectionObstacle is null ? "userfaultfd and mprotect" : $"mprotect alone: {protectionObstacle}")}");
        return ExitCode.Done;
    }

    private static string Command(MessageId id) => Values.NameOf(id);

    private static string Event(EventId id) => Values.NameOf(id);

    private static Dictionary<string, RowResult> Measure(string backend, CancellationToken cancellation)
    {
        HashSet<string> wanted = [.. Cells.SelectMany(static cell => cell.Rows)];
        DirectoryInfo folder = ChildVm.CreateFolder();
        Endpoint control = ChildVm.Socket(folder, "control");
        using ChildVm vm = ChildVm.Start(folder, "--image", "builtin:selftest", "--memory", "8M", "--backend", backend, "--control", $"{control}");
        using var manager = new ControlledVm(vm.ConnectWhenReady(() => ControlClient.Connect(control)), ChildVm.Socket(folder, "tool"));
        using var context = new ConformanceContext(manager, null, hasGuest: true) { VcpuCount = 1 };
        return ConformanceSuite.Run(context, filter: row => wanted.Contains(row.Id), cancellation: cancellation).ToDictionary(static result => result.Row.Id);
    }

    /// <summary>What lies behind a refusal of the KVM back end.</summary>
    private static string? Explain(string backend, string name) => backend != "kvm" ? null : name switch
    {
        "vcpu-control-cr" or "cr" => "KVM has no exit for control-register writes",
        "xsetbv" => "KVM has no exit for XSETBV",
        "descriptor" => "KVM has no exit for accesses to descriptor tables",
        "bp" => "this host's KVM does not stop its guest at INT3 when asked to; emulated SVM never does",
        "hypercall" => "this host's KVM has no hypercall intercept (KVM_XEN_HVM_CONFIG)",
        _ => null,
    };

    private static (bool Works, string Reason) Judge(string backend, string name, Dictionary<string, RowResult> rows, string[] ids)
    {
        foreach (string id in ids)
        {
            if (!rows.TryGetValue(id, out RowResult? result))
                return (false, "was not tried");
            if (result.Outcome == RowOutcome.Skipped && Explain(backend, name) is { } why)
                return (false, $"{why} (EOPNOTSUPP)");
            if (result.Outcome != RowOutcome.Passed)
                return (false, result.Detail);
        }

        return (true, "");
    }

    private void PrintTable(List<(string Name, string? Obstacle, Dictionary<string, RowResult> Rows)> backends)
    {
        TextWriter o = Console.Out;
        o.WriteLine($"{"",-10}{"",-NameWidth}{string.Concat(backends.Select(static backend => $"{backend.Name,-ColumnWidth}"))}".TrimEnd());
        List<string> reasons = [];
        foreach ((string name, string? obstacle, _) in backends)
        {
            if (obstacle is not null)
                reasons.Add($"{name} is not present: {obstacle}");
        }

        string? lastKind = null;
        foreach ((string kind, string name, string[] ids) in Cells)
        {
            var line = new System.Text.StringBuilder($"{(kind == lastKind ? "" : kind),-10}{name,-NameWidth}");
            lastKind = kind;
            foreach ((string backend, string? obstacle, Dictionary<string, RowResult> rows) in backends)
            {
                if (obstacle is not null)
                {
                    line.Append(CultureInfo.InvariantCulture, $"{"-",-ColumnWidth}");
                    continue;
                }

                (bool works, string reason) = Judge(backend, name, rows, ids);
                int note = -1;
                if (!works)
                {
                    string text = $"{backend}: {reason}";
                    note = reasons.IndexOf(text);
                    if (note < 0)
                    {
                        note = reasons.Count;
                        reasons.Add(text);
                    }
                }

                line.Append(CultureInfo.InvariantCulture, $"{(works ? "yes" : $"no ({note + 1})"),-ColumnWidth}");
            }

            o.WriteLine(line.ToString().TrimEnd());
        }

        for (int index = 0; index < reasons.Count; index++)
            WriteWrapped(o, $"({index + 1})", reasons[index]);
    }

    private static void WriteWrapped(TextWriter output, string label, string text)
    {
        var line = new System.Text.StringBuilder($"{label,-5}");
        foreach (string word in text.Split(' '))
        {
            if (line.Length + word.Length >= Width)
            {
                output.WriteLine(line.ToString().TrimEnd());
                line.Clear().Append(' ', 5);
            }

            line.Append(word).Append(' ');
        }

        output.WriteLine(line.ToString().TrimEnd());
    }

    private void PrintJson(List<(string Name, string? Obstacle, Dictionary<string, RowResult> Rows)> backends, string? protectionObstacle)
    {
        foreach ((string backend, string? obstacle, _) in backends)
        {
            string? protection = backend != "kvm" || obstacle is not null ? null : protectionObstacle is null ? "userfaultfd" : "mprotect";
            Console.WriteJson(
                new BackendRecord(backend, obstacle is null, obstacle, protection, protection is null ? null : protectionObstacle),
                CliJson.Default.BackendRecord);
        }

        foreach ((string backend, string? obstacle, Dictionary<string, RowResult> rows) in backends)
        {
            if (obstacle is not null)
                continue;
            foreach ((string kind, string name, string[] ids) in Cells)
            {
                (bool works, string reason) = Judge(backend, name, rows, ids);
                Console.WriteJson(new DoctorRecord(backend, kind, name, works, works ? null : reason), CliJson.Default.DoctorRecord);
            }
        }
    }
}
