namespace Hyperscope.Guard;

/// <summary>A kind of rule: a row of <see cref="RuleCatalog"/>.</summary>
/// <param name="Name">As policies write it.</param>
/// <param name="Guards">What it guards, in a line.</param>
/// <param name="Verdicts">What it can do about a violation, the default first.</param>
/// <param name="Options">The keys it knows beside kind, name, verdict, target and core.</param>
/// <param name="Create">Makes one; throws <see cref="PolicyException"/> on values that make no sense.</param>
public sealed record RuleKind(
    string Name, string Guards, IReadOnlyList<Verdict> Verdicts, IReadOnlyList<string> Options, Func<RuleSettings, GuardRule> Create)
{
    /// <inheritdoc/>
    public override string ToString() => Name;
}
