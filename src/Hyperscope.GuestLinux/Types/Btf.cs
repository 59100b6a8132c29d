using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Text;

namespace Hyperscope.GuestLinux;

/// <summary>The types of a kernel, as it describes them itself (BTF).</summary>
/// <remarks>Parsed once into an index of positions; structures are decoded when asked for. Safe from any thread. The bytes come from the
/// guest: whatever they say, the result is a value or a <see cref="LinuxGuestException"/>. Source: Linux Documentation/bpf/btf.rst.</remarks>
public sealed class Btf
{
    /// <summary>First two bytes, little-endian.</summary>
    public const ushort Magic = 0xeb9f;

    private const int HeaderSize = 24, TypeSize = 12, MaxChain = 64;
    private const int MaxName = 512; // KSYM_NAME_LEN, which bounds the names that the kernel itself takes

    private readonly ReadOnlyMemory<byte> _types;
    private readonly ReadOnlyMemory<byte> _strings;
    private readonly int[] _offsets; // by type id; id 0 is void
    private readonly Lazy<Dictionary<string, int>> _structs;
    private readonly Lazy<Dictionary<string, int>> _functions;
    private readonly Lazy<Dictionary<string, int>> _scalars;
    private readonly Lazy<Dictionary<string, long>> _enumerators;
    private readonly ConcurrentDictionary<int, BtfStruct> _decoded = [];

    private Btf(ReadOnlyMemory<byte> data, ReadOnlyMemory<byte> types, ReadOnlyMemory<byte> strings, int[] offsets)
    {
        Data = data;
        _types = types;
        _strings = strings;
        _offsets = offsets;
        _structs = new(() => IndexNames(static kind => kind is BtfKind.Struct or BtfKind.Union));
        _functions = new(() => IndexNames(static kind => kind == BtfKind.Function));
        _scalars = new(() => IndexNames(static kind => kind is BtfKind.Int or BtfKind.Typedef));
        _enumerators = new(IndexEnumerators);
    }

    /// <summary>Number of types, void included.</summary>
    public int Count => _offsets.Length;

    /// <summary>The section as it was read.</summary>
    public ReadOnlyMemory<byte> Data { get; }

    /// <summary>Parses a section.</summary>
    /// <exception cref="LinuxGuestException">It is not BTF, or damaged; the text names the field.</exception>
    public static Btf Parse(ReadOnlyMemory<byte> data)
    {
        ReadOnlySpan<byte> span = data.Span;
        if (span.Length < HeaderSize || BinaryPrimitives.ReadUInt16LittleEndian(span) != Magic)
            throw new LinuxGuestException($"BTF: {span.Length} bytes do not start with a header of magic 0x{Magic:x}");
        if (span[2] != 1)
            throw new LinuxGuestException($"BTF: version {span[2]} is not 1");
        uint header = Word(span, 4), typeOffset = Word(span, 8), typeLength = Word(span, 12), stringOffset = Word(span, 16), stringLength = Word(span, 20);
        if (header < HeaderSize || (ulong)header + typeOffset + typeLength > (ulong)span.Length
            || (ulong)header + stringOffset + stringLength > (ulong)span.Length || stringLength == 0)
        {
            throw new LinuxGuestException($"BTF: types at 0x{typeOffset:x} + 0x{typeLength:x} or strings at 0x{stringOffset:x} + "
                + $"0x{stringLength:x} are not inside its {span.Length} bytes");
        }

        ReadOnlyMemory<byte> types = data.Slice((int)(header + typeOffset), (int)typeLength);
        return new Btf(data, types, data.Slice((int)(header + stringOffset), (int)stringLength), IndexTypes(types.Span));
    }

    /// <summary>A structure or union by name.</summary>
    /// <exception cref="LinuxGuestException">This kernel has none of that name.</exception>
    public BtfStruct StructOf(string name) => TryStructOf(name, out BtfStruct? found)
        ? found
        : throw new LinuxGuestException($"BTF: this kernel has no struct {name}");

    /// <summary>A structure or union by name.</summary>
    public bool TryStructOf(string name, [NotNullWhen(true)] out BtfStruct? found)
    {
        found = _structs.Value.TryGetValue(name, out int id) ? StructOf(id) : null;
        return found is not null;
    }

    /// <summary>A function by name.</summary>
    /// <exception cref="LinuxGuestException">The kernel does not describe it, or not properly.</exception>
    public BtfFunction FunctionOf(string name) => TryFunctionOf(name, out BtfFunction? found)
        ? found
        : throw new LinuxGuestException($"BTF: this kernel describes no function {name}");

