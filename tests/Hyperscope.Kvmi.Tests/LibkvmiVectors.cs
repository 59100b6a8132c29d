using System.Globalization;

namespace Hyperscope.Kvmi.Tests;

/// <summary>Reads Data/libkvmi-vectors.txt and Data/extension-vectors.txt.</summary>
internal static class LibkvmiVectors
{
    public static IReadOnlyDictionary<string, byte[]> All { get; } = Load("libkvmi-vectors.txt");

    /// <summary>What is beyond v9, in the core's own form.</summary>
    public static IReadOnlyDictionary<string, byte[]> Extensions { get; } = Load("extension-vectors.txt");

    private static Dictionary<string, byte[]> Load(string name)
    {
        Dictionary<string, byte[]> defined = [];
        Dictionary<string, List<byte>> messages = [];
        List<byte>? current = null;
        using Stream stream = typeof(LibkvmiVectors).Assembly.GetManifestResourceStream(name)!;
        using var reader = new StreamReader(stream);
        while (reader.ReadLine() is { } line)
        {
            string[] words = line.Split('#')[0].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (words.Length == 0)
                continue;
            if (words[0] == "=")
                messages.Add(words[1], current = []);
            else if (words[0] == "define")
                defined.Add("$" + words[1], [.. words[2..].SelectMany(word => Bytes(word, defined))]);
            else
                current!.AddRange(words.SelectMany(word => Bytes(word, defined)));
        }

        return messages.ToDictionary(message => message.Key, message => message.Value.ToArray());
    }

    private static byte[] Bytes(string word, Dictionary<string, byte[]> defined)
    {
        if (word[0] == '$')
            return defined[word];
        string[] parts = word.Split('*');
        byte value = byte.Parse(parts[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        int count = parts.Length == 1 ? 1 : int.Parse(parts[1], CultureInfo.InvariantCulture);
        return [.. Enumerable.Repeat(value, count)];
    }
}
