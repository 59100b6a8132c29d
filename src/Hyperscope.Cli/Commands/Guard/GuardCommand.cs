using Hyperscope.Guard;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary>What the commands of a guard share: a policy, and a Linux guest.</summary>
internal abstract class GuardCommand : ToolCommand
{
    private readonly Option<FileInfo> _policy = new("--policy") { Description = "The policy, a YAML file", HelpName = "file", Required = true };

    /// <summary>Adds what all of them take.</summary>
    protected GuardCommand(string name, string description, params Example[] examples)
        : base(name, description, examples) => Options.Add(_policy);

    /// <summary>Does the work.</summary>
    /// <returns>One of <see cref="ExitCode"/>.</returns>
    protected abstract Task<int> RunAsync(IntrospectedVm vm, LinuxGuest guest, GuardPolicy policy, ParseResult parsed, CancellationToken cancellation);

    /// <inheritdoc/>
    protected sealed override async Task<int> RunAsync(IntrospectedVm vm, ParseResult parsed, CancellationToken cancellation)
    {
        try
        {
            GuardPolicy policy = GuardPolicy.Load(parsed.GetValue(_policy)!.FullName);
            LinuxGuest guest = await LinuxGuest.AttachAsync(vm, cancellation: cancellation).ConfigureAwait(false);
            return await RunAsync(vm, guest, policy, parsed, cancellation).ConfigureAwait(false);
        }
        catch (PolicyException wrong)
        {
            throw new CliException(wrong.Message, ExitCode.BadUsage);
        }
        catch (LinuxGuestException failure)
        {
            throw new CliException(failure.Message);
        }
    }

    /// <summary>Says what was armed, in lines of a terminal.</summary>
    protected void Describe(LinuxGuest guest, GuardPolicy policy, GuardArming arming)
    {
        Console.Error.WriteLine($"guarding Linux {guest.Release} by policy {policy.Name}:");
        Console.Error.WriteLine($"  {Summary(arming)}");
        Console.Error.WriteLine($"  {Times(arming)}");
        Note(arming.Notes);
        if (!arming.HasExtensions)
            Note(["the VM has no watches and cannot discard a write:", "  bytes cost an event for each write to their page"]);
    }

    /// <summary>Says what could not be done.</summary>
    protected void Note(IReadOnlyList<string> notes)
    {
        foreach (string note in notes)
            Console.Error.WriteLine($"  note: {note}");
    }

    /// <summary>What was armed, in a line.</summary>
    internal static string Summary(GuardArming arming) =>
        $"{arming.Pages} pages, {arming.WatchedBytes} bytes on {arming.WatchedPages} pages, {arming.Registers} registers";

    /// <summary>How long it took, in a line.</summary>
    internal static string Times(GuardArming arming) =>
        $"planned in {arming.PlanTime.TotalMilliseconds:F0} ms, prepared in {arming.PrepareTime.TotalMilliseconds:F0} ms, "
        + $"armed in {arming.ArmTime.TotalMilliseconds:F0} ms";

    /// <summary>A violation for people: what became of it and who did it, and below what it was.</summary>
    internal static string Lines(Violation violation)
    {
        string outcome = violation.Outcome.Length == 0 ? "waits" : violation.Outcome;
        string by = violation.Process is { } process ? $", {process.Comm} ({process.Pid}, uid {process.Uid})" : "";
        string at = violation.Instruction is { } instruction ? $"at {instruction.Symbol}" : "";
        string between = at.Length == 0 ? "" : violation.What.Length + at.Length < CliConsole.DefaultWidth - 4 ? " " : "\n  ";
        string core = violation.Core is { } path ? $"\n  the guest's memory is in {path}" : "";
        return $"{violation.Time:HH:mm:ss.fff} {violation.Rule}: {outcome}{by}\n  {violation.What}{between}{at}{core}";
    }
}
