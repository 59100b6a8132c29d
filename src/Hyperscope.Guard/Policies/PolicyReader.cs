using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace Hyperscope.Guard;

/// <summary>Reads policies. What it does not know it refuses, with the line: a guard that overlooks a typing error guards nothing.</summary>
internal sealed class PolicyReader(string source)
{
    private const int MaxLength = 1 << 20, MaxRules = 1000;

    private static readonly string[] CommonKeys = ["target", "core"];

    /// <summary>Reads one.</summary>
    public GuardPolicy Read(string yaml)
    {
        if (yaml.Length > MaxLength)
            throw new PolicyException($"{source}: {yaml.Length} characters, {MaxLength} are the most");
        var stream = new YamlStream();
        try
        {
            stream.Load(new StringReader(yaml));
        }
        catch (YamlException broken)
        {
            throw new PolicyException($"{source}:{broken.Start.Line}: {broken.Message}", broken);
        }

        if (stream.Documents is not [YamlDocument document] || document.RootNode is not YamlMappingNode root)
            throw new PolicyException($"{source}: a policy is one document with the keys name and rules");
        string name = source;
        var rules = new List<RuleSettings>();
        foreach ((YamlNode key, YamlNode value) in root.Children)
        {
            switch (Scalar(key, "a key"))
            {
                case "name":
                    name = Scalar(value, "name");
                    break;
                case "rules" when value is YamlSequenceNode list && list.Children.Count <= MaxRules:
                    rules.AddRange(list.Children.Select(ReadRule));
                    break;
                case "rules":
                    throw new PolicyException($"{At(value)}: rules is a list of at most {MaxRules} rules");
                case string other:
                    throw new PolicyException($"{At(key)}: there is no key \"{other}\" here; name and rules are known");
            }
        }

        if (rules.Count == 0)
            throw new PolicyException($"{source}: the policy has no rules");
        if (rules.GroupBy(static rule => rule.Name).FirstOrDefault(static same => same.Count() > 1) is { } twice)
            throw new PolicyException($"{twice.Last().Place}: there are several rules \"{twice.Key}\"; give one of them a name of its own");
        if (rules.Where(static rule => rule.Text("core").Length != 0).GroupBy(static rule => rule.Text("core")).FirstOrDefault(static same => same.Count() > 1)
            is { } core)
        {
            throw new PolicyException($"{core.Last().Place}: several rules save a core as \"{core.Key}\"; give each a file of its own");
        }

        return new GuardPolicy(name, rules);
    }

    private RuleSettings ReadRule(YamlNode node)
    {
        if (node is not YamlMappingNode mapping)
            throw new PolicyException($"{At(node)}: a rule has keys and values, kind: first");
        var options = new Dictionary<string, IReadOnlyList<string>>(StringComparer.Ordinal);
        foreach ((YamlNode key, YamlNode value) in mapping.Children)
        {
            string name = Scalar(key, "a key");
            options[name] = value is YamlSequenceNode list ? [.. list.Children.Select(item => Scalar(item, name))] : [Scalar(value, name)];
        }

        string place = At(node);
        if (Take(options, "kind") is not { } kindName)
            throw new PolicyException($"{place}: a rule needs a kind: {string.Join(", ", RuleCatalog.All.Select(static kind => kind.Name))}");
        RuleKind kind = RuleCatalog.All.FirstOrDefault(kind => kind.Name == kindName) ?? throw new PolicyException(
            $"{place}: there is no kind of rule \"{kindName}\"; known are {string.Join(", ", RuleCatalog.All.Select(static kind => kind.Name))}");
        string ruleName = Take(options, "name") ?? kindName;
        string verdictText = Take(options, "verdict") ?? kind.Verdicts[0].ToText();
        if (!VerdictText.TryParse(verdictText, out Verdict verdict) || !kind.Verdicts.Contains(verdict))
        {
            throw new PolicyException($"{place}: rule {ruleName}: verdict is \"{verdictText}\"; rules of kind {kindName} know "
                + string.Join(", ", kind.Verdicts.Select(static known => known.ToText())));
        }

        if (options.Keys.FirstOrDefault(key => !kind.Options.Contains(key) && !CommonKeys.Contains(key)) is { } unknown)
        {
            throw new PolicyException($"{place}: rule {ruleName}: there is no key \"{unknown}\"; rules of kind {kindName} know "
                + string.Join(", ", (string[])["kind", "name", "verdict", .. CommonKeys, .. kind.Options]));
        }

        var rule = new RuleSettings(kind, ruleName, verdict, options, place);
        if ((verdict == Verdict.Redirect) != (rule.Text("target").Length != 0))
            throw new PolicyException($"{place}: rule {ruleName}: verdict redirect and the key target (a symbol) need each other");
        kind.Create(rule); // so that its values are checked now and not in front of a guest
        return rule;
    }

    private static string? Take(Dictionary<string, IReadOnlyList<string>> options, string key) =>
        options.Remove(key, out IReadOnlyList<string>? values) && values is [string one] ? one : null;

    private string Scalar(YamlNode node, string what) => node is YamlScalarNode { Value: { } value }
        ? value
        : throw new PolicyException($"{At(node)}: {what} is one value, not a list or a mapping");

    private string At(YamlNode node) => $"{source}:{node.Start.Line}";
}
