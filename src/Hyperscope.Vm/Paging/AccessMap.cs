using System.Diagnostics.CodeAnalysis;

namespace Hyperscope.Vm;

/// <summary>The rights KVMI put on guest frames: a two-level table of packed bits, one per view.</summary>
/// <remarks>
/// <para>A chunk covers 4096 frames (16 MiB) in 2048 bytes, four bits a frame holding the <em>denied</em> accesses, so zero means
/// unrestricted; a chunk exists only once a frame in it was restricted. Lookup is two loads and needs no lock. Writers hold
/// <see cref="WriterLock"/>; a reader sees either the old or the new rights of a frame, never a mixture.</para>
/// <para>Changing the map does not reach translations that are already cached: the owner shoots those down before it tells anyone
/// that the change is done.</para>
/// </remarks>
public sealed class AccessMap
{
    private const int ChunkShift = 12;
    private const int ChunkFrames = 1 << ChunkShift;
    private const int ChunkBytes = ChunkFrames / 2;

    /// <summary>Frames at or above this (52 physical address bits) cannot be restricted.</summary>
    public const ulong FrameLimit = 1UL << 40;

    private byte[]?[] _directory = new byte[]?[64];
    private long _restricted;

    /// <summary>Held by whoever changes the map. Taken before any lock of a back end, never after one.</summary>
    public Lock WriterLock { get; } = new();

    /// <summary>Called with each frame whose rights have changed and their new value, or with null: every restriction was lifted. The caller
    /// holds <see cref="WriterLock"/>.</summary>
    public Action<Gfn?, PageAccess>? Changed { get; set; }

    /// <summary>Number of frames whose rights are not <see cref="PageAccess.All"/>.</summary>
    public long RestrictedFrames => Volatile.Read(ref _restricted);

    /// <summary>Grows with every change; equal versions mean an unchanged map.</summary>
    public int Version { get; private set; }

    /// <summary>Bytes of table memory in use.</summary>
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
    public PageAccess Denied(ulong gfn)
    {
        byte[]?[] directory = Volatile.Read(ref _directory);
        ulong index = gfn >> ChunkShift;
        if (index >= (ulong)directory.Length || directory[index] is not { } chunk)
            return PageAccess.None;
        int packed = chunk[(int)(gfn & (ChunkFrames - 1)) >> 1];
        return (PageAccess)((packed >> ((int)(gfn & 1) << 2)) & 7);
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
        int index = (int)(gfn.Value >> ChunkShift);
        byte[]? chunk = index < _directory.Length ? _directory[index] : null;
        if (chunk is null)
        {
            if (denied == PageAccess.None)
                return PageAccess.All;
            chunk = AddChunk(index);
        }

        ref byte packed = ref chunk[(int)(gfn.Value & (ChunkFrames - 1)) >> 1];
        int shift = (int)(gfn.Value & 1) << 2;
        var before = (PageAccess)((packed >> shift) & 7);
        if (before == denied)
            return PageAccess.All & ~before;
        Volatile.Write(ref packed, (byte)((packed & ~(0xF << shift)) | ((int)denied << shift)));
        if (before == PageAccess.None)
            _restricted++;
        else if (denied == PageAccess.None)
            _restricted--;
        Version++;
        Changed?.Invoke(gfn, access);
        return PageAccess.All & ~before;
    }

    /// <summary>Lifts every restriction and drops the tables. The caller holds <see cref="WriterLock"/>.</summary>
    public void Clear()
    {
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
    private static void ThrowFrame(Gfn gfn) =>
        throw new ArgumentOutOfRangeException(nameof(gfn), $"frame {gfn} is not below 0x{FrameLimit:x}");

    [DoesNotReturn]
    private static void ThrowAccess(PageAccess access) =>
        throw new ArgumentOutOfRangeException(nameof(access), $"access 0x{(int)access:x} has bits above 0x7");
}
