namespace Hyperscope.Cli;

/// <summary>Some neighbouring pages and their rights.</summary>
/// <param name="First">The first frame.</param>
/// <param name="Count">How many.</param>
/// <param name="Access">What is allowed there.</param>
internal readonly record struct PageRange(Gfn First, int Count, PageAccess Access)
{
    private const int MaxCount = 1 << 24; // 64 GiB

    /// <summary>Reads <c>GPA=ACCESS</c> or <c>GPA+COUNT=ACCESS</c>.</summary>
    public static bool TryParse(string text, out PageRange range)
    {
        range = default;
        string[] sides = text.Split('=');
        if (sides.Length != 2 || !PageAccessText.TryParse(sides[1], out PageAccess access))
            return false;
        string[] where = sides[0].Split('+');
        int count = 1;
        if (where.Length > 2 || !Values.TryParseNumber(where[0], out ulong gpa)
            || (where.Length == 2 && !int.TryParse(where[1], NumberStyles.None, CultureInfo.InvariantCulture, out count))
            || count is < 1 or > MaxCount)
            return false;
        range = new PageRange(new Gpa(gpa).Frame, count, access);
        return true;
    }
}