    /// <summary>A function by name.</summary>
    public bool TryFunctionOf(string name, [NotNullWhen(true)] out BtfFunction? found)
    {
        found = null;
        if (!_functions.Value.TryGetValue(name, out int id))
            return false;
        int prototype = TargetOf(id);
        if (KindOf(prototype) != BtfKind.FunctionPrototype)
            return false;
        ReadOnlySpan<byte> span = At(prototype);
        var parameters = new BtfParameter[VariableLength(span)];
        for (int i = 0; i < parameters.Length; i++)
        {
            ReadOnlySpan<byte> item = span[(TypeSize + i * 8)..];
            parameters[i] = new BtfParameter(StringAt(Word(item, 0)), new BtfType(this, (int)Word(item, 4)));
        }

        found = new BtfFunction(name, new BtfType(this, TargetOf(prototype)), parameters);
        return true;
    }

    /// <summary>An integer type or typedef by name, such as <c>umode_t</c>.</summary>
    public bool TryTypeNamed(string name, out BtfType type)
    {
        bool found = _scalars.Value.TryGetValue(name, out int id);
        type = new BtfType(this, id);
        return found;
    }

    /// <summary>The value of an enumerator by name, searched in all enums.</summary>
    /// <exception cref="LinuxGuestException">This kernel has none of that name.</exception>
    public long EnumValue(string name) => _enumerators.Value.TryGetValue(name, out long value)
        ? value
        : throw new LinuxGuestException($"BTF: this kernel has no enumerator {name}");

    /// <summary>The value of an enumerator by name, searched in all enums.</summary>
    public bool TryEnumValue(string name, out long value) => _enumerators.Value.TryGetValue(name, out value);

    /// <summary>The types, by id.</summary>
    public BtfType TypeOf(int id) => new(this, id);

    /// <summary>The kind of a type; void for an id that does not exist.</summary>
    internal BtfKind KindOf(int id) => (uint)id - 1 < (uint)(_offsets.Length - 1) ? (BtfKind)(Word(At(id), 4) >> 24 & 31) : BtfKind.Void;

    /// <summary>The name of a type, or nothing.</summary>
    internal string NameOf(int id) => KindOf(id) == BtfKind.Void ? "" : StringAt(Word(At(id), 0));

    /// <summary>What a pointer, typedef, qualifier, function or prototype refers to.</summary>
    internal int TargetOf(int id) => KindOf(id) == BtfKind.Void ? 0 : (int)Word(At(id), 8);

    /// <summary>Element type and count of an array.</summary>
    internal (int Element, uint Count) ArrayOf(int id) => KindOf(id) == BtfKind.Array
        ? ((int)Word(At(id), TypeSize), Word(At(id), TypeSize + 8))
        : (0, 0);

    /// <summary>Encoding bits of an integer: 1 signed, 2 char, 4 bool; bit count; offset.</summary>
    internal uint IntegerOf(int id) => KindOf(id) == BtfKind.Int ? Word(At(id), TypeSize) : 0;

    /// <summary>The type behind typedefs and qualifiers.</summary>
    internal int Resolve(int id)
    {
        for (int hops = 0; hops < MaxChain; hops++)
        {
            if (KindOf(id) is not (BtfKind.Typedef or BtfKind.Volatile or BtfKind.Const or BtfKind.Restrict or BtfKind.TypeTag))
                return id;
            id = TargetOf(id);
        }

        return 0; // a cycle
    }

    /// <summary>Bytes of a type; 0 where it has no size.</summary>
    internal long SizeOf(int id)
    {
        long factor = 1;
        for (int hops = 0; hops < MaxChain; hops++)
        {
            id = Resolve(id);
            switch (KindOf(id))
            {
                case BtfKind.Int or BtfKind.Struct or BtfKind.Union or BtfKind.Enum or BtfKind.Enum64 or BtfKind.Float or BtfKind.DataSection:
                    return factor * Word(At(id), 8);
                case BtfKind.Pointer:
                    return factor * 8;
                case BtfKind.Array:
                    (id, uint count) = ArrayOf(id);
                    factor *= count;
                    if (factor > int.MaxValue)
                        return 0;
                    break;
                default:
                    return 0;
            }
        }

        return 0;
    }

    /// <summary>The structure or union with this id, or null.</summary>
    internal BtfStruct? StructOf(int id)
    {
        id = Resolve(id);
        if (KindOf(id) is not (BtfKind.Struct or BtfKind.Union))
            return null;
        return _decoded.GetOrAdd(id, static (key, btf) => new BtfStruct(btf, key, btf.NameOf(key), (int)Math.Min(Word(btf.At(key), 8), int.MaxValue)), this);
    }

