using Hyperscope.LinuxHost;
using Hyperscope.Vm;
using Microsoft.Extensions.Logging;

namespace Hyperscope.Kvm;

/// <summary>One memory slot as the guest sees it: a mapping and the host protection of each of its frames.</summary>
/// <remarks>Each place where neighbours differ in what takes memory ranges (see <see cref="IProtector"/>) costs the process one, of which there are
/// few. When they run out, whole blocks of frames become inaccessible: right, because what that stops needlessly is carried out silently, but
/// slow. A block gets its exact protections back when there is room again. Not thread-safe.</remarks>
internal sealed class ProtectedMapping(MemorySlot slot, uint number, AccessMap map, IProtector protector, RangeBudget budget, ILogger logger) : IDisposable
{
    /// <summary>Frames that lose their own protections together.</summary>
    public const int BlockFrames = 512;

    private readonly Stack<int> _coarse = new();
    private MemoryProtection[]? _inForce; // of each frame; null: all are open
    private bool[]? _isCoarse; // of each block
    private int _ranges;

    public MemorySlot Slot => slot;

    /// <summary>The kernel's number of the slot.</summary>
    public uint Number => number;

    public MemoryMapping Mapping => protector.Mapping;

    /// <summary>Blocks that are closed as a whole.</summary>
    public int CoarseBlocks => _coarse.Count;

    private int Frames => (int)slot.Frames;

    /// <summary>Gives a run of frames, of which some are not in this slot perhaps, a protection.</summary>
    public void Protect(ulong first, ulong end, MemoryProtection protection)
    {
        ulong from = Math.Max(first, slot.First.Value), to = Math.Min(end, slot.End.Value);
        if (from < to)
            Protect((int)(from - slot.First.Value), (int)(to - slot.First.Value), protection);
    }

    /// <summary>Gives every frame the protection that the access map asks for; for a mapping where all are open.</summary>
    public void ProtectAll() => ForEachRun(0, Frames, Wanted, (from, to, protection) =>
    {
        if (protection != MemoryProtection.ReadWrite)
            Protect(from, to, protection);
    });

    /// <summary>Opens every frame for good.</summary>
    public void Lift()
    {
        protector.Open();
        budget.Take(-_ranges);
        _ranges = 0;
        _inForce = null;
        _isCoarse = null;
        _coarse.Clear();
    }

    /// <summary>Opens every frame until <see cref="Close"/>.</summary>
    public void Open() => protector.Open();

    /// <summary>Undoes <see cref="Open"/>.</summary>
    public void Close()
    {
        if (_inForce is not { } inForce)
            return;
        ForEachRun(0, Frames, frame => inForce[frame], (from, to, protection) =>
        {
            if (protection != MemoryProtection.ReadWrite)
                Apply(from, to, protection, wasClosed: false);
        });
    }

    /// <summary>Gives blocks their own protections back, as far as there is room.</summary>
    public void Refine()
    {
        while (_coarse.TryPeek(out int block) && TryRefine(block))
            _ = _coarse.Pop();
    }

    public void Dispose()
    {
        budget.Take(-_ranges);
        _ranges = 0;
        protector.Mapping.Dispose();
    }

    private static MemoryProtection ProtectionFor(PageAccess access)
    {
        const PageAccess Fetch = PageAccess.Read | PageAccess.Execute;
        if ((access & Fetch) != Fetch)
            return MemoryProtection.None;
        return (access & PageAccess.Write) != 0 ? MemoryProtection.ReadWrite : MemoryProtection.Read;
    }

    /// <summary>What the access map asks for, as far as hardware can express it.</summary>
    public static MemoryProtection Wanted(AccessMap map, ulong frame) => ProtectionFor(map.Unhindered(new Gfn(frame)));

    private MemoryProtection Wanted(int frame) => Wanted(map, slot.First.Value + (ulong)frame);

    private static void ForEachRun(int from, int to, Func<int, MemoryProtection> protectionOf, Action<int, int, MemoryProtection> visit)
    {
        for (int first = from; first < to;)
        {
            MemoryProtection protection = protectionOf(first);
            int end = first + 1;
            while (end < to && protectionOf(end) == protection)
                end++;
            visit(first, end, protection);
            first = end;
        }
    }

