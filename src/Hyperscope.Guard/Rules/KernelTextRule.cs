namespace Hyperscope.Guard;

/// <summary>The kernel's code is r-x. What the kernel itself patches (static keys, ftrace, kprobes, alternatives) is told by its writer.</summary>
internal sealed class KernelTextRule : GuardRule
{
    private readonly Verdict _patching;

    public KernelTextRule(RuleSettings settings)
        : base(settings) => _patching = settings.OneOf("patching", "allow", "log") == "log" ? Verdict.Log : Verdict.Allow;

    public override Task PlanAsync(GuardPlan plan, CancellationToken cancellation) =>
        plan.RestrictAsync(this, "kernel text", plan.Guest.Layout.Text, PageAccess.Write, cancellation);

    public override async ValueTask<Judgement> JudgeAsync(GuardEvent access, CancellationToken cancellation) =>
        await TextPatching.IsWriterAsync(access, cancellation).ConfigureAwait(false)
            ? new Judgement(_patching, "the kernel patches itself")
            : Violation();
}
