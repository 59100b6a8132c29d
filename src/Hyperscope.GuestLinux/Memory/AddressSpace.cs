namespace Hyperscope.GuestLinux;

/// <summary>What one entry of a page table says of a range of addresses.</summary>
/// <param name="Start">First byte.</param>
/// <param name="Gpa">Where it lies in physical memory.</param>
/// <param name="Length">Bytes, a multiple of 4096.</param>
/// <param name="IsWritable">The guest may write to it.</param>
/// <param name="IsExecutable">The guest may execute it.</param>
/// <param name="IsUser">User mode may access it.</param>
public readonly record struct MappedRange(Gva Start, Gpa Gpa, ulong Length, bool IsWritable, bool IsExecutable, bool IsUser)
{
    /// <summary>One past its last byte.</summary>
    public Gva End => Start + Length;
}

/// <summary>An address space of the guest: the root of its page tables, walked here and not by the VM.</summary>
/// <remarks>4-level and 5-level paging; what is above kernel addresses in a table of user mode (page table isolation) is not mapped there.
/// Source: SDM vol. 3, "4-Level Paging and 5-Level Paging".</remarks>
/// <param name="cache">Where the tables are read.</param>
/// <param name="root">The top table.</param>
/// <param name="fiveLevel">Whether there are five levels.</param>
/// <param name="direct">What is known without the tables, or null.</param>
internal sealed class AddressSpace(PageCache cache, Gpa root, bool fiveLevel, Func<Gva, Gpa?>? direct = null)
{
    private const ulong Present = 1, Writable = 2, User = 4, Large = 0x80, NoExecute = 1UL << 63;
    private const ulong FrameMask = 0x000f_ffff_ffff_f000;
    private const int MaxTables = 1 << 16; // a table that leads to itself would otherwise be walked for hours

    private readonly Dictionary<ulong, ulong> _translations = []; // page of gva -> page of gpa

    private int _tablesLeft;

    /// <summary>The top table.</summary>
    public Gpa Root => root;

    /// <summary>Whether there are five levels.</summary>
    public bool IsFiveLevel => fiveLevel;

    /// <summary>Bits of a canonical address.</summary>
    public int AddressBits => fiveLevel ? 57 : 48;

    /// <summary>Where an address lies in physical memory, or null.</summary>
    public ValueTask<Gpa?> TranslateAsync(Gva gva, CancellationToken cancellation) =>
        _translations.TryGetValue(gva.Value >> Gfn.PageShift, out ulong frame)
            ? new ValueTask<Gpa?>(new Gpa((frame << Gfn.PageShift) | (uint)gva.PageOffset))
            : direct?.Invoke(gva) is { } gpa ? new ValueTask<Gpa?>(gpa) : WalkAsync(gva, cancellation);

    /// <summary>All mapped ranges, neighbours with the same rights that are neighbours in physical memory joined.</summary>
    /// <param name="start">First address, inside the same canonical half as <paramref name="end"/>.</param>
    /// <param name="end">One past the last address.</param>
    /// <param name="limit">Ranges at most.</param>
    /// <param name="cancellation">Ends the walk.</param>
    /// <exception cref="LinuxGuestException">There are more tables than a guest can have use for.</exception>
    public async ValueTask<List<MappedRange>> MappingsAsync(Gva start, Gva end, int limit, CancellationToken cancellation)
    {
        var ranges = new List<MappedRange>();
        _tablesLeft = MaxTables;
        await CollectAsync(root, fiveLevel ? 5 : 4, Top(start), start.Value, end.Value - 1, Writable | User, ranges, limit, cancellation)
            .ConfigureAwait(false);
        return ranges;
    }

    // The address of the first byte that the top table covers in the half of an address.
    private ulong Top(Gva address) => (long)address.Value < 0 ? ulong.MaxValue << (AddressBits - 1) : 0;

