namespace Hyperscope.GuestLinux;

/// <summary>Finds the tables of kallsyms in the bytes of a kernel's read-only data, without any symbol.</summary>
/// <remarks>
/// <para>Each table starts at a multiple of 8. In order: Linux 5.15 to 6.1 have offsets, relative_base, num_syms, names, markers,
/// token_table, token_index; 6.2 and 6.3 have seqs_of_names before token_table; 6.4 and later have num_syms, names, markers, token_table,
/// token_index, offsets, relative_base, seqs_of_names. So: the tokens are found by their shape, markers and names before them by
/// agreeing with each other, and the offsets on either side.</para>
/// <para>Source: Linux scripts/kallsyms.c and kernel/kallsyms.c.</para>
/// </remarks>
internal static class KallsymsScanner
{
    private const int Tokens = 256, NamesPerMarker = 256;
    private const int MinSymbols = 256, MaxSymbols = 1 << 21;
    private const int MaxTokenTable = 8192, MaxPackedName = 512;
    private const int MaxCandidates = 64;
    private const long MaxSteps = 100_000_000; // a guest may fill its memory with things that nearly fit

    /// <summary>Looks for them.</summary>
    /// <param name="data">Memory of the kernel.</param>
    /// <param name="start">Its address, a multiple of 8.</param>
    /// <param name="imageStart">Where the kernel's image starts at the earliest.</param>
    /// <param name="imageEnd">One past where it ends at the latest.</param>
    /// <returns>The tables, or null.</returns>
    public static KallsymsTables? Find(ReadOnlySpan<byte> data, ulong start, ulong imageStart, ulong imageEnd)
    {
        int candidates = 0;
        long budget = MaxSteps;
        for (int at = 0; at + Tokens * 2 <= data.Length && candidates < MaxCandidates; at += 8)
        {
            // The first offset is 0, the second 1 to 32: most places are passed over here.
            if (Half(data, at) != 0 || Half(data, at + 2) is 0 or > 64)
                continue;
            if (!TryReadTokens(data, at, out int tableStart, out byte[] tokens, out ushort[] tokenIndex))
                continue;
            candidates++;
            if (TryReadNames(data, tableStart, ref budget, out Names names)
                && ReadAddresses(data, start, at, names, tokens, tokenIndex, imageStart, imageEnd) is { } tables)
            {
                return tables;
            }
        }

        return null;
    }

    private static ushort Half(ReadOnlySpan<byte> data, int at) => BinaryPrimitives.ReadUInt16LittleEndian(data[at..]);

    private static uint Word(ReadOnlySpan<byte> data, int at) => BinaryPrimitives.ReadUInt32LittleEndian(data[at..]);

    private static int Align8(int value) => (value + 7) & ~7;

    // token_index: 256 ascending offsets of strings that end where the next one starts. token_table ends right before it.
    private static bool TryReadTokens(ReadOnlySpan<byte> data, int indexStart, out int tableStart, out byte[] tokens, out ushort[] tokenIndex)
    {
        tableStart = 0;
        tokens = [];
        tokenIndex = new ushort[Tokens];
        for (int i = 0; i < Tokens; i++)
        {
            tokenIndex[i] = Half(data, indexStart + 2 * i);
            if (i > 0 && (tokenIndex[i] <= tokenIndex[i - 1] || tokenIndex[i] >= MaxTokenTable))
                return false;
        }

        // The last string's length is not known, nor the padding: a few starts are possible.
        int last = tokenIndex[Tokens - 1];
        for (int start = (indexStart - last - 2) & ~7; start >= 0 && start > indexStart - last - 64; start -= 8)
        {
            ReadOnlySpan<byte> table = data[start..indexStart];
            bool fits = true;
            for (int i = 1; i < Tokens && fits; i++)
                fits = table[tokenIndex[i] - 1] == 0 && !table[tokenIndex[i - 1]..(tokenIndex[i] - 1)].Contains((byte)0);
            if (!fits || !table[last..].Contains((byte)0))
                continue;
            int end = last + table[last..].IndexOf((byte)0) + 1;
            if (Align8(start + end) != indexStart)
                continue;
            tableStart = start;
            tokens = table[..end].ToArray();
            return true;
        }

        return false;
    }

    // markers: every 256th name's position; they must agree with the names, which lie between num_syms and markers.
    private static bool TryReadNames(ReadOnlySpan<byte> data, int limit, ref long budget, out Names names)
    {
        int lowest = Math.Max(0, limit - 3 * MaxSymbols - 4 * (MaxSymbols / NamesPerMarker));
        int candidates = 0;
        for (int at = (limit - 8) & ~7; at >= lowest && candidates < MaxCandidates && budget-- > 0; at -= 8)
        {
            if (Word(data, at) != 0 || Word(data, at + 4) is < NamesPerMarker * 2 or > NamesPerMarker * MaxPackedName)
                continue;
            int count = CountMarkers(data, at, limit);
            if (count < MinSymbols / NamesPerMarker)
                continue;
            candidates++;
            if (TryReadNamesBefore(data, at, count, ref budget, out names))
                return true;
        }

        names = default;
        return false;
    }

