namespace Hyperscope.Guard;

/// <summary>A rule at work on one guest.</summary>
/// <param name="settings">What the policy says.</param>
public abstract class GuardRule(RuleSettings settings)
{
    /// <summary>What the policy says.</summary>
    public RuleSettings Settings { get; } = settings;

    /// <summary>How evidence calls it.</summary>
    public string Name => Settings.Name;

    /// <summary>Says what has to be restricted, watched and pinned.</summary>
    public abstract Task PlanAsync(GuardPlan plan, CancellationToken cancellation);

    /// <summary>Looks at what was there before everything was armed and is to be guarded too.</summary>
    public virtual Task ArmedAsync(GuardPlan plan, CancellationToken cancellation) => Task.CompletedTask;

    /// <summary>Says what an access to what it guards is.</summary>
    /// <returns>The verdict: that of the policy, unless the kernel itself has a reason for the access.</returns>
    public virtual ValueTask<Judgement> JudgeAsync(GuardEvent access, CancellationToken cancellation) => new(Violation());

    /// <summary>What a byte of a guarded range is called, where no symbol says it; null: the range and an offset say it.</summary>
    public virtual string? Describe(GuardedRange range, ulong offset) => null;

    /// <summary>How often <see cref="CheckAsync"/> is worth while; null: only on demand.</summary>
    public virtual TimeSpan? CheckInterval => null;

    /// <summary>Compares what the guest says of itself with what it is.</summary>
    /// <returns>What does not agree, a line each.</returns>
    public virtual Task<IReadOnlyList<string>> CheckAsync(LinuxGuest guest, CancellationToken cancellation) =>
        Task.FromResult<IReadOnlyList<string>>([]);

    /// <summary>It is a violation.</summary>
    protected Judgement Violation(string note = "") => new(Settings.Verdict, note);

    /// <summary>It is not; memory or the register change as the guest wants it.</summary>
    protected static Judgement Legitimate() => new(Verdict.Allow, "");
}

/// <summary>What a rule says of an access.</summary>
/// <param name="Verdict">What becomes of it.</param>
/// <param name="Note">What there is to say about it; may be empty.</param>
public readonly record struct Judgement(Verdict Verdict, string Note);
