using System.CommandLine.Parsing;

namespace Hyperscope.Cli;

/// <summary>Reads the values that options and arguments take. A bad value is bad usage, and the message says what is accepted.</summary>
internal static class Values
{
    private static readonly (string Name, EventId Id)[] EventNames =
    [
        ("unhook", EventId.Unhook),
        ("pause", EventId.PauseVcpu),
        ("hypercall", EventId.Hypercall),
        ("bp", EventId.Breakpoint),
        ("cr", EventId.Cr),
        ("trap", EventId.Trap),
        ("xsetbv", EventId.Xsetbv),
        ("descriptor", EventId.Descriptor),
        ("msr", EventId.Msr),
        ("pf", EventId.PageFault),
        ("step", EventId.Singlestep),
        ("cpuid", EventId.Cpuid),
        ("create-vcpu", EventId.CreateVcpu),
        ("access", EventId.Access),
    ];

    public static string AllEventNames => string.Join(", ", EventNames.Select(static row => row.Name));

    public static string NameOf(EventId id)
    {
        foreach ((string name, EventId candidate) in EventNames)
        {
            if (candidate == id)
                return name;
        }

        return $"0x{(ushort)id:x}";
    }

    public static bool TryParseEvent(string text, out EventId id)
    {
        foreach ((string name, EventId candidate) in EventNames)
        {
            if (name == text)
            {
                id = candidate;
                return true;
            }
        }

        id = default;
        return false;
    }

    /// <summary>The name of a command as the CLI writes it: <c>vm-read-physical</c>.</summary>
    public static string NameOf(MessageId id) => string.Concat(id.ToString().Select(
        static (letter, index) => char.IsUpper(letter) ? $"{(index == 0 ? "" : "-")}{char.ToLowerInvariant(letter)}" : $"{letter}"));

    public static bool TryParseCommand(string text, out MessageId id)
    {
        foreach (CommandInfo info in (ReadOnlySpan<CommandInfo>)[.. CommandCatalog.All, .. CommandCatalog.Extensions])
        {
            if (NameOf(info.Id) == text)
            {
                id = info.Id;
                return true;
            }
        }

        id = default;
        return false;
    }

    /// <summary>A number: decimal, or hex after 0x.</summary>
    public static bool TryParseNumber(string text, out ulong value) => text.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
        ? ulong.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value)
        : ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value);

    /// <summary>A number of bytes: a number, or a decimal one with K, M or G behind it.</summary>
    public static bool TryParseSize(string text, out ulong value)
    {
        int shift = text.Length == 0 ? 0 : char.ToUpperInvariant(text[^1]) switch { 'K' => 10, 'M' => 20, 'G' => 30, _ => 0 };
        if (!TryParseNumber(shift == 0 ? text : text[..^1], out value) || value > ulong.MaxValue >> shift)
            return false;
        value <<= shift;
        return true;
    }

    public static ulong Number(ArgumentResult result) => Single<ulong>(result, TryParseNumber, "a number such as 4096 or 0x1000");

    public static ulong Size(ArgumentResult result) => Single<ulong>(result, TryParseSize, "a size such as 4096, 0x1000, 64K or 512M");

    public static int Count(ArgumentResult result) => Single(
        result,
        static (string text, out int value) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value) && value > 0,
        "a count such as 1 or 20");

    public static int Index(ArgumentResult result) => Single(
        result,
        static (string text, out int value) =>
            int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value) && value <= ushort.MaxValue,
        "a vCPU index such as 0");

    public static PageAccess Access(ArgumentResult result) =>
        Single<PageAccess>(result, PageAccessText.TryParse, "rights such as r-x, rw or ---");

    public static EventAction Action(ArgumentResult result) => Single(
        result,
        static (string text, out EventAction action) =>
        {
            action = text switch { "continue" => EventAction.Continue, "retry" => EventAction.Retry, _ => EventAction.Crash };
            return text is "continue" or "retry" or "crash";
        },
        "continue, retry or crash");

    public static Endpoint Endpoint(ArgumentResult result)
    {
        if (LinuxHost.Endpoint.TryParse(TextOf(result), allowRemote: false, out Endpoint? endpoint, out string? error))
            return endpoint;
        result.AddError(error);
        return null!;
    }

    public static EventId[] Events(ArgumentResult result) => List(result, static (string text, out EventId id) =>
        TryParseEvent(text, out id), $"an event: {AllEventNames}");

    public static uint[] Msrs(ArgumentResult result) => List(
        result,
        static (string text, out uint msr) =>
        {
            bool isNumber = TryParseNumber(text, out ulong value) && value <= uint.MaxValue;
            msr = (uint)value;
            return isNumber;
        },
        "an MSR index such as 0xc0000082");

    public static byte[] Crs(ArgumentResult result) => List(
        result,
        static (string text, out byte cr) =>
            byte.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out cr) && cr is 0 or 3 or 4,
        "0, 3 or 4");

    /// <summary>Pages with rights: <c>0x1000=r-x</c>, <c>0x1000+16=r--</c> for 16 pages.</summary>
    public static PageRange[] Pages(ArgumentResult result) =>
        List<PageRange>(result, PageRange.TryParse, "pages such as 0x1000=r-x or 0x1000+16=r-- (16 pages)");

    /// <summary>Bytes with kinds of access: <c>0x20100+8=w</c>.</summary>
    public static WatchRange[] Watches(ArgumentResult result) =>
        List<WatchRange>(result, WatchRange.TryParse, "bytes such as 0x20100+8=w or 0x1000=x");

    public static byte[] HexBytes(ArgumentResult result) => Single(
        result,
        static (string text, out byte[] bytes) =>
        {
            string digits = text.Replace(" ", "", StringComparison.Ordinal);
            bool isHex = digits.Length > 0 && digits.Length % 2 == 0 && digits.All(char.IsAsciiHexDigit);
            bytes = isHex ? Convert.FromHexString(digits) : [];
            return isHex;
        },
        "bytes as hex digits such as 90c3");

    private delegate bool Parser<T>(string text, out T value);

    private static string TextOf(ArgumentResult result) => string.Join(" ", result.Tokens.Select(static token => token.Value));

    private static T Single<T>(ArgumentResult result, Parser<T> parser, string expected)
    {
        string text = TextOf(result);
        if (!parser(text, out T value))
            result.AddError($"\"{text}\" is not {expected}");
        return value;
    }

    private static T[] List<T>(ArgumentResult result, Parser<T> parser, string expected)
    {
        List<T> values = [];
        foreach (string text in result.Tokens.SelectMany(static token => token.Value.Split(',', StringSplitOptions.RemoveEmptyEntries)))
        {
            if (parser(text, out T value))
                values.Add(value);
            else
                result.AddError($"\"{text}\" is not {expected}");
        }

        return [.. values];
    }
}
