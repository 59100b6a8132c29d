using Hyperscope.Guard;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>guard run</c>.</summary>
internal sealed class GuardRunCommand : GuardCommand
{
    private readonly Option<FileInfo?> _evidence = new("--evidence") { Description = "Append each violation to this file, as a JSON line", HelpName = "file" };

    private readonly Option<string?> _verdict = new("--verdict")
    {
        Description = "Instead of the verdicts of the policy: log, allow, discard, exception, pause, crash",
        HelpName = "verdict",
    };

    /// <summary>Adds its options.</summary>
    public GuardRunCommand()
        : base(
            "run",
            "Guard a Linux guest by a policy, and print violations. Until Ctrl-C, or until the VM ends.",
            new("hyperscope guard run --policy policies/kernel.yaml --kvmi unix:/run/vm.sock", "The kernel's integrity"),
            new("hyperscope guard run --policy policies/kernel.yaml --kvmi unix:/run/vm.sock --verdict log --json", "Look, and let everything happen"))
    {
        Options.Add(_evidence);
        Options.Add(_verdict);
    }

    /// <inheritdoc/>
    protected override bool RunsUntilInterrupted => true;

    /// <inheritdoc/>
    protected override IEnumerable<string> Misuse(ParseResult parsed)
    {
        if (parsed.GetValue(_verdict) is { } text && (!VerdictText.TryParse(text, out Verdict verdict) || verdict == Verdict.Redirect))
            yield return $"--verdict {text} is not known; there are: log, allow, discard, exception, pause, crash";
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(
        IntrospectedVm vm, LinuxGuest guest, GuardPolicy policy, ParseResult parsed, CancellationToken cancellation)
    {
        if (parsed.GetValue(_verdict) is { } text && VerdictText.TryParse(text, out Verdict verdict))
            policy = policy.With(verdict);
        bool json = IsJson(parsed);
        StreamWriter? evidence = parsed.GetValue(_evidence)?.AppendText();
        await using (evidence)
        {
            var options = new GuardOptions
            {
                VmName = $"{EndpointOf(parsed)}",
                Report = violation =>
                {
                    evidence?.WriteLine(ViolationJson.ToLine(violation));
                    evidence?.Flush();
                    Console.Out.WriteLine(json ? ViolationJson.ToLine(violation) : Lines(violation));
                    Console.Out.Flush();
                },
            };
            GuardSession guard = await GuardSession.CreateAsync(vm, guest, policy, options, cancellation).ConfigureAwait(false);
            await using (guard)
            {
                Describe(guest, policy, await guard.ArmAsync(cancellation).ConfigureAwait(false));
                try
                {
                    await vm.Completion.WaitAsync(cancellation).ConfigureAwait(false);
                }
                finally
                {
                    GuardStatistics seen = guard.Statistics;
                    Console.Error.WriteLine(
                        $"{seen.Events} events, {seen.Rules.Sum(static rule => rule.Violations)} violations; vCPUs stood still for {seen.StoodStill.TotalMilliseconds:F1} ms");
                    if (seen.Unfollowed != 0)
                        Console.Error.WriteLine($"{seen.Unfollowed} times a rule could not follow the kernel; the last: {seen.LastFailure}");
                }
            }
        }

        return ExitCode.Done;
    }
}