    /// <summary>Members of a structure as they are listed, unnamed ones included.</summary>
    internal List<BtfMember> MembersOf(int id)
    {
        ReadOnlySpan<byte> span = At(id);
        bool hasBitfields = (Word(span, 4) & 1u << 31) != 0;
        int count = VariableLength(span);
        var members = new List<BtfMember>(count);
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> item = span.Slice(TypeSize + i * 12, 12);
            uint offset = Word(item, 8);
            int type = (int)Word(item, 4);
            members.Add(new BtfMember(
                StringAt(Word(item, 0)),
                hasBitfields ? offset & 0xffffff : offset,
                hasBitfields ? (int)(offset >> 24) : 0,
                (int)Math.Min(SizeOf(type), int.MaxValue),
                new BtfType(this, type)));
        }

        return members;
    }

    /// <summary>Names and values of an enum.</summary>
    internal List<(string Name, long Value)> EnumeratorsOf(int id)
    {
        var values = new List<(string, long)>();
        BtfKind kind = KindOf(id);
        if (kind is not (BtfKind.Enum or BtfKind.Enum64))
            return values;
        ReadOnlySpan<byte> span = At(id);
        bool isSigned = (Word(span, 4) & 1u << 31) != 0;
        int size = kind == BtfKind.Enum ? 8 : 12;
        for (int i = 0; i < VariableLength(span); i++)
        {
            ReadOnlySpan<byte> item = span.Slice(TypeSize + i * size, size);
            long value = kind == BtfKind.Enum64 ? (long)(Word(item, 4) | (ulong)Word(item, 8) << 32) : isSigned ? (int)Word(item, 4) : Word(item, 4);
            values.Add((StringAt(Word(item, 0)), value));
        }

        return values;
    }

    private static uint Word(ReadOnlySpan<byte> span, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(span[offset..]);

    private static int VariableLength(ReadOnlySpan<byte> type) => (int)(Word(type, 4) & 0xffff);

    private static int[] IndexTypes(ReadOnlySpan<byte> types)
    {
        var offsets = new List<int>(types.Length / 24 + 1) { 0 };
        for (int at = 0; at < types.Length;)
        {
            if (types.Length - at < TypeSize)
                throw new LinuxGuestException($"BTF: type {offsets.Count} at 0x{at:x} is cut off by the end 0x{types.Length:x}");
            uint info = Word(types, at + 4);
            int extra = TailLength((BtfKind)(info >> 24 & 31), (int)(info & 0xffff));
            if (extra < 0 || types.Length - at - TypeSize < extra)
            {
                throw new LinuxGuestException(
                    $"BTF: type {offsets.Count} at 0x{at:x} has info 0x{info:x}, which is unknown or runs past the end 0x{types.Length:x}");
            }

            offsets.Add(at);
            at += TypeSize + extra;
        }

        return [.. offsets];
    }

    private static int TailLength(BtfKind kind, int count) => kind switch
    {
        BtfKind.Int or BtfKind.Variable or BtfKind.DeclarationTag => 4,
        BtfKind.Array => 12,
        BtfKind.Struct or BtfKind.Union or BtfKind.DataSection or BtfKind.Enum64 => 12 * count,
        BtfKind.Enum or BtfKind.FunctionPrototype => 8 * count,
        BtfKind.Pointer or BtfKind.Forward or BtfKind.Typedef or BtfKind.Volatile or BtfKind.Const or BtfKind.Restrict or BtfKind.Function
            or BtfKind.Float or BtfKind.TypeTag => 0,
        _ => -1,
    };

    private ReadOnlySpan<byte> At(int id) => _types.Span[_offsets[id]..];

    private string StringAt(uint offset)
    {
        ReadOnlySpan<byte> strings = _strings.Span;
        if (offset == 0 || offset >= strings.Length)
            return "";
        strings = strings[(int)offset..];
        strings = strings[..Math.Min(strings.Length, MaxName)];
        int end = strings.IndexOf((byte)0);
        return end < 0 ? "" : Encoding.Latin1.GetString(strings[..end]);
    }

    private Dictionary<string, int> IndexNames(Func<BtfKind, bool> wanted)
    {
        var names = new Dictionary<string, int>(StringComparer.Ordinal);
        for (int id = 1; id < _offsets.Length; id++)
        {
            // The first of a name is the one that most of the kernel means; later ones are private to a file.
            if (wanted(KindOf(id)) && Word(At(id), 0) != 0)
                names.TryAdd(NameOf(id), id);
        }

        return names;
    }

    private Dictionary<string, long> IndexEnumerators()
    {
        var values = new Dictionary<string, long>(StringComparer.Ordinal);
        for (int id = 1; id < _offsets.Length; id++)
        {
            if (KindOf(id) is not (BtfKind.Enum or BtfKind.Enum64))
                continue;
            foreach ((string name, long value) in EnumeratorsOf(id))
                values.TryAdd(name, value);
        }

        return values;
    }
}
