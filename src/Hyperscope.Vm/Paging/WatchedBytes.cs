namespace Hyperscope.Vm;

/// <summary>The watched bytes of one frame: a bit for each byte and kind of access.</summary>
/// <remarks>A table of 512 bytes exists for a kind once a byte is watched for it. One writer at a time; readers need no lock and see each
/// byte as it was before or after a change.</remarks>
public sealed class WatchedBytes
{
    private const int Words = Gfn.PageSize / 64;

    /// <summary>Memory of one kind's table.</summary>
    internal const int TableBytes = (Words * sizeof(ulong)) + 24;

    /// <summary>Memory of a frame besides its tables.</summary>
    internal const int FrameBytes = 128;

    private static long s_lastVersion;

    private ulong[]? _read, _write, _execute;
    private int _kinds;
    private long _executeVersion;

    /// <summary>The kinds of access that some byte of the frame is watched for.</summary>
    public PageAccess Kinds => (PageAccess)Volatile.Read(ref _kinds);

    /// <summary>Names the set of bytes watched for execution: 0 if there is none, and never the same number for two sets.</summary>
    public long ExecuteVersion => Volatile.Read(ref _executeVersion);

    /// <summary>True if a byte of a range inside the frame is watched for one of the kinds.</summary>
    public bool Overlaps(PageAccess kinds, int offset, int length) =>
        ((kinds & PageAccess.Read) != 0 && Overlaps(_read, offset, length))
        || ((kinds & PageAccess.Write) != 0 && Overlaps(_write, offset, length))
        || ((kinds & PageAccess.Execute) != 0 && Overlaps(_execute, offset, length));

    /// <summary>The kinds that one byte is watched for.</summary>
    public PageAccess this[int offset]
    {
        get
        {
            var kinds = PageAccess.None;
            foreach (PageAccess kind in (ReadOnlySpan<PageAccess>)[PageAccess.Read, PageAccess.Write, PageAccess.Execute])
            {
                if (Overlaps(kind, offset, 1))
                    kinds |= kind;
            }

            return kinds;
        }
    }

    /// <summary>Number of bytes watched for anything.</summary>
    public int Count
    {
        get
        {
            int count = 0;
            for (int word = 0; word < Words; word++)
                count += System.Numerics.BitOperations.PopCount(Word(_read, word) | Word(_write, word) | Word(_execute, word));
            return count;
        }
    }

    /// <summary>What <see cref="Set"/> would need in new tables, in bytes.</summary>
    internal int CostOf(PageAccess kinds) => (Missing(_read, kinds, PageAccess.Read) + Missing(_write, kinds, PageAccess.Write)
        + Missing(_execute, kinds, PageAccess.Execute)) * TableBytes;

    /// <summary>Memory in use.</summary>
    internal int Bytes => FrameBytes + (((_read is null ? 0 : 1) + (_write is null ? 0 : 1) + (_execute is null ? 0 : 1)) * TableBytes);

    /// <summary>Watches a range inside the frame for exactly these kinds.</summary>
    /// <returns>True if a byte is watched for something it was not watched for.</returns>
    internal bool Set(int offset, int length, PageAccess kinds)
    {
        bool grew = Apply(ref _read, offset, length, (kinds & PageAccess.Read) != 0, out _);
        grew |= Apply(ref _write, offset, length, (kinds & PageAccess.Write) != 0, out _);
        grew |= Apply(ref _execute, offset, length, (kinds & PageAccess.Execute) != 0, out bool executeChanged);
        if (executeChanged)
            Volatile.Write(ref _executeVersion, IsEmpty(_execute) ? 0 : Interlocked.Increment(ref s_lastVersion));
        PageAccess now = (IsEmpty(_read) ? 0 : PageAccess.Read) | (IsEmpty(_write) ? 0 : PageAccess.Write)
            | (IsEmpty(_execute) ? 0 : PageAccess.Execute);
        Volatile.Write(ref _kinds, (int)now);
        return grew;
    }

    private static int Missing(ulong[]? table, PageAccess kinds, PageAccess kind) => table is null && (kinds & kind) != 0 ? 1 : 0;

    private static ulong Word(ulong[]? table, int word) => table is null ? 0 : table[word];

    private static bool IsEmpty(ulong[]? table) => table is null || !table.AsSpan().ContainsAnyExcept(0UL);

    private static ulong MaskOf(int word, int offset, int length)
    {
        int first = Math.Max(offset - (word * 64), 0), last = Math.Min(offset + length - 1 - (word * 64), 63);
        return (ulong.MaxValue << first) & (ulong.MaxValue >> (63 - last));
    }

    private static bool Overlaps(ulong[]? table, int offset, int length)
    {
        if (table is null)
            return false;
        for (int word = offset >> 6; word <= (offset + length - 1) >> 6; word++)
        {
            if ((Volatile.Read(ref table[word]) & MaskOf(word, offset, length)) != 0)
                return true;
        }

        return false;
    }

    private static bool Apply(ref ulong[]? table, int offset, int length, bool isWatched, out bool changed)
    {
        changed = false;
        if (table is null)
        {
            if (!isWatched)
                return false;
            Volatile.Write(ref table, new ulong[Words]);
        }

        for (int word = offset >> 6; word <= (offset + length - 1) >> 6; word++)
        {
            ulong mask = MaskOf(word, offset, length), before = table[word], after = isWatched ? before | mask : before & ~mask;
            changed |= before != after;
            Volatile.Write(ref table[word], after);
        }

        return changed && isWatched;
    }
}
