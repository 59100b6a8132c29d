using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;

namespace Hyperscope.Vm;

/// <summary>The rights KVMI put on guest frames: a two-level table of packed bits, one per view. And the bytes that are watched.</summary>
/// <remarks>
/// <para>A chunk covers 4096 frames (16 MiB) in 2048 bytes, four bits a frame: the <em>denied</em> accesses and whether bytes of the
/// frame are watched, so zero means unrestricted; a chunk exists only once a frame in it was restricted or watched. Lookup is two loads and
/// needs no lock. Writers hold <see cref="WriterLock"/>; a reader sees either the old or the new rights of a frame, never a
/// mixture.</para>
/// <para>A watch is a range of bytes and the kinds of access to it that are reported. Frame rights and watches do not know of each other:
/// an access is denied if the frame's rights deny it or it touches a byte that is watched for its kind.</para>
/// <para>Changing the map does not reach translations that are already cached: the owner shoots those down before it tells anyone
/// that the change is done.</para>
/// </remarks>
public sealed class AccessMap
{
    private const int Watched = 8;
    private const int ChunkShift = 12;
    private const int ChunkFrames = 1 << ChunkShift;
    private const int ChunkBytes = ChunkFrames / 2;

    /// <summary>Frames at or above this (52 physical address bits) cannot be restricted.</summary>
    public const ulong FrameLimit = 1UL << 40;

    private readonly WatchBudget _budget;
    private ConcurrentDictionary<ulong, WatchedBytes> _watches = [];
    private byte[]?[] _directory = new byte[]?[64];
    private long _restricted;
    private long _watchBytes;

    /// <summary>Makes a map without restrictions.</summary>
    /// <param name="budget">What watches may use of memory, shared with other maps; null: a budget of its own.</param>
    public AccessMap(WatchBudget? budget = null) => _budget = budget ?? new WatchBudget();

    /// <summary>Held by whoever changes the map. Taken before any lock of a back end, never after one.</summary>
    public Lock WriterLock { get; } = new();

    /// <summary>Called with each frame whose rights or watches have changed and the kinds of access that stop nowhere in it, or with null:
    /// every restriction was lifted. The caller holds <see cref="WriterLock"/>.</summary>
    public Action<Gfn?, PageAccess>? Changed { get; set; }

    /// <summary>Number of frames whose rights are not <see cref="PageAccess.All"/>.</summary>
    public long RestrictedFrames => Volatile.Read(ref _restricted);

    /// <summary>Grows with every change; equal versions mean an unchanged map.</summary>
    public int Version { get; private set; }

    /// <summary>Number of frames with a watched byte.</summary>
    public int WatchedFrames => Volatile.Read(ref _watches).Count;

    /// <summary>Bytes of memory that watches use.</summary>
    public long WatchTableBytes => Volatile.Read(ref _watchBytes);

    /// <summary>Bytes of table memory in use, watches aside.</summary>
    public long TableBytes
    {
        get
        {
            long bytes = (long)_directory.Length * nint.Size;
            foreach (byte[]? chunk in _directory)
                bytes += chunk?.Length ?? 0;
            return bytes;
        }
    }

    /// <summary>The rights of a frame; <see cref="PageAccess.All"/> where nothing was said.</summary>
    public PageAccess this[Gfn gfn] => PageAccess.All & ~Denied(gfn.Value);

    /// <summary>The denied accesses of a frame. Two loads; safe on any thread.</summary>
    public PageAccess Denied(ulong gfn) => (PageAccess)(Bits(gfn) & 7);

    /// <summary>The denied accesses of a frame, and its watched bytes or null. Safe on any thread.</summary>
    public PageAccess Denied(ulong gfn, out WatchedBytes? watched)
    {
        int bits = Bits(gfn);
        watched = null;
        if ((bits & Watched) != 0)
            _ = Volatile.Read(ref _watches).TryGetValue(gfn, out watched);
        return (PageAccess)(bits & 7);
    }

