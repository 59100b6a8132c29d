using System.Text;

namespace Hyperscope.GuestLinux;

/// <summary>The kernel's own symbol table (kallsyms).</summary>
/// <remarks>Names stay as the kernel packs them; one is unpacked when it is asked for. Safe from any thread.</remarks>
public sealed class KernelSymbols
{
    /// <summary>The longest name, in bytes with its type: KSYM_NAME_LEN of 6.1 and later.</summary>
    internal const int MaxName = 512;

    private readonly KallsymsTables _tables;
    private readonly ulong[] _addresses; // ascending from _firstSorted on; absolute ones come first
    private readonly int[] _positions; // of the packed name
    private readonly Lazy<HashIndex> _index;

    internal KernelSymbols(KallsymsTables tables)
    {
        _tables = tables;
        _addresses = tables.Addresses;
        _positions = tables.Positions;
        _index = new(BuildIndex);
    }

    /// <summary>Number of symbols.</summary>
    public int Count => _addresses.Length;

    /// <summary>The symbol at a place in the table; addresses ascend.</summary>
    public KernelSymbol this[int index]
    {
        get
        {
            Span<byte> name = stackalloc byte[MaxName];
            int length = _tables.Expand(_positions[index], name);
            return new KernelSymbol(new Gva(_addresses[index]), (char)name[0], Encoding.Latin1.GetString(name[1..Math.Max(length, 1)]));
        }
    }

    /// <summary>How the table was laid out and where it was found, for people.</summary>
    public string Layout => _tables.Description;

    internal KallsymsTables Tables => _tables;

    /// <summary>The address of a symbol.</summary>
    /// <exception cref="LinuxGuestException">This kernel has none of that name.</exception>
    public Gva AddressOf(string name) => TryGet(name, out KernelSymbol symbol)
        ? symbol.Address
        : throw new LinuxGuestException($"kallsyms: this kernel has no symbol {name}");

    /// <summary>The address of a symbol.</summary>
    public bool TryAddressOf(string name, out Gva address)
    {
        bool found = TryGet(name, out KernelSymbol symbol);
        address = symbol.Address;
        return found;
    }

    /// <summary>The first symbol of a name.</summary>
    public bool TryGet(string name, out KernelSymbol symbol)
    {
        foreach (int index in Matches(name))
        {
            symbol = this[index];
            return true;
        }

        symbol = default;
        return false;
    }

    /// <summary>All symbols of a name: local functions may share one.</summary>
    public IReadOnlyList<KernelSymbol> AllNamed(string name) => [.. Matches(name).Select(index => this[index])];

    /// <summary>The symbol that an address lies in, if it is not below the first or above the last one.</summary>
    public bool TryFind(Gva address, out SymbolOffset found)
    {
        int index = LastAtOrBelow(address.Value);
        if (index < _tables.FirstRelative || (index == _addresses.Length - 1 && address.Value - _addresses[index] > 0x1000))
        {
            found = default;
            return false;
        }

        // Of several names at one address the first global one is the one to show.
        int first = index;
        while (first > 0 && _addresses[first - 1] == _addresses[index])
            first--;
        int chosen = first;
        for (int i = first; i <= index; i++)
        {
            if (char.IsUpper(TypeAt(i)))
            {
                chosen = i;
                break;
            }
        }

        ulong size = index + 1 < _addresses.Length ? _addresses[index + 1] - _addresses[index] : 0;
        found = new SymbolOffset(this[chosen], address.Value - _addresses[index], size);
        return true;
    }

    /// <summary>An address as <c>name+0x12</c>, or in hex if there is no name.</summary>
    public string Describe(Gva address) => TryFind(address, out SymbolOffset found) ? found.ToString() : address.ToString();

    /// <summary>All symbols, in order of addresses.</summary>
    public IEnumerable<KernelSymbol> All()
    {
        for (int i = 0; i < Count; i++)
            yield return this[i];
    }

    /// <summary>The symbols from <paramref name="start"/> to before <paramref name="end"/>, of these types or of all.</summary>
    public IEnumerable<KernelSymbol> InRange(Gva start, Gva end, string types = "")
    {
        int index = LastAtOrBelow(start.Value);
        index = Math.Max(index, _tables.FirstRelative);
        while (index > 0 && _addresses[index - 1] >= start.Value)
            index--;
        for (; index < Count && _addresses[index] < end.Value; index++)
        {
            if (_addresses[index] >= start.Value && (types.Length == 0 || types.Contains(TypeAt(index), StringComparison.Ordinal)))
                yield return this[index];
        }
    }

    private static uint Hash(ReadOnlySpan<byte> name)
    {
        uint hash = 2166136261;
        foreach (byte value in name)
            hash = (hash ^ value) * 16777619;
        return hash ^ hash >> 15;
    }

    private int LastAtOrBelow(ulong address)
    {
        ReadOnlySpan<ulong> sorted = _addresses.AsSpan(_tables.FirstRelative);
        int found = sorted.BinarySearch(address);
        if (found < 0)
            return _tables.FirstRelative + ~found - 1;
        while (found + 1 < sorted.Length && sorted[found + 1] == address)
            found++;
        return _tables.FirstRelative + found;
    }

    private char TypeAt(int index)
    {
        Span<byte> name = stackalloc byte[MaxName];
        return _tables.Expand(_positions[index], name) > 0 ? (char)name[0] : '?';
    }

    private IEnumerable<int> Matches(string name)
    {
        if (name.Length is 0 or >= MaxName)
            yield break;
        byte[] wanted = Encoding.Latin1.GetBytes(name);
        HashIndex index = _index.Value;
        byte[] scratch = new byte[MaxName];
        for (int at = index.Heads[Hash(wanted) & (uint)(index.Heads.Length - 1)] - 1; at >= 0; at = index.Next[at] - 1)
        {
            int length = _tables.Expand(_positions[at], scratch);
            if (length == wanted.Length + 1 && scratch.AsSpan(1, wanted.Length).SequenceEqual(wanted))
                yield return at;
        }
    }

    private HashIndex BuildIndex()
    {
        int size = (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)Math.Max(Count, 16));
        var index = new HashIndex(new int[size], new int[Count]);
        Span<byte> name = stackalloc byte[MaxName];
        for (int i = Count - 1; i >= 0; i--) // backwards, so that a chain runs in order of addresses
        {
            int length = _tables.Expand(_positions[i], name);
            if (length < 2)
                continue;
            ref int head = ref index.Heads[Hash(name[1..length]) & (uint)(size - 1)];
            index.Next[i] = head;
            head = i + 1;
        }

        return index;
    }

    // Chains of symbol numbers plus one; 0 ends a chain.
    private sealed record HashIndex(int[] Heads, int[] Next);
}
