namespace Hyperscope.Guard;

public sealed partial class GuardSession
{
    private Task _checking = Task.CompletedTask;

    /// <summary>Compares what the guest says of itself with what it is, now.</summary>
    /// <returns>What does not agree; reported as well.</returns>
    public async Task<IReadOnlyList<Violation>> CheckAsync(CancellationToken cancellation = default)
    {
        var found = new List<Violation>();
        foreach (GuardRule rule in _rules)
            found.AddRange((await CheckAsync(rule, [], cancellation).ConfigureAwait(false)).Violations);
        return found;
    }

    // What was found the last time as well has been reported.
    private async Task<(List<Violation> Violations, HashSet<string> Findings)> CheckAsync(
        GuardRule rule, HashSet<string> known, CancellationToken cancellation)
    {
        var violations = new List<Violation>();
        HashSet<string> findings = [.. await rule.CheckAsync(Guest, cancellation).ConfigureAwait(false)];
        foreach (string finding in findings.Where(finding => !known.Contains(finding)))
        {
            _counts[rule].Count(isViolation: true);
            var e = new GuardEvent { Guest = Guest, Vm = Vm, Subject = GuardSubject.View };
            Verdict verdict = rule.Settings.Verdict == Verdict.Crash ? Verdict.Crash : Verdict.Log;
            Violation violation = await _evidence.CollectAsync(rule, e, new Judgement(verdict, finding), cancellation).ConfigureAwait(false);
            violation = await _cores.SaveAsync(rule, e, violation, cancellation).ConfigureAwait(false);
            violation = violation with { Outcome = verdict == Verdict.Crash ? Outcomes.Crashed : Outcomes.Found };
            await ReportAsync(violation).ConfigureAwait(false);
            violations.Add(violation);
            if (verdict == Verdict.Crash)
                await CrashAsync(cancellation).ConfigureAwait(false);
        }

        return (violations, findings);
    }

    // The event of a pause comes after the reply to it.
    private async Task CrashAsync(CancellationToken cancellation)
    {
        var crashed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using IDisposable handler = Vm.On<PauseVcpuEvent>(e =>
        {
            e.Crash();
            crashed.TrySetResult();
        });
        await Vm.PauseAsync(cancellation).ConfigureAwait(false);
        await Task.WhenAny(crashed.Task, Vm.Completion).WaitAsync(cancellation).ConfigureAwait(false);
    }

    private void StartChecks()
    {
        _checking = Task.WhenAll(_rules.Where(static rule => rule.CheckInterval is not null)
            .Select(rule => CheckFromTimeToTimeAsync(rule, rule.CheckInterval!.Value)));
    }

    private async Task CheckFromTimeToTimeAsync(GuardRule rule, TimeSpan interval)
    {
        using var timer = new PeriodicTimer(interval, _options.Time);
        HashSet<string> known = [];
        while (await timer.WaitForNextTickAsync(_untilEnded).ConfigureAwait(false))
        {
            try
            {
                known = (await CheckAsync(rule, known, _untilEnded).ConfigureAwait(false)).Findings;
            }
            catch (Exception failure) when (failure is LinuxGuestException or KvmiException or TimeoutException or InvalidOperationException)
            {
                // The lists changed under our eyes, the VM had other things to do, or somebody else takes its pauses; there is a next time.
            }
        }
    }
}