    /// <summary>The kinds of access that neither the rights of a frame nor a watch on any of its bytes concerns.</summary>
    public PageAccess Unhindered(Gfn gfn)
    {
        PageAccess denied = Denied(gfn.Value, out WatchedBytes? watched);
        return PageAccess.All & ~(denied | (watched?.Kinds ?? PageAccess.None));
    }

    /// <summary>True if an access inside one page is denied: by the rights of its frame, or by a watch on a byte of it.</summary>
    public bool Denies(Gpa gpa, int length, PageAccess kind) =>
        (Denied(gpa.Frame.Value, out WatchedBytes? watched) & kind) != 0 || (watched?.Overlaps(kind, gpa.PageOffset, length) ?? false);

    /// <summary>The bytes of a frame that are watched for execution: 0 if there are none, else a number that no other set of bytes has.</summary>
    public long ExecuteWatchVersion(ulong gfn)
    {
        _ = Denied(gfn, out WatchedBytes? watched);
        return watched?.ExecuteVersion ?? 0;
    }

    /// <summary>Watches a range of bytes for exactly the given kinds of access; none ends the watch. The caller holds
    /// <see cref="WriterLock"/>.</summary>
    /// <param name="gpa">First byte.</param>
    /// <param name="length">Bytes, at least 1; the range may cross frames.</param>
    /// <param name="kinds">What is reported.</param>
    /// <param name="grew">Set if a byte is now watched for something it was not watched for.</param>
    /// <returns>False, with nothing changed, if that would exceed <see cref="WatchBudget.Limit"/>.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The range is empty or reaches <see cref="FrameLimit"/>, or the kinds have unknown bits.</exception>
    public bool TrySetWatch(Gpa gpa, ulong length, PageAccess kinds, ref bool grew)
    {
        ulong last = gpa.Value + (length - 1);
        if (length == 0 || last < gpa.Value || last >> Gfn.PageShift >= FrameLimit)
            ThrowRange(gpa, length);
        if ((kinds & ~PageAccess.All) != 0)
            ThrowAccess(kinds);
        ulong first = gpa.Frame.Value, end = last >> Gfn.PageShift;
        long cost = 0;
        for (ulong gfn = first; kinds != PageAccess.None && gfn <= end && cost <= WatchBudget.Limit; gfn++)
        {
            cost += _watches.TryGetValue(gfn, out WatchedBytes? present)
                ? present.CostOf(kinds)
                : WatchedBytes.FrameBytes + (System.Numerics.BitOperations.PopCount((uint)kinds) * WatchedBytes.TableBytes);
        }

        if (!_budget.TryTake(cost))
            return false;
        _watchBytes += cost;
        for (ulong gfn = first; gfn <= end; gfn++)
        {
            int offset = gfn == first ? gpa.PageOffset : 0;
            int stop = gfn == end ? (int)(last & (Gfn.PageSize - 1)) + 1 : Gfn.PageSize;
            grew |= SetWatch(gfn, offset, stop - offset, kinds);
        }

        Version++;
        return true;
    }

