using Hyperscope.Guard;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>guard plan</c>.</summary>
internal sealed class GuardPlanCommand : GuardCommand
{
    private readonly Option<int> _seconds = new("--seconds")
    {
        Description = "How long to count events, with every verdict log",
        HelpName = "n",
        DefaultValueFactory = static _ => 5,
        CustomParser = Values.Count,
    };

    /// <summary>Adds its options.</summary>
    public GuardPlanCommand()
        : base(
            "plan",
            "Say what a policy would cost: pages, bytes and, counted for some seconds, events. Nothing is prevented.",
            new("hyperscope guard plan --policy policies/kernel.yaml --kvmi unix:/run/vm.sock", "Before guard run"),
            new("hyperscope guard plan --policy policies/kernel.yaml --kvmi unix:/run/vm.sock --seconds 60", "Under load")) => Options.Add(_seconds);

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(
        IntrospectedVm vm, LinuxGuest guest, GuardPolicy policy, ParseResult parsed, CancellationToken cancellation)
    {
        GuardSession guard = await GuardSession.CreateAsync(vm, guest, policy.With(Verdict.Log), null, cancellation).ConfigureAwait(false);
        await using (guard)
        {
            GuardPlan plan = await guard.PlanAsync(cancellation).ConfigureAwait(false);
            GuardArming arming = await guard.ArmAsync(cancellation).ConfigureAwait(false);
            Describe(guest, policy, arming);
            int seconds = parsed.GetValue(_seconds);
            Console.Error.WriteLine($"counting events for {seconds} s");
            await Task.WhenAny(vm.Completion, Task.Delay(TimeSpan.FromSeconds(seconds), cancellation)).ConfigureAwait(false);
            cancellation.ThrowIfCancellationRequested();
            GuardStatistics seen = guard.Statistics;
            string[] headings = ["rule", "verdict", "pages", "bytes", "events/s", "violations"];
            Console.WriteTable(headings, policy.Rules.Select((rule, index) => (string[])
            [
                rule.Name,
                rule.Verdict.ToText(),
                Count(RangesOf(plan, rule, isWatch: false).SelectMany(static range => Pages(range)).Distinct().Count()),
                Count(RangesOf(plan, rule, isWatch: true).Sum(static range => (long)range.Length)),
                PerSecond(seen.Rules[index].Events, seconds),
                Count(seen.Rules[index].Violations),
            ]));
            Console.Out.WriteLine($"{seen.Events / (double)seconds:F1} events/s in all, {seen.Unconcerned / (double)seconds:F1}/s of them neighbours of what is guarded");
            Console.Out.WriteLine($"vCPUs stood still {seen.StoodStill.TotalSeconds / seconds:P2} of the time");
        }

        return ExitCode.Done;
    }

    private static IEnumerable<GuardedRange> RangesOf(GuardPlan plan, RuleSettings rule, bool isWatch) =>
        plan.Ranges.Where(range => range.Rule.Name == rule.Name && range.IsWatch == isWatch);

    private static string Count(long number) => number == 0 ? "" : $"{number}";

    private static string PerSecond(long number, int seconds) => number == 0 ? "" : $"{number / (double)seconds:F1}";

    private static IEnumerable<ulong> Pages(GuardedRange range) =>
        Enumerable.Range(0, range.Pages).Select(page => range.First.Value + (ulong)page);
}
