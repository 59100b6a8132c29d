namespace Hyperscope.X64.Execution;

/// <summary>Which 64-byte pieces of guest frames some vCPU has decoded, so that a store into code is noticed. Shared by all vCPUs.</summary>
/// <remarks>A frame with any decoded piece has no write permission in any translation cache; see <see cref="ProcessorGroup"/>.</remarks>
internal sealed class CodeTracker
{
    private const int ChunkShift = 12;

    private readonly Lock _gate = new();
    private ulong[]?[] _directory = new ulong[]?[64];

    /// <summary>The decoded pieces of a frame, one bit for 64 bytes; zero: no code.</summary>
    public ulong Pieces(ulong gfn)
    {
        ulong[]?[] directory = Volatile.Read(ref _directory);
        ulong index = gfn >> ChunkShift;
        return index < (ulong)directory.Length && directory[index] is { } chunk ? Volatile.Read(ref chunk[gfn & ((1 << ChunkShift) - 1)]) : 0;
    }

    /// <summary>Adds pieces; returns what was there before.</summary>
    public ulong Add(ulong gfn, ulong pieces)
    {
        lock (_gate)
        {
            int index = (int)(gfn >> ChunkShift);
            if (index >= _directory.Length)
            {
                var larger = new ulong[]?[Math.Max(index + 1, _directory.Length * 2)];
                _directory.CopyTo(larger, 0);
                Volatile.Write(ref _directory, larger);
            }

            ulong[] chunk = _directory[index] ?? (_directory[index] = new ulong[1 << ChunkShift]);
            return Interlocked.Or(ref chunk[gfn & ((1 << ChunkShift) - 1)], pieces);
        }
    }

    /// <summary>Forgets the pieces of a frame, because its blocks are about to be dropped.</summary>
    public void Clear(ulong gfn)
    {
        ulong[]?[] directory = Volatile.Read(ref _directory);
        ulong index = gfn >> ChunkShift;
        if (index < (ulong)directory.Length && directory[index] is { } chunk)
            Volatile.Write(ref chunk[gfn & ((1 << ChunkShift) - 1)], 0);
    }

    /// <summary>The pieces that a range of bytes inside one page covers.</summary>
    public static ulong Mask(int pageOffset, int length)
    {
        int first = pageOffset >> 6, last = (pageOffset + length - 1) >> 6;
        return (ulong.MaxValue << first) & (ulong.MaxValue >> (63 - last));
    }
}
