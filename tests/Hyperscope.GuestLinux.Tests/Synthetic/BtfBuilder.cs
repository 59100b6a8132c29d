using System.Text;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>Writes BTF, type by type.</summary>
internal sealed class BtfBuilder
{
    private readonly List<byte> _types = [];
    private readonly List<byte> _strings = [0];
    private readonly Dictionary<string, int> _structs = new(StringComparer.Ordinal);
    private readonly Dictionary<(BtfKind Kind, int Target), int> _modifiers = [];
    private int _count;

    public BtfBuilder()
    {
        Int8 = Int("char", 1, isSigned: true);
        Int16 = Int("unsigned short", 2);
        Int32 = Int("unsigned int", 4);
        Int64 = Int("unsigned long", 8);
        Void = Modifier(BtfKind.Pointer, 0);
    }

    public int Int8 { get; }

    public int Int16 { get; }

    public int Int32 { get; }

    public int Int64 { get; }

    /// <summary>void *</summary>
    public int Void { get; }

    public int Int(string name, int size, bool isSigned = false)
    {
        int id = Begin(name, BtfKind.Int, 0, size);
        Word((isSigned ? 1u << 24 : 0) | (uint)(size * 8));
        return id;
    }

    public int Modifier(BtfKind kind, int target, string name = "")
    {
        if (name.Length == 0 && _modifiers.TryGetValue((kind, target), out int known))
            return known;
        int id = Begin(name, kind, 0, target);
        _modifiers.TryAdd((kind, target), id);
        return id;
    }

    public int Pointer(int target) => Modifier(BtfKind.Pointer, target);

    public int Array(int element, int count)
    {
        int id = Begin("", BtfKind.Array, 0, 0);
        Word((uint)element);
        Word((uint)Int32);
        Word((uint)count);
        return id;
    }

    public int Enum(string name, params (string Name, int Value)[] values)
    {
        int id = Begin(name, BtfKind.Enum, values.Length, 4, flag: true);
        foreach ((string key, int value) in values)
        {
            Word(String(key));
            Word((uint)value);
        }

        return id;
    }

    public int Enum64(string name, params (string Name, ulong Value)[] values)
    {
        int id = Begin(name, BtfKind.Enum64, values.Length, 8);
        foreach ((string key, ulong value) in values)
        {
            Word(String(key));
            Word((uint)value);
            Word((uint)(value >> 32));
        }

        return id;
    }

    /// <summary>A structure with explicit positions in bits; a bit size above 0 makes a bit field.</summary>
    public int Bits(string name, BtfKind kind, int size, params (string Name, int Type, int BitOffset, int BitSize)[] members)
    {
        int id = Begin(name, kind, members.Length, size, flag: true);
        foreach ((string member, int type, int offset, int bits) in members)
        {
            Word(String(member));
            Word((uint)type);
            Word((uint)(bits << 24 | offset));
        }

        return id;
    }

    /// <summary>A structure whose members are given with their offset in bytes.</summary>
    public int Struct(string name, int size, params (string Name, int Type, int Offset)[] members)
    {
        int id = Begin(name, BtfKind.Struct, members.Length, size);
        foreach ((string member, int type, int offset) in members)
        {
            Word(String(member));
            Word((uint)type);
            Word((uint)offset * 8);
        }

        _structs[name] = id;
        return id;
    }

    public int Function(string name, int result, params (string Name, int Type)[] parameters)
    {
        int prototype = Begin("", BtfKind.FunctionPrototype, parameters.Length, result);
        foreach ((string parameter, int type) in parameters)
        {
            Word(String(parameter));
            Word((uint)type);
        }

        return Begin(name, BtfKind.Function, 0, prototype);
    }

    public int Raw(string name, uint info, uint value)
    {
        Word(String(name));
        Word(info);
        Word(value);
        return ++_count;
    }

    public byte[] Build()
    {
        var header = new List<byte> { 0x9f, 0xeb, 1, 0 };
        foreach (int value in new[] { 24, 0, _types.Count, _types.Count, _strings.Count })
            header.AddRange(BitConverter.GetBytes(value));
        return [.. header, .. _types, .. _strings];
    }

    private int Begin(string name, BtfKind kind, int count, int value, bool flag = false) =>
        Raw(name, (uint)kind << 24 | (uint)count | (flag ? 1u << 31 : 0), (uint)value);

    private void Word(uint value) => _types.AddRange(BitConverter.GetBytes(value));

    private uint String(string text)
    {
        if (text.Length == 0)
            return 0;
        int at = _strings.Count;
        _strings.AddRange(Encoding.ASCII.GetBytes(text));
        _strings.Add(0);
        return (uint)at;
    }
}
