namespace Hyperscope.X64.Execution;

/// <summary>Which 64-byte pieces of guest frames some vCPU has decoded, so that a store into code is noticed. Shared by all vCPUs.</summary>
/// <remarks>A frame is announced before anything is decoded from it, which keeps new write permissions out of the translation caches, and
/// settled once those that existed are gone; see <see cref="ProcessorGroup.ProtectCode"/>. Pieces are added to settled frames only.</remarks>
internal sealed class CodeTracker
{
    private const int ChunkShift = 12;

    private readonly Lock _gate = new();
    private Frame[]?[] _directory = new Frame[]?[64];

    // Stages of a frame.
    private const byte Data = 0, Announced = 1, Settled = 2;

    private struct Frame
    {
        public ulong Pieces;
        public byte Stage;
    }

    /// <summary>The decoded pieces of a frame, one bit for 64 bytes.</summary>
    public ulong Pieces(ulong gfn) => Find(gfn) is { } chunk ? Volatile.Read(ref chunk[IndexOf(gfn)].Pieces) : 0;

    /// <summary>True for a frame that no translation cache may allow writes to.</summary>
    public bool IsCode(ulong gfn) => StageOf(gfn) != Data;

    /// <summary>True for a frame that no translation cache does allow writes to, so that code can be decoded from it.</summary>
    public bool IsSettled(ulong gfn) => StageOf(gfn) == Settled;

    /// <summary>Keeps new write permissions for a frame out of the translation caches; false if it was settled already.</summary>
    public bool Announce(ulong gfn)
    {
        lock (_gate)
        {
            int index = (int)(gfn >> ChunkShift);
            if (index >= _directory.Length)
            {
                var larger = new Frame[]?[Math.Max(index + 1, _directory.Length * 2)];
                _directory.CopyTo(larger, 0);
                Volatile.Write(ref _directory, larger);
            }

            Frame[] chunk = _directory[index] ?? (_directory[index] = new Frame[1 << ChunkShift]);
            ref byte stage = ref chunk[IndexOf(gfn)].Stage;
            if (stage == Settled)
                return false;
            Volatile.Write(ref stage, Announced);
            return true;
        }
    }

    /// <summary>Says that the write permissions an announced frame had are gone.</summary>
    public void Settle(ulong gfn) => Volatile.Write(ref Find(gfn)![IndexOf(gfn)].Stage, Settled);

    /// <summary>Adds pieces to a settled frame.</summary>
    public void Add(ulong gfn, ulong pieces)
    {
        ref ulong known = ref Find(gfn)![IndexOf(gfn)].Pieces;
        if ((pieces & ~Volatile.Read(ref known)) != 0)
            Interlocked.Or(ref known, pieces);
    }

    /// <summary>Makes a frame data again, because its blocks are about to be dropped.</summary>
    public void Clear(ulong gfn)
    {
        if (Find(gfn) is not { } chunk)
            return;
        ref Frame frame = ref chunk[IndexOf(gfn)];
        Volatile.Write(ref frame.Pieces, 0);
        Volatile.Write(ref frame.Stage, Data);
    }

    /// <summary>The pieces that a range of bytes inside one page covers.</summary>
    public static ulong Mask(int pageOffset, int length)
    {
        int first = pageOffset >> 6, last = (pageOffset + length - 1) >> 6;
        return (ulong.MaxValue << first) & (ulong.MaxValue >> (63 - last));
    }

    private static int IndexOf(ulong gfn) => (int)(gfn & ((1 << ChunkShift) - 1));

    private Frame[]? Find(ulong gfn)
    {
        Frame[]?[] directory = Volatile.Read(ref _directory);
        ulong index = gfn >> ChunkShift;
        return index < (ulong)directory.Length ? Volatile.Read(ref directory[index]) : null;
    }

    private byte StageOf(ulong gfn) => Find(gfn) is { } chunk ? Volatile.Read(ref chunk[IndexOf(gfn)].Stage) : Data;
}
