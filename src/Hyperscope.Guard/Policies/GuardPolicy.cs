namespace Hyperscope.Guard;

/// <summary>What is guarded, and what becomes of violations.</summary>
/// <param name="Name">For people.</param>
/// <param name="Rules">In the order in which they are written.</param>
public sealed record GuardPolicy(string Name, IReadOnlyList<RuleSettings> Rules)
{
    /// <summary>Reads a policy from a file.</summary>
    /// <exception cref="PolicyException">It is no policy; the text names the line.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static GuardPolicy Load(string path) => Parse(File.ReadAllText(path), Path.GetFileName(path));

    /// <summary>Reads a policy.</summary>
    /// <param name="yaml">Its text.</param>
    /// <param name="source">What errors call it.</param>
    /// <exception cref="PolicyException">It is no policy; the text names the line.</exception>
    public static GuardPolicy Parse(string yaml, string source = "policy") => new PolicyReader(source).Read(yaml);

    /// <summary>The same with one verdict for all rules, such as <see cref="Verdict.Log"/> to see what it would do.</summary>
    public GuardPolicy With(Verdict verdict) => this with
    {
        Rules = [.. Rules.Select(rule => rule with { Verdict = rule.Kind.Verdicts.Contains(verdict) ? verdict : rule.Verdict })],
    };
}
