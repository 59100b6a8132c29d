using Hyperscope.Machine.Control;

namespace Hyperscope.Cli.Commands;

/// <summary><c>vm ctl</c>.</summary>
internal sealed class VmCtlCommand : CliCommand
{
    private static readonly string[] Verbs =
        ["status", "suspend", "resume", "stop", "hook", "unhook", "pre-unhook", "allow-command", "allow-event", "add-memory", "remove-memory"];

    private readonly Option<Endpoint> _control = new("--control")
    {
        Description = "Where vm run --control listens",
        HelpName = "endpoint",
        Required = true,
        CustomParser = Values.Endpoint,
    };

    private readonly Argument<string> _verb = new("verb") { Description = string.Join(", ", Verbs) };

    private readonly Option<string?> _tool = new("--tool") { Description = "hook: where the tool listens", HelpName = "endpoint" };

    private readonly Option<int> _id = new("--id")
    {
        Description = "allow-command, allow-event: a message or event id, -1 for all",
        DefaultValueFactory = static _ => -1,
    };

    private readonly Option<bool> _deny = new("--deny") { Description = "allow-command, allow-event: disallow instead" };

    private readonly Option<ulong> _gpa = new("--gpa") { Description = "add-memory, remove-memory: first address", CustomParser = Values.Size };

    private readonly Option<ulong> _size = new("--size") { Description = "add-memory: length", CustomParser = Values.Size };

    /// <summary>Adds its options.</summary>
    public VmCtlCommand()
        : base(
            "ctl",
            "Act as the owner of a running VM.",
            new("hyperscope vm ctl status --control unix:/run/vm.ctl", "What is it doing?"),
            new("hyperscope vm ctl add-memory --gpa 0x10000000 --size 16M --control unix:/run/vm.ctl", "Plug memory in"),
            new("hyperscope vm ctl unhook --control unix:/run/vm.ctl", "Send the tool away and lift its restrictions"))
    {
        _verb.AcceptOnlyFromAmong(Verbs);
        Arguments.Add(_verb);
        foreach (Option option in (Option[])[_control, _tool, _id, _deny, _gpa, _size])
            Options.Add(option);
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        using ControlClient client = ControlClient.Connect(parsed.GetValue(_control)!);
        ControlResponse response = client.Send(new ControlRequest
        {
            Command = parsed.GetValue(_verb)!,
            Endpoint = parsed.GetValue(_tool),
            Id = parsed.GetValue(_id),
            Allow = parsed.GetValue(_deny) ? 0u : 1u,
            Gpa = parsed.GetValue(_gpa),
            Bytes = parsed.GetValue(_size),
        });
        if (response.Error != 0)
            throw new CliException($"{parsed.GetValue(_verb)}: {response.Message ?? "refused"} (errno {response.Error})", ExitCode.Refused);
        if (response.Status is { } status)
        {
            Console.WriteTable(
                ["property", "value"],
                [
                    ["name", status.Name], ["id", $"{status.Id}"], ["vCPUs", $"{status.Vcpus}"], ["memory", $"{status.MemoryBytes >> 20} MiB"],
                    ["instructions", status.Instructions.ToString("N0", CultureInfo.InvariantCulture)], ["suspended", status.IsSuspended ? "yes" : "no"],
                    ["tool attached", status.IsHooked ? "yes" : "no"], ["restricted frames", $"{status.RestrictedFrames}"],
                ]);
        }

        await Task.CompletedTask.ConfigureAwait(false);
        return ExitCode.Done;
    }
}