    private static int CountMarkers(ReadOnlySpan<byte> data, int at, int limit)
    {
        int count = 1;
        for (; at + 4 * count + 4 <= limit; count++)
        {
            uint step = unchecked(Word(data, at + 4 * count) - Word(data, at + 4 * count - 4));
            if (step is < NamesPerMarker * 2 or > NamesPerMarker * MaxPackedName)
                break;
        }

        return count;
    }

    private static bool TryReadNamesBefore(ReadOnlySpan<byte> data, int markers, int markerCount, ref long budget, out Names names)
    {
        names = default;

        // What follows the markers may look like more of them, never the other way round: num_syms has the last word. The names behind
        // the last marker are at most 256, so num_syms lies in a narrow window for each believable number of markers.
        for (int count = markerCount; count >= Math.Max(1, markerCount - 4); count--)
        {
            long lastMarker = Word(data, markers + 4 * (count - 1));
            long highest = markers - lastMarker;
            for (long at = highest & ~7L; at >= Math.Max(8, highest - NamesPerMarker * 64); at -= 8)
            {
                uint symbols = Word(data, (int)at - 8);
                if (symbols is < MinSymbols or > MaxSymbols || Word(data, (int)at - 4) != 0
                    || (symbols + NamesPerMarker - 1) / NamesPerMarker != count)
                {
                    continue;
                }

                if (TryWalk(data[(int)at..markers], data[markers..], (int)symbols, ref budget, out int[] positions))
                {
                    names = new Names((int)at - 8, (int)at, markers, positions);
                    return true;
                }
            }
        }

        return false;
    }

    private static bool TryWalk(ReadOnlySpan<byte> packed, ReadOnlySpan<byte> markers, int symbols, ref long budget, out int[] positions)
    {
        positions = [];
        if (symbols > packed.Length / 2)
            return false;
        var found = new int[symbols];
        budget -= symbols / 64;
        int at = 0;
        for (int i = 0; i < symbols; i++)
        {
            if (i % NamesPerMarker == 0 && Word(markers, i / NamesPerMarker * 4) != at)
                return false;
            if (budget-- <= 0)
                return false;
            found[i] = at;
            if (!KallsymsTables.TryReadLength(packed, ref at, out int length) || length is 0 or > MaxPackedName || length > packed.Length - at)
                return false;
            at += length;
        }

        if (Align8(at) != packed.Length)
            return false;
        positions = found;
        return true;
    }

    private static KallsymsTables? ReadAddresses(ReadOnlySpan<byte> data, ulong start, int tokenIndexAt, in Names names, byte[] tokens,
        ushort[] tokenIndex, ulong imageStart, ulong imageEnd)
    {
        int count = names.Positions.Length;
        byte[] packed = data[names.Start..names.Markers].ToArray();
        int before = names.NumSyms - 8 - Align8(4 * count);
        int after = tokenIndexAt + 2 * Tokens;
        ReadOnlySpan<(string Layout, int Offsets, int RelativeBase)> layouts =
        [
            ("before the names (to 6.3)", before, names.NumSyms - 8),
            ("behind the tokens (from 6.4)", after, after + Align8(4 * count)),
        ];
        foreach ((string layout, int offsets, int relativeBase) in layouts)
        {
            if (offsets < 0 || relativeBase < 0 || relativeBase + 8 > data.Length)
                continue;
            ulong origin = BinaryPrimitives.ReadUInt64LittleEndian(data[relativeBase..]);
            if (origin < imageStart || origin >= imageEnd)
                continue;
            string description = $"{count} symbols, names at 0x{start + (ulong)names.Start:x}, offsets {layout}";
            if (KallsymsTables.Create(
                packed, tokens, tokenIndex, names.Positions, Decode(data.Slice(offsets, 4 * count), origin), imageStart, description) is { } tables)
            {
                return tables;
            }
        }

        return null;
    }

    // With per-CPU symbols as absolute values (x86 with SMP up to 6.14) an offset that is not negative is a value of its own, and -1 - offset
    // counts from the base; without, all offsets count from the base.
    private static ulong[] Decode(ReadOnlySpan<byte> offsets, ulong origin)
    {
        var addresses = new ulong[offsets.Length / 4];
        int negative = 0;
        for (int i = 0; i < addresses.Length; i++)
            negative += BinaryPrimitives.ReadInt32LittleEndian(offsets[(4 * i)..]) < 0 ? 1 : 0;
        bool hasAbsolute = negative > addresses.Length / 2;
        for (int i = 0; i < addresses.Length; i++)
        {
            int offset = BinaryPrimitives.ReadInt32LittleEndian(offsets[(4 * i)..]);
            addresses[i] = !hasAbsolute ? origin + (uint)offset : offset >= 0 ? (ulong)offset : origin + (ulong)(-1L - offset);
        }

        return addresses;
    }

    private readonly record struct Names(int NumSyms, int Start, int Markers, int[] Positions);
}
