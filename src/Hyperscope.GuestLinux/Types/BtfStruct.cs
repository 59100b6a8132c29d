using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;

namespace Hyperscope.GuestLinux;

/// <summary>A structure or union of the kernel.</summary>
public sealed class BtfStruct
{
    private const int MaxDepth = 12, MaxVisits = 1 << 16; // a guest's types may nest as they like

    private readonly Btf _btf;
    private readonly int _id;
    private readonly ConcurrentDictionary<string, BtfMember?> _paths = new(StringComparer.Ordinal);
    private readonly Lazy<List<BtfMember>> _members;

    internal BtfStruct(Btf btf, int id, string name, int size)
    {
        _btf = btf;
        _id = id;
        Name = name;
        Size = size;
        _members = new(() => _btf.MembersOf(_id));
    }

    /// <summary>Its name; empty if it has none.</summary>
    public string Name { get; }

    /// <summary>Bytes.</summary>
    public int Size { get; }

    /// <summary>All members as listed, unnamed ones included.</summary>
    public IReadOnlyList<BtfMember> Members => _members.Value;

    /// <summary>Bytes from the start of the structure to a member.</summary>
    /// <param name="path">A name, or names with dots between: <c>"tasks.next"</c>. Members of unnamed structures count as its own.</param>
    /// <exception cref="LinuxGuestException">It has no such member.</exception>
    public int Offset(string path) => Member(path).Offset;

    /// <summary>A member.</summary>
    /// <inheritdoc cref="Offset"/>
    public BtfMember Member(string path) => TryMember(path, out BtfMember? member)
        ? member
        : throw new LinuxGuestException($"BTF: struct {Name} of this kernel has no member {path}");

    /// <summary>Whether it has a member.</summary>
    public bool Has(string path) => TryMember(path, out _);

    /// <summary>A member, if this kernel has it.</summary>
    public bool TryMember(string path, [NotNullWhen(true)] out BtfMember? member)
    {
        member = _paths.GetOrAdd(path, static (key, self) => self.Find(key), this);
        return member is not null;
    }

    /// <summary>The smallest part that holds all of these members; those that this kernel does not have are left out.</summary>
    /// <exception cref="LinuxGuestException">It has none of them.</exception>
    public BtfSlice Slice(params ReadOnlySpan<string> paths)
    {
        long first = int.MaxValue, end = 0;
        foreach (string path in paths)
        {
            if (!TryMember(path, out BtfMember? member))
                continue;
            first = Math.Min(first, member.Offset);
            end = Math.Max(end, (long)member.Offset + member.Size);
        }

        if (end <= first || end - first > BtfSlice.MaxLength)
            throw new LinuxGuestException($"BTF: struct {Name} of this kernel has none of {string.Join(", ", paths)}");
        return new BtfSlice(this, (int)first, (int)(end - first));
    }

    /// <inheritdoc/>
    public override string ToString() => $"struct {Name}";

    private BtfMember? Find(string path)
    {
        int dot = path.IndexOf('.', StringComparison.Ordinal);
        string name = dot < 0 ? path : path[..dot];
        int budget = MaxVisits;
        BtfMember? member = FindHere(name, 0, ref budget);
        if (member is null || dot < 0)
            return member;
        return member.Type.Struct?.Find(path[(dot + 1)..]) is { } inner
            ? inner with { BitOffset = member.BitOffset + inner.BitOffset }
            : null;
    }

    private BtfMember? FindHere(string name, int depth, ref int budget)
    {
        foreach (BtfMember member in Members)
        {
            if (member.Name == name)
                return member;
        }

        budget -= Members.Count;
        if (depth >= MaxDepth || budget < 0)
            return null;
        foreach (BtfMember member in Members)
        {
            if (member.Name.Length == 0 && member.Type.Struct?.FindHere(name, depth + 1, ref budget) is { } inner)
                return inner with { BitOffset = member.BitOffset + inner.BitOffset };
        }

        return null;
    }
}

