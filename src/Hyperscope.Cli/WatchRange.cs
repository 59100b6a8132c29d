namespace Hyperscope.Cli;

/// <summary>Some neighbouring bytes and the kinds of access to them that are reported.</summary>
/// <param name="Gpa">The first byte.</param>
/// <param name="Length">How many.</param>
/// <param name="Kinds">What is reported.</param>
internal readonly record struct WatchRange(Gpa Gpa, int Length, PageAccess Kinds)
{
    private const int MaxLength = 1 << 30;

    /// <summary>Reads <c>GPA=KINDS</c> or <c>GPA+LENGTH=KINDS</c>.</summary>
    public static bool TryParse(string text, out WatchRange range)
    {
        range = default;
        string[] sides = text.Split('=');
        if (sides.Length != 2 || !PageAccessText.TryParse(sides[1], out PageAccess kinds) || kinds == PageAccess.None)
            return false;
        string[] where = sides[0].Split('+');
        ulong length = 1;
        if (where.Length > 2 || !Values.TryParseNumber(where[0], out ulong gpa) || (where.Length == 2 && !Values.TryParseNumber(where[1], out length))
            || length is < 1 or > MaxLength)
            return false;
        range = new WatchRange(new Gpa(gpa), (int)length, kinds);
        return true;
    }
}