    private async ValueTask<Gpa?> WalkAsync(Gva gva, CancellationToken cancellation)
    {
        int unused = 64 - AddressBits;
        if ((ulong)((long)(gva.Value << unused) >> unused) != gva.Value)
            return null;
        ulong table = root.Value;
        for (int level = fiveLevel ? 5 : 4; ; level--)
        {
            byte[]? page = await cache.GetAsync(table >> Gfn.PageShift, cancellation).ConfigureAwait(false);
            if (page is null)
                return null;
            int shift = 12 + 9 * (level - 1);
            ulong entry = BinaryPrimitives.ReadUInt64LittleEndian(page.AsSpan((int)(gva.Value >> shift & 511) * 8));
            if ((entry & Present) == 0)
                return null;
            if (level == 1 || (level <= 3 && (entry & Large) != 0))
            {
                ulong mask = (1UL << shift) - 1;
                ulong gpa = (entry & FrameMask & ~mask) | (gva.Value & mask);
                _translations[gva.Value >> Gfn.PageShift] = gpa >> Gfn.PageShift;
                return new Gpa(gpa);
            }

            table = entry & FrameMask;
        }
    }

    private async ValueTask CollectAsync(Gpa table, int level, ulong origin, ulong first, ulong last, ulong rights,
        List<MappedRange> ranges, int limit, CancellationToken cancellation)
    {
        if (_tablesLeft-- <= 0)
            throw new LinuxGuestException($"page tables: from 0x{first:x} to 0x{last:x} there are more than {MaxTables} tables");
        byte[]? page = await cache.GetAsync(table.Value >> Gfn.PageShift, cancellation).ConfigureAwait(false);
        if (page is null)
            return;
        int shift = 12 + 9 * (level - 1);
        ulong size = 1UL << shift;

        // Entries 256 to 511 of the top table are the upper half; Top() is where entry 256 starts there and entry 0 otherwise.
        int bias = level == (fiveLevel ? 5 : 4) && (long)origin < 0 ? 256 : 0;
        var entries = new List<(ulong Start, ulong Entry)>();
        for (int index = 0; index + bias < 512; index++)
        {
            ulong start = origin + (ulong)index * size;
            if (start + (size - 1) < first || start > last)
                continue;
            ulong entry = BinaryPrimitives.ReadUInt64LittleEndian(page.AsSpan((index + bias) * 8));
            if ((entry & Present) != 0)
                entries.Add((start, entry));
        }

        if (level > 1)
        {
            await cache.PrefetchAsync(
                entries.Where(item => !IsLeaf(item.Entry, level)).Select(static item => (item.Entry & FrameMask) >> Gfn.PageShift),
                cancellation).ConfigureAwait(false);
        }

        foreach ((ulong start, ulong entry) in entries)
        {
            if (ranges.Count >= limit)
                return;
            ulong combined = (rights & entry & (Writable | User)) | ((rights | entry) & NoExecute);
            if (IsLeaf(entry, level))
                Append(ranges, start, entry & FrameMask & ~(size - 1), size, combined);
            else
                await CollectAsync(new Gpa(entry & FrameMask), level - 1, start, first, last, combined, ranges, limit, cancellation).ConfigureAwait(false);
        }
    }

    private static bool IsLeaf(ulong entry, int level) => level == 1 || (level <= 3 && (entry & Large) != 0);

    private static void Append(List<MappedRange> ranges, ulong start, ulong gpa, ulong size, ulong rights)
    {
        var range = new MappedRange(
            new Gva(start), new Gpa(gpa), size, (rights & Writable) != 0, (rights & NoExecute) == 0, (rights & User) != 0);
        if (ranges.Count != 0)
        {
            MappedRange previous = ranges[^1];
            if (previous.End == range.Start && previous.Gpa + previous.Length == range.Gpa
                && (previous.IsWritable, previous.IsExecutable, previous.IsUser) == (range.IsWritable, range.IsExecutable, range.IsUser))
            {
                ranges[^1] = previous with { Length = previous.Length + size };
                return;
            }
        }

        ranges.Add(range);
    }
}
