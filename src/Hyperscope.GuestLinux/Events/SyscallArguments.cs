namespace Hyperscope.GuestLinux;

/// <summary>Makes arguments readable by their types.</summary>
internal static class SyscallArguments
{
    /// <summary>Bytes of a string that are read.</summary>
    public const int MaxText = 256;

    private const int MaxData = 32;

    /// <summary>Decodes all arguments of a call; six plain numbers if nothing is known of it.</summary>
    public static async ValueTask<IReadOnlyList<SyscallArgument>> DecodeAsync(
        EventScene scene, SyscallSignature signature, ReadOnlyMemory<ulong> values, CancellationToken cancellation)
    {
        if (signature.Parameters is not { } parameters)
            return [.. values.ToArray().Select(static (value, index) => new SyscallArgument($"arg{index}", "", value, $"0x{value:x}"))];
        var arguments = new SyscallArgument[parameters.Count];
        for (int i = 0; i < arguments.Length; i++)
        {
            (string type, string name) = parameters[i];
            ulong value = values.Span[i];
            string text = NumberOf(scene.Guest.Btf, type, value);
            if (IsText(type) && value != 0)
            {
                // A buffer with its length behind it is no string that ends in NUL.
                bool isData = i + 1 < arguments.Length && IsLength(parameters[i + 1].Type);
                text = await TextAsync(scene, value, isData ? values.Span[i + 1] : null, cancellation).ConfigureAwait(false) ?? text;
            }

            arguments[i] = new SyscallArgument(name, type, value, text);
        }

        return arguments;
    }

    /// <summary>Whether a parameter points to characters that the call reads.</summary>
    public static bool IsText(string type) => type.Replace(" ", "", StringComparison.Ordinal).Replace("__user", "", StringComparison.Ordinal) == "constchar*";

    /// <summary>A value as its type means it: signed numbers in decimal, pointers in hex.</summary>
    public static string NumberOf(Btf btf, string type, ulong value)
    {
        if (type.EndsWith('*'))
            return value == 0 ? "NULL" : $"0x{value:x}";
        string name = type.StartsWith("const ", StringComparison.Ordinal) ? type[6..] : type;
        (long size, bool isSigned) = name switch
        {
            "int" => (4, true),
            "long" => (8, true),
            "unsigned int" or "unsigned" => (4, false),
            _ => btf.TryTypeNamed(name, out BtfType known) ? (known.Size, known.IsSigned) : (8, false),
        };
        int unused = 64 - (int)Math.Clamp(size, 1, 8) * 8;
        if (isSigned)
            return ((long)(value << unused) >> unused).ToString(CultureInfo.InvariantCulture);
        ulong plain = value << unused >> unused;
        return name.EndsWith("mode_t", StringComparison.Ordinal) ? $"0{Convert.ToString((long)plain, 8)}" : plain < 10 ? $"{plain}" : $"0x{plain:x}";
    }

    private static bool IsLength(string type) => type is "size_t" or "unsigned int" or "__kernel_size_t" or "u32" or "unsigned long";

    private static async ValueTask<string?> TextAsync(EventScene scene, ulong address, ulong? length, CancellationToken cancellation)
    {
        byte[] bytes = new byte[length is { } given ? (int)Math.Min(given, MaxData) : MaxText];
        int read = await scene.TryReadUserAsync(address, bytes, cancellation).ConfigureAwait(false);
        int end = length is null ? bytes.AsSpan(0, read).IndexOf((byte)0) : read == bytes.Length ? read : -1;
        if (read == 0 && bytes.Length != 0)
            return null;
        bool isCut = end < 0 || length > (ulong)bytes.Length;
        return $"\"{GuestText.Of(bytes.AsSpan(0, end < 0 ? read : end)).Replace("\"", "\\\"", StringComparison.Ordinal)}\"{(isCut ? "..." : "")}";
    }
}
