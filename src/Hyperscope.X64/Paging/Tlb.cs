using System.Runtime.InteropServices;

namespace Hyperscope.X64;

/// <summary>One cached translation. A tag equal to the page number of an address is the permission to make that kind of access.</summary>
/// <remarks>32 bytes. A tag holds <see cref="NoPage"/> where the guest's tables, KVMI rights, decoded code or a device forbid the shortcut:
/// such an access misses and takes the slow path, so an unrestricted access never pays for a check.</remarks>
[StructLayout(LayoutKind.Sequential)]
internal struct TlbEntry
{
    /// <summary>Matches no page number (page numbers have 52 bits).</summary>
    public const ulong NoPage = ulong.MaxValue;

    public ulong ReadTag, WriteTag, ExecuteTag;

    /// <summary>Host address minus linear address.</summary>
    public long Addend;
}

/// <summary>The translation caches of one vCPU in one view: one direct-mapped set for each privilege context.</summary>
/// <remarks>Supervisor accesses with and without SMAP suspended, and user accesses, are allowed different things; a set for each saves a
/// flush when the context changes. A flush only marks the sets; each is emptied when it is used again, in time that goes with what is in it:
/// an accelerator's guest may have changed its tables whenever the software takes over for an instruction.</remarks>
internal sealed unsafe class Tlb : IDisposable
{
    public const int EntryBits = 10;
    public const int Entries = 1 << EntryBits;
    public const ulong IndexMask = Entries - 1;
    public const int Contexts = 3;

    private readonly TlbEntry* _entries;
    private readonly ulong* _frames, _guestFrames;
    private readonly bool[] _stale = new bool[Contexts];

    // Which entries of a set have been filled, until there are too many to be worth a list.
    private const int MaxListed = 32;
    private readonly short[] _listed = new short[Contexts * MaxListed];
    private readonly int[] _filled = new int[Contexts];

    public Tlb()
    {
        // Sound: owned by this object until Dispose; every index is masked to Entries.
        _entries = (TlbEntry*)NativeMemory.AlignedAlloc((nuint)(Contexts * Entries * sizeof(TlbEntry)), 4096);
        _frames = (ulong*)NativeMemory.AlignedAlloc(Contexts * Entries * sizeof(ulong), 4096);
        _guestFrames = (ulong*)NativeMemory.AlignedAlloc(Contexts * Entries * sizeof(ulong), 4096);
        new Span<byte>(_entries, Contexts * Entries * sizeof(TlbEntry)).Fill(0xFF);
    }

    /// <summary>Forgets everything. Sets not in use are emptied when they are selected.</summary>
    public void Flush() => _stale.AsSpan().Fill(true);

    /// <summary>The entries of a context, emptied first if a flush is due.</summary>
    public TlbEntry* Select(int context)
    {
        if (_stale[context])
            Empty(context);
        return _entries + (context * Entries);
    }

    /// <summary>Notes that an entry is about to get a translation.</summary>
    public void NoteFill(TlbEntry* entry)
    {
        int position = (int)(entry - _entries), context = position >> EntryBits, filled = _filled[context];
        if (filled > MaxListed)
            return;
        if (filled < MaxListed)
            _listed[(context * MaxListed) + filled] = (short)(position & (int)IndexMask);
        _filled[context] = filled + 1;
    }

    /// <summary>Drops one page from every context (INVLPG).</summary>
    public void FlushPage(ulong linear)
    {
        ulong page = linear >> 12;
        for (int context = 0; context < Contexts; context++)
            Clear(_entries + (context * Entries) + (page & IndexMask));
    }

    /// <summary>The frame whose memory is behind an entry of the given set.</summary>
    public ref ulong Frame(TlbEntry* entry) => ref _frames[entry - _entries];

    /// <summary>The frame that the guest's tables name there: another one where the view says so.</summary>
    public ref ulong GuestFrame(TlbEntry* entry) => ref _guestFrames[entry - _entries];

    /// <summary>Takes away the write permission of every translation to a frame: code was decoded from it.</summary>
    public void ProtectFrame(ulong frame)
    {
        for (int index = 0; index < Contexts * Entries; index++)
        {
            if (_frames[index] == frame)
                _entries[index].WriteTag = TlbEntry.NoPage;
        }
    }

    public void Dispose()
    {
        NativeMemory.AlignedFree(_entries);
        NativeMemory.AlignedFree(_frames);
        NativeMemory.AlignedFree(_guestFrames);
    }

    private static void Clear(TlbEntry* entry) => entry->ReadTag = entry->WriteTag = entry->ExecuteTag = TlbEntry.NoPage;

    private void Empty(int context)
    {
        TlbEntry* set = _entries + (context * Entries);
        if (_filled[context] <= MaxListed)
        {
            foreach (short index in _listed.AsSpan(context * MaxListed, _filled[context]))
                Clear(set + index);
        }
        else
        {
            new Span<byte>(set, Entries * sizeof(TlbEntry)).Fill(0xFF);
        }

        _filled[context] = 0;
        _stale[context] = false;
    }
}