    private bool SetWatch(ulong gfn, int offset, int length, PageAccess kinds)
    {
        if (!_watches.TryGetValue(gfn, out WatchedBytes? watched))
        {
            if (kinds == PageAccess.None)
                return false;
            watched = new WatchedBytes();
            _watches[gfn] = watched;
        }

        bool grew = watched.Set(offset, length, kinds);
        if (watched.Kinds != PageAccess.None)
        {
            SetBits(gfn, ~Watched, Watched);
            Changed?.Invoke(new Gfn(gfn), Unhindered(new Gfn(gfn)));
            return grew;
        }

        SetBits(gfn, ~Watched, 0);
        _ = _watches.TryRemove(gfn, out _);
        Changed?.Invoke(new Gfn(gfn), Unhindered(new Gfn(gfn)));
        _budget.Return(watched.Bytes);
        _watchBytes -= watched.Bytes;
        return false;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private int Bits(ulong gfn)
    {
        byte[]?[] directory = Volatile.Read(ref _directory);
        ulong index = gfn >> ChunkShift;
        if (index >= (ulong)directory.Length || directory[index] is not { } chunk)
            return 0;
        int packed = chunk[(int)(gfn & (ChunkFrames - 1)) >> 1];
        return (packed >> ((int)(gfn & 1) << 2)) & 0xF;
    }

    // The bits before the change.
    private int SetBits(ulong gfn, int keep, int add)
    {
        int index = (int)(gfn >> ChunkShift);
        byte[]? chunk = index < _directory.Length ? _directory[index] : null;
        if (chunk is null)
        {
            if (add == 0)
                return 0;
            chunk = AddChunk(index);
        }

        ref byte packed = ref chunk[(int)(gfn & (ChunkFrames - 1)) >> 1];
        int shift = (int)(gfn & 1) << 2;
        int before = (packed >> shift) & 0xF;
        Volatile.Write(ref packed, (byte)((packed & ~(0xF << shift)) | (((before & keep) | add) << shift)));
        return before;
    }

    /// <summary>Records the rights of a frame. The caller holds <see cref="WriterLock"/>.</summary>
    /// <returns>The rights before the change.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The frame is at or above <see cref="FrameLimit"/>, or the rights have unknown bits.</exception>
    public PageAccess Set(Gfn gfn, PageAccess access)
    {
        if (gfn.Value >= FrameLimit)
            ThrowFrame(gfn);
        if ((access & ~PageAccess.All) != 0)
            ThrowAccess(access);
        PageAccess denied = PageAccess.All & ~access;
        var before = (PageAccess)(SetBits(gfn.Value, Watched, (int)denied) & 7);
        if (before == denied)
            return PageAccess.All & ~before;
        if (before == PageAccess.None)
            _restricted++;
        else if (denied == PageAccess.None)
            _restricted--;
        Version++;
        Changed?.Invoke(gfn, Unhindered(gfn));
        return PageAccess.All & ~before;
    }

    /// <summary>Lifts every restriction, ends every watch and drops the tables. The caller holds <see cref="WriterLock"/>.</summary>
    public void Clear()
    {
        Volatile.Write(ref _watches, []);
        _budget.Return(_watchBytes);
        _watchBytes = 0;
        Volatile.Write(ref _directory, new byte[]?[64]);
        _restricted = 0;
        Version++;
        Changed?.Invoke(null, PageAccess.All);
    }

    /// <summary>Calls <paramref name="visit"/> for each restricted frame of a range, in ascending order.</summary>
    public void ForEachRestricted(Gfn first, ulong count, Action<Gfn, PageAccess> visit)
    {
        byte[]?[] directory = Volatile.Read(ref _directory);
        ulong end = first.Value + Math.Min(count, FrameLimit);
        ulong gfn = first.Value;
        while (gfn < end && gfn >> ChunkShift < (ulong)directory.Length)
        {
            if (directory[gfn >> ChunkShift] is null)
            {
                gfn = ((gfn >> ChunkShift) + 1) << ChunkShift;
                continue;
            }

            PageAccess denied = Denied(gfn);
            if (denied != PageAccess.None)
                visit(new Gfn(gfn), PageAccess.All & ~denied);
            gfn++;
        }
    }

    private byte[] AddChunk(int index)
    {
        if (index >= _directory.Length)
        {
            var larger = new byte[]?[Math.Max(index + 1, _directory.Length * 2)];
            _directory.CopyTo(larger, 0);
            Volatile.Write(ref _directory, larger);
        }

        byte[] chunk = new byte[ChunkBytes];
        Volatile.Write(ref _directory[index], chunk);
        return chunk;
    }

    [DoesNotReturn]
    private static void ThrowRange(Gpa gpa, ulong length) =>
        throw new ArgumentOutOfRangeException(nameof(length), $"a watch of {length} bytes at {gpa} is empty or reaches frame 0x{FrameLimit:x}");

    [DoesNotReturn]
    private static void ThrowFrame(Gfn gfn) =>
        throw new ArgumentOutOfRangeException(nameof(gfn), $"frame {gfn} is not below 0x{FrameLimit:x}");

    [DoesNotReturn]
    private static void ThrowAccess(PageAccess access) =>
        throw new ArgumentOutOfRangeException(nameof(access), $"access 0x{(int)access:x} has bits above 0x7");
}
