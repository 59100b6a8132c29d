using Hyperscope.Cli.Output;

namespace Hyperscope.Cli.Commands;

/// <summary><c>vm info</c>.</summary>
internal sealed class VmInfoCommand : ToolCommand
{
    /// <summary>Adds its options.</summary>
    public VmInfoCommand()
        : base(
            "info",
            "Show what a VM is and what its owner lets a tool do.",
            new Example("hyperscope vm info --kvmi unix:/run/vm.sock", "Is everything allowed?"))
    {
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(IntrospectedVm vm, ParseResult parsed, CancellationToken cancellation)
    {
        Gfn end = await vm.GetMaxGfnAsync(cancellation).ConfigureAwait(false);
        Dictionary<string, string> commands = [], events = [];
        foreach (CommandInfo command in (CommandInfo[])[.. CommandCatalog.All, .. CommandCatalog.Extensions])
            commands[Values.NameOf(command.Id)] = Verdict(await vm.CheckCommandAsync(command.Id, cancellation).ConfigureAwait(false));
        foreach (EventInfo info in (EventInfo[])[.. EventCatalog.All, .. EventCatalog.Extensions])
            events[Values.NameOf(info.Id)] = Verdict(await vm.CheckEventAsync(info.Id, cancellation).ConfigureAwait(false));
        var record = new VmInfoRecord(
            vm.Version.Version, vm.Version.Features.Singlestep, vm.Vcpus.Count, $"{end}", commands, events);
        if (IsJson(parsed))
        {
            Console.WriteJson(record, CliJson.Default.VmInfoRecord);
            return ExitCode.Done;
        }

        Console.WriteTable(
            ["property", "value"],
            [
                ["protocol version", $"{record.Version}"], ["single-step", record.Singlestep ? "yes" : "no"],
                ["vCPUs", $"{record.Vcpus}"], ["end of memory", $"gfn {record.MaxGfn}, {end.Value >> 8} MiB"],
            ]);
        Console.WriteTable(
            ["", "", ""],
            commands.Select(static pair => (string[])["command", pair.Key, pair.Value])
                .Concat(events.Select(static pair => (string[])["event", pair.Key, pair.Value])));
        return ExitCode.Done;
    }

    private static string Verdict(KvmError error) => error switch
    {
        KvmError.None => "allowed",
        KvmError.NotPermitted => "not allowed",
        _ => "unknown",
    };
}
