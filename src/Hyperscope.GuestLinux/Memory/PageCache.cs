namespace Hyperscope.GuestLinux;

/// <summary>Pages of guest-physical memory as they were when first asked for.</summary>
/// <remarks>Not safe for concurrent use. Memory is bounded: past <see cref="MaxPages"/> all pages are forgotten and read anew.</remarks>
internal sealed class PageCache(IPhysicalMemory memory)
{
    /// <summary>64 MiB.</summary>
    public const int MaxPages = 16384;

    private readonly Dictionary<ulong, byte[]?> _pages = []; // by gfn; null: there is no memory
    private readonly List<ulong> _missing = [];

    /// <summary>Where the pages come from.</summary>
    public IPhysicalMemory Memory => memory;

    /// <summary>A page that was read before.</summary>
    public bool TryGet(ulong gfn, out byte[]? page) => _pages.TryGetValue(gfn, out page);

    /// <summary>A page; null if there is no memory.</summary>
    public ValueTask<byte[]?> GetAsync(ulong gfn, CancellationToken cancellation) =>
        _pages.TryGetValue(gfn, out byte[]? page) ? new ValueTask<byte[]?>(page) : LoadAsync(gfn, cancellation);

    /// <summary>Reads the pages that are not here yet, all at once.</summary>
    public async ValueTask PrefetchAsync(IEnumerable<ulong> gfns, CancellationToken cancellation)
    {
        _missing.Clear();
        foreach (ulong gfn in gfns)
        {
            if (!_pages.ContainsKey(gfn))
                _missing.Add(gfn);
        }

        if (_missing.Count == 0)
            return;
        ulong[] wanted = [.. _missing.Distinct()];
        Trim(wanted.Length);
        var pages = new byte[wanted.Length][];
        var reads = new ValueTask<int>[wanted.Length];
        for (int i = 0; i < wanted.Length; i++)
        {
            pages[i] = GC.AllocateUninitializedArray<byte>(Gfn.PageSize);
            reads[i] = memory.TryReadAsync(new Gfn(wanted[i]).Address, pages[i], cancellation);
        }

        System.Runtime.ExceptionServices.ExceptionDispatchInfo? failure = null;
        for (int i = 0; i < wanted.Length; i++)
        {
            try
            {
                _pages[wanted[i]] = await reads[i].ConfigureAwait(false) == Gfn.PageSize ? pages[i] : null;
            }
            catch (Exception caught)
            {
                failure ??= System.Runtime.ExceptionServices.ExceptionDispatchInfo.Capture(caught);
            }
        }

        failure?.Throw();
    }

    private async ValueTask<byte[]?> LoadAsync(ulong gfn, CancellationToken cancellation)
    {
        byte[]? page = GC.AllocateUninitializedArray<byte>(Gfn.PageSize);
        int read = gfn < 1UL << 40 ? await memory.TryReadAsync(new Gfn(gfn).Address, page, cancellation).ConfigureAwait(false) : 0;
        if (read != Gfn.PageSize)
            page = null;
        Trim(1);
        _pages[gfn] = page;
        return page;
    }

    private void Trim(int incoming)
    {
        if (_pages.Count + incoming > MaxPages)
            _pages.Clear();
    }
}