/// <summary>A part of a structure that is read at once.</summary>
/// <param name="Type">The structure.</param>
/// <param name="Offset">First byte.</param>
/// <param name="Length">Bytes.</param>
public sealed record BtfSlice(BtfStruct Type, int Offset, int Length)
{
    /// <summary>The longest part that is read: no structure of a kernel comes near.</summary>
    public const int MaxLength = 1 << 20;
}

/// <summary>A structure, or a part of one, as it was in guest memory.</summary>
/// <remarks>Members are named by path; a member that the kernel does not have or that was not read throws
/// <see cref="LinuxGuestException"/>.</remarks>
public readonly struct StructView
{
    private readonly int _base;
    private readonly ReadOnlyMemory<byte> _bytes;

    internal StructView(BtfStruct type, Gva address, int start, ReadOnlyMemory<byte> bytes)
    {
        Type = type;
        Address = address;
        _base = start;
        _bytes = bytes;
    }

    /// <summary>What it is.</summary>
    public BtfStruct Type { get; }

    /// <summary>Where the structure starts in guest memory.</summary>
    public Gva Address { get; }

    /// <summary>Whether this kernel has a member.</summary>
    public bool Has(string path) => Type.Has(path);

    /// <summary>The address of a member.</summary>
    public Gva AddressOf(string path) => Address + (ulong)Type.Offset(path);

    /// <summary>The bytes of a member.</summary>
    public ReadOnlySpan<byte> Bytes(string path) => BytesOf(Type.Member(path));

    /// <summary>An integer, bit field, enum or pointer without its sign.</summary>
    public ulong Unsigned(string path)
    {
        BtfMember member = Type.Member(path);
        if (member.BitSize != 0)
        {
            int shift = (int)(member.BitOffset % 8);
            ulong raw = Little(Slice(member.Offset, Math.Min((shift + member.BitSize + 7) / 8, 8)));
            return raw >> shift & (member.BitSize >= 64 ? ulong.MaxValue : (1UL << member.BitSize) - 1);
        }

        ReadOnlySpan<byte> bytes = BytesOf(member);
        return Little(bytes.Length > 8 ? bytes[..8] : bytes);
    }

    /// <summary>An integer with its sign.</summary>
    public long Signed(string path)
    {
        BtfMember member = Type.Member(path);
        int bits = member.BitSize != 0 ? member.BitSize : Math.Clamp(member.Size, 1, 8) * 8;
        return (long)(Unsigned(path) << (64 - bits)) >> (64 - bits);
    }

    /// <summary>A 32-bit integer with its sign.</summary>
    public int Int32(string path) => (int)Signed(path);

    /// <summary>A 32-bit integer.</summary>
    public uint UInt32(string path) => (uint)Unsigned(path);

    /// <summary>A pointer.</summary>
    public Gva Pointer(string path) => new(Unsigned(path));

    /// <summary>A fixed array of characters up to its NUL, safe to print.</summary>
    public string Text(string path) => GuestText.OfArray(Bytes(path));

    /// <summary>A structure inside this one.</summary>
    public StructView Struct(string path)
    {
        BtfMember member = Type.Member(path);
        BtfStruct type = member.Type.Struct ?? throw new LinuxGuestException($"BTF: {path} of struct {Type.Name} is no structure");
        return new StructView(type, Address + (ulong)member.Offset, 0, _bytes.Slice(Check(member.Offset, member.Size), member.Size));
    }

    private static ulong Little(ReadOnlySpan<byte> bytes)
    {
        ulong value = 0;
        for (int i = bytes.Length - 1; i >= 0; i--)
            value = value << 8 | bytes[i];
        return value;
    }

    private ReadOnlySpan<byte> BytesOf(BtfMember member) => Slice(member.Offset, member.Size);

    private ReadOnlySpan<byte> Slice(int offset, int length) => _bytes.Span.Slice(Check(offset, length), length);

    private int Check(int offset, int length)
    {
        if (offset < _base || length < 0 || (long)offset + length > (long)_base + _bytes.Length)
        {
            throw new LinuxGuestException($"{length} bytes at offset {offset} of struct {Type.Name} are not inside the part that was read, "
                + $"{_base} to {_base + _bytes.Length}");
        }

        return offset - _base;
    }
}
