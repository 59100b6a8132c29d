namespace Hyperscope.GuestLinux;

/// <summary>A range of guest-physical memory without holes.</summary>
/// <param name="Start">First byte.</param>
/// <param name="Length">Bytes, a multiple of 4096.</param>
public readonly record struct MemoryBlock(Gpa Start, ulong Length)
{
    /// <summary>One past the last byte.</summary>
    public Gpa End => Start + Length;

    /// <summary>Whether an address lies in it.</summary>
    public bool Contains(Gpa gpa) => gpa.Value >= Start.Value && gpa.Value < End.Value;
}

/// <summary>Finds out where a VM has memory.</summary>
/// <remarks>VM_QUERY_PHYSICAL tells a whole block at once. Without it, pages are tried: every one of the first 16 MiB, every 64 KiB from
/// there on, and the edges of what is found exactly.</remarks>
internal sealed class MemoryBlockFinder(IntrospectedVm vm)
{
    private const ulong DensePages = 4096, SparseStep = 16; // pages
    private const int Window = 128;

    private bool _canQuery;

    /// <summary>All blocks, in order.</summary>
    public async Task<List<MemoryBlock>> FindAsync(CancellationToken cancellation)
    {
        ulong end = (await vm.GetMaxGfnAsync(cancellation).ConfigureAwait(false)).Value;
        _canQuery = await vm.CheckCommandAsync(MessageId.VmQueryPhysical, cancellation).ConfigureAwait(false) == KvmError.None;
        var blocks = new List<MemoryBlock>();
        ulong done = 0; // pages below are known
        var probes = new List<ulong>();
        while (done < end)
        {
            probes.Clear();
            for (ulong page = done; page < end && probes.Count < Window; page = NextProbe(page))
                probes.Add(page);
            int hit = await FirstHitAsync(probes, cancellation).ConfigureAwait(false);
            if (hit < 0)
            {
                done = NextProbe(probes[^1]);
                continue;
            }

            ulong missing = hit == 0 ? done : probes[hit - 1] + 1;
            (ulong first, ulong pages) = await BlockAtAsync(probes[hit], missing, end, cancellation).ConfigureAwait(false);
            if (blocks.Count != 0 && blocks[^1].End.Value >> Gfn.PageShift >= first)
            {
                // A neighbour, or a server that contradicts itself: what was said first counts.
                ulong known = blocks[^1].End.Value >> Gfn.PageShift;
                if (first + pages > known)
                    blocks[^1] = blocks[^1] with { Length = blocks[^1].Length + (first + pages - known << Gfn.PageShift) };
            }
            else
            {
                blocks.Add(new MemoryBlock(new Gfn(first).Address, pages << Gfn.PageShift));
            }

            done = Math.Max(first + pages, probes[hit] + 1);
        }

        return blocks;
    }

    private static ulong NextProbe(ulong page) => page < DensePages ? page + 1 : (page / SparseStep + 1) * SparseStep;

    private async Task<int> FirstHitAsync(List<ulong> probes, CancellationToken cancellation)
    {
        var replies = new Task<bool>[probes.Count];
        for (int i = 0; i < replies.Length; i++)
            replies[i] = HasMemoryAsync(probes[i], cancellation);
        return Array.IndexOf(await Task.WhenAll(replies).ConfigureAwait(false), true);
    }

    private async Task<bool> HasMemoryAsync(ulong page, CancellationToken cancellation) =>
        await vm.TryReadPhysicalAsync(new Gfn(page).Address, new byte[1], cancellation).ConfigureAwait(false) == 1;

    private async Task<(ulong First, ulong Pages)> BlockAtAsync(ulong page, ulong lowest, ulong end, CancellationToken cancellation)
    {
        if (_canQuery)
        {
            VmQueryPhysicalReply block = await vm.SendAsync(new VmQueryPhysical(new Gfn(page)), cancellation).ConfigureAwait(false);
            if (block.First.Value <= page && page - block.First.Value < block.Pages && block.Pages <= end)
            {
                ulong start = Math.Max(block.First.Value, lowest);
                return (start, Math.Min(block.First.Value + block.Pages, end) - start);
            }
        }

        ulong first = await EdgeAsync(lowest, page, cancellation).ConfigureAwait(false);
        ulong last = page; // with memory
        byte[] chunk = new byte[1 << 20];
        while (last + 1 < end)
        {
            int length = (int)Math.Min((ulong)chunk.Length, (end - last - 1) << Gfn.PageShift);
            int read = await vm.TryReadPhysicalAsync(new Gfn(last + 1).Address, chunk.AsMemory(0, length), cancellation).ConfigureAwait(false);
            last += (ulong)read >> Gfn.PageShift;
            if (read != length)
                break;
        }

        return (first, last + 1 - first);
    }

    // The lowest page with memory between one that may have some and one that has.
    private async Task<ulong> EdgeAsync(ulong low, ulong high, CancellationToken cancellation)
    {
        while (low < high)
        {
            ulong middle = low + (high - low) / 2;
            if (await HasMemoryAsync(middle, cancellation).ConfigureAwait(false))
                high = middle;
            else
                low = middle + 1;
        }

        return high;
    }
}
