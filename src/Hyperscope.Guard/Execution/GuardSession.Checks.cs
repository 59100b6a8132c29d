namespace Hyperscope.Guard;

public sealed partial class GuardSession
{
    private Task _checking = Task.CompletedTask;

    /// <summary>Compares what the guest says of itself with what it is, now.</summary>
    /// <returns>What does not agree; reported as well.</returns>
    public async Task<IReadOnlyList<Violation>> CheckAsync(CancellationToken cancellation = default) =>
        await CheckAsync(_rules, [], cancellation).ConfigureAwait(false);

    private async Task<List<Violation>> CheckAsync(IEnumerable<GuardRule> rules, HashSet<string> known, CancellationToken cancellation)
    {
        var found = new List<Violation>();
        foreach (GuardRule rule in rules)
        {
            foreach (string finding in await rule.CheckAsync(Guest, cancellation).ConfigureAwait(false))
            {
                if (!known.Add(finding))
                    continue;
                _counts[rule].Count(isViolation: true);
                var e = new GuardEvent { Guest = Guest, Vm = Vm, Subject = GuardSubject.View };
                Verdict verdict = rule.Settings.Verdict == Verdict.Crash ? Verdict.Crash : Verdict.Log;
                Violation violation = await _evidence.CollectAsync(rule, e, new Judgement(verdict, finding), cancellation).ConfigureAwait(false);
                violation = await _cores.SaveAsync(rule, e, violation, cancellation).ConfigureAwait(false);
                violation = violation with { Outcome = verdict == Verdict.Crash ? Outcomes.Crashed : Outcomes.Found };
                await ReportAsync(violation).ConfigureAwait(false);
                found.Add(violation);
                if (verdict == Verdict.Crash)
                    await CrashAsync(cancellation).ConfigureAwait(false);
            }
        }

        return found;
    }

    private async Task CrashAsync(CancellationToken cancellation)
    {
        using IDisposable handler = Vm.On<PauseVcpuEvent>(static e => e.Crash());
        await Vm.PauseAsync(cancellation).ConfigureAwait(false);
    }

    private void StartChecks()
    {
        (GuardRule Rule, TimeSpan Interval)[] due =
            [.. _rules.Where(static rule => rule.CheckInterval is not null).Select(static rule => (rule, rule.CheckInterval!.Value))];
        if (due.Length != 0)
            _checking = CheckFromTimeToTimeAsync([.. due.Select(static item => item.Rule)], due.Min(static item => item.Interval));
    }

    private async Task CheckFromTimeToTimeAsync(GuardRule[] rules, TimeSpan interval)
    {
        using var timer = new PeriodicTimer(interval, _options.Time);
        var reported = new HashSet<string>();
        while (await timer.WaitForNextTickAsync(_untilEnded).ConfigureAwait(false))
        {
            try
            {
                // What stays hidden is reported once.
                await CheckAsync(rules, reported, _untilEnded).ConfigureAwait(false);
            }
            catch (LinuxGuestException)
            {
                // The lists changed under our eyes; there is a next time.
            }
        }
    }
}
