using System.Runtime.InteropServices;

namespace Hyperscope.X64.Execution;

/// <summary>Decoded blocks of one vCPU by physical address, linear address, code size and watches, and the memory they live in.</summary>
/// <remarks>Memory is handed out in one direction and given back all at once, when <see cref="CapacityBytes"/> is reached; a block dropped
/// before that stays readable, so a handler that is still in it does no harm.</remarks>
internal sealed unsafe class BlockCache : IDisposable
{
    public const int MaxInstructions = 48;

    /// <summary>Ops in memory before everything is dropped.</summary>
    public const long CapacityBytes = 48L << 20;

    private const int ChunkBytes = 256 << 10;

    private readonly BlockTable _blocks = new();
    private readonly Dictionary<ulong, List<BlockKey>> _byFrame = new(1024);
    private readonly List<nint> _chunks = [];
    private byte* _next, _end;

    /// <summary>Grows whenever all memory was given back: pointers from before are dangling.</summary>
    public int Incarnation { get; private set; }

    /// <summary>True once the memory is used up; the owner calls <see cref="Clear"/> where no handler is running.</summary>
    public bool IsFull => (long)_chunks.Count * ChunkBytes >= CapacityBytes;

    public Op* Find(ulong gpa, ulong linear, byte codeSize, long variant) => _blocks.Find(new BlockKey(gpa, linear, codeSize, variant));

    /// <summary>Room for a block of the largest size; commit what was used with <see cref="Add"/>.</summary>
    public Op* Reserve()
    {
        const int Needed = (MaxInstructions + 2) * 48;
        if (_end - _next < Needed)
        {
            // Sound: freed in Clear or Dispose only, when no handler runs.
            _next = (byte*)NativeMemory.AlignedAlloc(ChunkBytes, 64);
            _end = _next + ChunkBytes;
            _chunks.Add((nint)_next);
        }

        return (Op*)_next;
    }

    /// <summary>Files the block that was built in the reserved room.</summary>
    /// <param name="gpa">Physical address of its first byte.</param>
    /// <param name="linear">Linear address of its first byte.</param>
    /// <param name="codeSize">Code size it was decoded for.</param>
    /// <param name="variant">Which of several ways to cut this code into blocks.</param>
    /// <param name="slots">Ops used, the exit included.</param>
    /// <param name="secondFrame">The other frame it was decoded from, if there is one.</param>
    public Op* Add(ulong gpa, ulong linear, byte codeSize, long variant, int slots, ulong? secondFrame = null)
    {
        var block = (Op*)_next;
        _next += slots * sizeof(Op);
        var key = new BlockKey(gpa, linear, codeSize, variant);
        _blocks.Set(key, block);
        AddToFrame(gpa >> 12, key);
        if (secondFrame is { } second)
            AddToFrame(second, key);
        return block;
    }

    private void AddToFrame(ulong gfn, BlockKey key)
    {
        ref List<BlockKey>? list = ref CollectionsMarshal.GetValueRefOrAddDefault(_byFrame, gfn, out _);
        (list ??= []).Add(key);
    }

    /// <summary>True if there are blocks of a frame.</summary>
    public bool HasFrame(ulong gfn) => _byFrame.ContainsKey(gfn);

    /// <summary>Drops the blocks of a frame; false if there were none.</summary>
    public bool DropFrame(ulong gfn)
    {
        if (!_byFrame.Remove(gfn, out List<BlockKey>? keys))
            return false;
        foreach (BlockKey key in keys)
            _blocks.Remove(key);
        return true;
    }

    /// <summary>Drops everything and frees the memory.</summary>
    public void Clear()
    {
        _blocks.Clear();
        _byFrame.Clear();
        foreach (nint chunk in _chunks)
            NativeMemory.AlignedFree((void*)chunk);
        _chunks.Clear();
        _next = _end = null;
        Incarnation++;
    }

    public void Dispose()
    {
        Clear();
        _blocks.Dispose();
    }
}