    private void Protect(int from, int to, MemoryProtection protection)
    {
        if (_inForce is null)
        {
            if (protection == MemoryProtection.ReadWrite)
                return;
            _inForce = new MemoryProtection[Frames];
            Array.Fill(_inForce, MemoryProtection.ReadWrite);
            _isCoarse = new bool[(Frames + BlockFrames - 1) / BlockFrames];
        }

        if (_coarse.Count == 0 && TrySet(from, to, protection))
            return;
        for (int block = from / BlockFrames; block <= (to - 1) / BlockFrames; block++)
        {
            int first = Math.Max(from, block * BlockFrames), end = Math.Min(to, EndOf(block));
            if (!_isCoarse![block] && !TrySet(first, end, protection))
                MakeCoarse(block);
        }
    }

    /// <summary>False: too many ranges; nothing has changed.</summary>
    private bool TrySet(int from, int to, MemoryProtection protection)
    {
        Span<MemoryProtection> inForce = _inForce;
        int before = CountRanges(from, to);
        int after = (from > 0 && Splits(inForce[from - 1], protection) ? 1 : 0) + (to < Frames && Splits(inForce[to], protection) ? 1 : 0);
        if (!budget.TryTake(after - before))
            return false;
        try
        {
            Apply(from, to, protection, wasClosed: inForce[from..to].Contains(MemoryProtection.None));
        }
        catch (LinuxException refused) when (refused.Errno == Errno.NoMemory)
        {
            budget.Take(before - after);
            return false;
        }

        inForce[from..to].Fill(protection);
        _ranges += after - before;
        return true;
    }

    private MemoryProtection RangeOf(MemoryProtection protection) =>
        protection == MemoryProtection.Read && !protector.SplitsWrites ? MemoryProtection.ReadWrite : protection;

    private bool Splits(MemoryProtection left, MemoryProtection right) => RangeOf(left) != RangeOf(right);

    // Places within or at the ends of a run where neighbours are memory ranges of their own.
    private int CountRanges(int from, int to)
    {
        ReadOnlySpan<MemoryProtection> inForce = _inForce;
        int count = 0;
        for (int frame = Math.Max(from, 1); frame <= Math.Min(to, Frames - 1); frame++)
            count += Splits(inForce[frame], inForce[frame - 1]) ? 1 : 0;
        return count;
    }

    private void MakeCoarse(int block)
    {
        if (_coarse.Count == 0)
            logger.ProtectionIsCoarse(new Gfn(slot.First.Value + (ulong)(block * BlockFrames)).Address, budget.Used);
        _coarse.Push(block);
        _isCoarse![block] = true;
        CloseBlock(block);
    }

    private void CloseBlock(int block)
    {
        try
        {
            CloseRun(block * BlockFrames, EndOf(block));
        }
        catch (LinuxException refused) when (refused.Errno == Errno.NoMemory)
        {
            // Not even that: one range for everything is always possible.
            CloseRun(0, Frames);
            Array.Fill(_isCoarse!, true);
            _coarse.Clear();
            for (int each = 0; each < _isCoarse!.Length; each++)
                _coarse.Push(each);
        }
    }

    private void CloseRun(int from, int to)
    {
        Apply(from, to, MemoryProtection.None, wasClosed: true);
        int before = CountRanges(from, to);
        _inForce.AsSpan(from..to).Clear(); // inaccessible
        int grown = CountRanges(from, to) - before;
        budget.Take(grown);
        _ranges += grown;
    }

    private bool TryRefine(int block)
    {
        int from = block * BlockFrames, to = EndOf(block), runs = 0;
        ForEachRun(from, to, frame => RangeOf(Wanted(frame)), (_, _, _) => runs++);
        if (!budget.HasRoom(runs))
            return false;
        bool isDone = true;
        ForEachRun(from, to, Wanted, (first, end, protection) => isDone = isDone && TrySet(first, end, protection));
        if (isDone)
            _isCoarse![block] = false;
        else
            CloseBlock(block);
        return isDone;
    }

    private int EndOf(int block) => Math.Min((block + 1) * BlockFrames, Frames);

    private void Apply(int from, int to, MemoryProtection protection, bool wasClosed) =>
        protector.Protect((ulong)from << Gfn.PageShift, (ulong)(to - from) << Gfn.PageShift, protection, wasClosed);
}
