namespace Hyperscope.GuestLinux;

/// <summary>The tables of kallsyms, checked: whatever a position says, unpacking stays inside them.</summary>
internal sealed class KallsymsTables
{
    private readonly byte[] _names;
    private readonly byte[] _tokens; // NUL-terminated strings
    private readonly ushort[] _tokenIndex; // 256 offsets into _tokens
    private readonly byte[] _tokenLengths;

    private KallsymsTables(byte[] names, byte[] tokens, ushort[] tokenIndex, int[] positions, ulong[] addresses, int firstRelative, string description)
    {
        _names = names;
        _tokens = tokens;
        _tokenIndex = tokenIndex;
        _tokenLengths = new byte[256];
        for (int i = 0; i < 256; i++)
        {
            int length = tokens.AsSpan(tokenIndex[i]).IndexOf((byte)0);
            _tokenLengths[i] = (byte)Math.Clamp(length, 0, 255);
        }

        Positions = positions;
        Addresses = addresses;
        FirstRelative = firstRelative;
        Description = description;
    }

    /// <summary>Position of each packed name.</summary>
    public int[] Positions { get; }

    /// <summary>Address of each symbol. Those before <see cref="FirstRelative"/> are no addresses (per-CPU offsets); the rest ascends.</summary>
    public ulong[] Addresses { get; }

    /// <summary>The first symbol that is an address in the kernel's image.</summary>
    public int FirstRelative { get; }

    /// <summary>What was found where.</summary>
    public string Description { get; }

    /// <summary>Puts checked tables together.</summary>
    /// <param name="names">Packed names, one after the other.</param>
    /// <param name="tokens">The token table.</param>
    /// <param name="tokenIndex">256 offsets into it.</param>
    /// <param name="positions">Start of each packed name.</param>
    /// <param name="addresses">Value of each symbol.</param>
    /// <param name="imageStart">Values below it are no addresses.</param>
    /// <param name="description">What was found where.</param>
    /// <returns>The tables, or null if the addresses do not ascend.</returns>
    public static KallsymsTables? Create(byte[] names, byte[] tokens, ushort[] tokenIndex, int[] positions, ulong[] addresses,
        ulong imageStart, string description)
    {
        int first = 0;
        while (first < addresses.Length && addresses[first] < imageStart)
            first++;
        for (int i = first + 1; i < addresses.Length; i++)
        {
            if (addresses[i] < addresses[i - 1])
                return null;
        }

        return first < addresses.Length ? new KallsymsTables(names, tokens, tokenIndex, positions, addresses, first, description) : null;
    }

    /// <summary>Unpacks a name: its type letter, then its characters.</summary>
    /// <returns>Bytes written; names that do not fit are cut off.</returns>
    public int Expand(int position, Span<byte> destination)
    {
        if (!TryReadLength(_names, ref position, out int length))
            return 0;
        int written = 0;
        for (int end = Math.Min(position + length, _names.Length); position < end; position++)
        {
            int token = _names[position];
            ReadOnlySpan<byte> text = _tokens.AsSpan(_tokenIndex[token], _tokenLengths[token]);
            if (text.Length > destination.Length - written)
                break;
            text.CopyTo(destination[written..]);
            written += text.Length;
        }

        return written;
    }

    /// <summary>Reads the length of a packed name: one byte, or two from 6.1 on for 128 and more.</summary>
    public static bool TryReadLength(ReadOnlySpan<byte> names, ref int position, out int length)
    {
        length = 0;
        if ((uint)position >= (uint)names.Length)
            return false;
        length = names[position++];
        if ((length & 0x80) == 0)
            return true;
        if (position >= names.Length)
            return false;
        length = (length & 0x7f) | names[position++] << 7;
        return true;
    }

    /// <summary>Writes what a profile keeps; addresses count from the start of the kernel's text.</summary>
    public void Save(BinaryWriter writer, ulong text)
    {
        writer.Write(_names.Length);
        writer.Write(_names);
        writer.Write(_tokens.Length);
        writer.Write(_tokens);
        foreach (ushort offset in _tokenIndex)
            writer.Write(offset);
        writer.Write(Addresses.Length);
        writer.Write(FirstRelative);
        for (int i = 0; i < Addresses.Length; i++)
            writer.Write(i < FirstRelative ? Addresses[i] : unchecked(Addresses[i] - text));
    }

    /// <summary>Reads it back.</summary>
    /// <returns>The tables, or null if they are damaged.</returns>
    public static KallsymsTables? Load(BinaryReader reader, ulong text)
    {
        byte[] names = reader.ReadBytes(Math.Clamp(reader.ReadInt32(), 0, 64 << 20));
        byte[] tokens = reader.ReadBytes(Math.Clamp(reader.ReadInt32(), 0, 1 << 20));
        var tokenIndex = new ushort[256];
        for (int i = 0; i < tokenIndex.Length; i++)
            tokenIndex[i] = reader.ReadUInt16();
        int count = reader.ReadInt32(), first = reader.ReadInt32();
        if (count < 0 || count > names.Length || first < 0 || first > count || tokenIndex.Any(offset => offset >= tokens.Length))
            return null;
        var addresses = new ulong[count];
        var positions = new int[count];
        int at = 0;
        for (int i = 0; i < count; i++)
        {
            ulong value = reader.ReadUInt64();
            addresses[i] = i < first ? value : unchecked(value + text);
            positions[i] = at;
            if (!TryReadLength(names, ref at, out int length) || length > names.Length - at)
                return null;
            at += length;
        }

        return Create(names, tokens, tokenIndex, positions, addresses, text, $"{count} symbols from a profile");
    }
}
