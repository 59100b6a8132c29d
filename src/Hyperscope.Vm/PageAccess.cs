namespace Hyperscope.Vm;

/// <summary>The rights that KVMI puts on a guest frame. Bits as on the wire (KVMI_PAGE_ACCESS_*).</summary>
[Flags]
public enum PageAccess : byte
{
    /// <summary>No access is allowed.</summary>
    None = 0,

    /// <summary>Data may be read.</summary>
    Read = 1,

    /// <summary>Data may be written.</summary>
    Write = 2,

    /// <summary>Instructions may be fetched.</summary>
    Execute = 4,

    /// <summary>Unrestricted: what every frame has until told otherwise.</summary>
    All = Read | Write | Execute,
}

/// <summary>Text forms of <see cref="PageAccess"/>.</summary>
public static class PageAccessText
{
    /// <summary>The three-letter form used by the CLI and in logs: <c>rwx</c>, <c>r-x</c>, <c>---</c>.</summary>
    public static string ToText(this PageAccess access) => string.Create(3, access, static (text, value) =>
    {
        text[0] = value.HasFlag(PageAccess.Read) ? 'r' : '-';
        text[1] = value.HasFlag(PageAccess.Write) ? 'w' : '-';
        text[2] = value.HasFlag(PageAccess.Execute) ? 'x' : '-';
    });

    /// <summary>Parses letters out of <c>r</c>, <c>w</c>, <c>x</c> and <c>-</c> in any order, or a digit 0 to 7.</summary>
    public static bool TryParse(string? text, out PageAccess access)
    {
        access = PageAccess.None;
        if (string.IsNullOrEmpty(text))
            return false;
        if (text.Length == 1 && text[0] is >= '0' and <= '7')
        {
            access = (PageAccess)(text[0] - '0');
            return true;
        }

        foreach (char letter in text)
        {
            switch (letter)
            {
                case 'r': access |= PageAccess.Read; break;
                case 'w': access |= PageAccess.Write; break;
                case 'x': access |= PageAccess.Execute; break;
                case '-': break;
                default: return false;
            }
        }

        return true;
    }
}
