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

    /// <summary>Says what was armed.</summary>
    protected void Describe(LinuxGuest guest, GuardPolicy policy, GuardArming arming)
    {
        Console.Error.WriteLine($"guarding Linux {guest.Release} by policy {policy.Name}: {Summary(arming)}");
        foreach (string note in arming.Notes)
            Console.Error.WriteLine($"  note: {note}");
        if (!arming.HasExtensions)
            Console.Error.WriteLine("  note: the VM has no watches and cannot discard a write: bytes cost an event for each write to their page");
    }

    /// <summary>What was armed, in a line.</summary>
    internal static string Summary(GuardArming arming) =>
        $"{arming.Pages} pages, {arming.WatchedBytes} bytes on {arming.WatchedPages} pages, {arming.Registers} registers, "
        + $"armed in {arming.ArmTime.TotalMilliseconds:F0} ms";

    /// <summary>A violation for people.</summary>
    internal static string Line(Violation violation)
    {
        string by = violation.Process is { } process ? $" by {process.Comm} ({process.Pid}, uid {process.Uid})" : "";
        string at = violation.Instruction is { } instruction ? $" at {instruction.Symbol}" : "";
        return $"{violation.Time:HH:mm:ss.fff} {violation.Rule}: {violation.What}{by}{at}: {violation.Outcome}";
    }
}
