namespace Hyperscope.Guard;

/// <summary>One rule as a policy has it: a kind, a verdict and what else that kind knows.</summary>
/// <param name="Kind">What it guards.</param>
/// <param name="Name">How evidence calls it; unique in its policy.</param>
/// <param name="Verdict">What becomes of a violation.</param>
/// <param name="Options">Its other keys and their values, a list's items one after the other.</param>
/// <param name="Place">Where it is written, for errors.</param>
public sealed record RuleSettings(
    RuleKind Kind, string Name, Verdict Verdict, IReadOnlyDictionary<string, IReadOnlyList<string>> Options, string Place)
{
    /// <summary>A list; empty if it is not given.</summary>
    public IReadOnlyList<string> List(string key) => Options.TryGetValue(key, out IReadOnlyList<string>? values) ? values : [];

    /// <summary>One value; <paramref name="otherwise"/> if it is not given.</summary>
    /// <exception cref="PolicyException">There are several.</exception>
    public string Text(string key, string otherwise = "") => List(key) switch
    {
        [] => otherwise,
        [string one] => one,
        IReadOnlyList<string> many => throw Wrong(key, string.Join(", ", many), "one value"),
    };

    /// <summary>A number, decimal or 0x; <paramref name="otherwise"/> if it is not given.</summary>
    /// <exception cref="PolicyException">It is none, or out of bounds.</exception>
    public int Number(string key, int otherwise, int minimum, int maximum)
    {
        string text = Text(key);
        if (text.Length == 0)
            return otherwise;
        bool isHex = text.StartsWith("0x", StringComparison.Ordinal);
        return int.TryParse(isHex ? text[2..] : text, isHex ? NumberStyles.AllowHexSpecifier : NumberStyles.None, CultureInfo.InvariantCulture, out int value)
            && value >= minimum && value <= maximum
            ? value
            : throw Wrong(key, text, $"a number from {minimum} to {maximum}");
    }

    /// <summary>One of some words; the first if it is not given.</summary>
    /// <exception cref="PolicyException">It is another.</exception>
    public string OneOf(string key, params string[] words)
    {
        string text = Text(key, words[0]);
        return words.Contains(text) ? text : throw Wrong(key, text, string.Join(" or ", words));
    }

    /// <summary>The error that a value is not what it should be.</summary>
    public PolicyException Wrong(string key, string value, string wanted) =>
        new($"{Place}: rule {Name}: {key} is \"{value}\", {wanted} is wanted");
}
