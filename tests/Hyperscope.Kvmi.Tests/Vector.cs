using System.Globalization;
using System.Text.Json;

namespace Hyperscope.Kvmi.Tests;

/// <summary>One golden message: its bytes, and what each byte means.</summary>
public sealed class Vector
{
    private readonly Dictionary<string, byte[]> _fields = [];
    private readonly Dictionary<string, (int Offset, int Size)> _offsets = [];

    private Vector(JsonElement element)
    {
        Name = element.GetProperty("name").GetString()!;
        Kind = element.GetProperty("kind").GetString()!;
        Expect = element.TryGetProperty("expect", out JsonElement expect) ? expect.GetString() : null;
        Bytes = Convert.FromHexString(element.GetProperty("hex").GetString()!);
        Assert.Equal(element.GetProperty("length").GetInt32(), Bytes.Length);
        foreach (JsonProperty field in element.GetProperty("fields").EnumerateObject())
            _fields.Add(field.Name, Parse(field.Value.GetString()!));
        foreach (JsonProperty offset in element.GetProperty("offsets").EnumerateObject())
            _offsets.Add(offset.Name, (offset.Value[0].GetInt32(), offset.Value[1].GetInt32()));
        Assert.Equal(_fields.Keys.Order(), _offsets.Keys.Order());
    }

    public static IReadOnlyDictionary<string, Vector> All { get; } = Load();

    public string Name { get; }

    public string Kind { get; }

    public string? Expect { get; }

    public byte[] Bytes { get; }

    public IReadOnlyDictionary<string, byte[]> Fields => _fields;

    public IReadOnlyDictionary<string, (int Offset, int Size)> Offsets => _offsets;

    public bool IsBad => Name.StartsWith("bad.", StringComparison.Ordinal);

    public MessageHeader Header
    {
        get
        {
            Assert.True(Message.TryReadHeader(Bytes, out MessageHeader header));
            return header;
        }
    }

    public ReadOnlySpan<byte> Payload => Bytes.AsSpan(KvmiConstants.HeaderSize);

    public ulong Number(string path)
    {
        byte[] bytes = _fields[path];
        Assert.InRange(bytes.Length, 1, 8);
        Span<byte> wide = stackalloc byte[8];
        wide.Clear();
        bytes.CopyTo(wide);
        return BitConverter.ToUInt64(wide);
    }

    public override string ToString() => Name;

    private static byte[] Parse(string text)
    {
        if (!text.StartsWith("0x", StringComparison.Ordinal))
            return Convert.FromHexString(text);
        byte[] bytes = BitConverter.GetBytes(ulong.Parse(text[2..], NumberStyles.HexNumber, CultureInfo.InvariantCulture));
        return bytes[..((text.Length - 2) / 2)];
    }

    private static Dictionary<string, Vector> Load()
    {
        using Stream stream = typeof(Vector).Assembly.GetManifestResourceStream("kvmi-vectors.json")!;
        using var document = JsonDocument.Parse(stream);
        return document.RootElement.EnumerateArray().Select(element => new Vector(element)).ToDictionary(vector => vector.Name);
    }
}
