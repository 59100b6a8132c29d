namespace Hyperscope.Guard;

/// <summary>Which rule guards which bytes, by page. Safe from any thread.</summary>
internal sealed class RangeMap
{
    private readonly Lock _gate = new();
    private readonly Dictionary<ulong, GuardedRange[]> _pages = [];
    private readonly HashSet<GuardedRange> _all = new(ReferenceEqualityComparer.Instance);

    /// <summary>Pages that are restricted as a whole.</summary>
    public int RestrictedPages
    {
        get
        {
            lock (_gate)
                return _pages.Values.Count(static ranges => ranges.Any(static range => !range.IsWatch));
        }
    }

    public void Add(GuardedRange range)
    {
        lock (_gate)
        {
            if (!_all.Add(range))
                return;
            for (int page = 0; page < range.Pages; page++)
            {
                ulong frame = range.First.Value + (ulong)page;
                _pages[frame] = [.. _pages.GetValueOrDefault(frame, []), range];
            }
        }
    }

    public void Remove(GuardedRange range)
    {
        lock (_gate)
        {
            if (!_all.Remove(range))
                return;
            for (int page = 0; page < range.Pages; page++)
            {
                ulong frame = range.First.Value + (ulong)page;
                GuardedRange[] rest = [.. _pages.GetValueOrDefault(frame, []).Where(other => !ReferenceEquals(other, range))];
                if (rest.Length == 0)
                    _pages.Remove(frame);
                else
                    _pages[frame] = rest;
            }
        }
    }

    /// <summary>Forgets all.</summary>
    /// <returns>What there was.</returns>
    public IReadOnlyList<GuardedRange> Clear()
    {
        lock (_gate)
        {
            GuardedRange[] all = [.. _all];
            _all.Clear();
            _pages.Clear();
            return all;
        }
    }

    public bool Contains(GuardedRange range)
    {
        lock (_gate)
            return _all.Contains(range);
    }

    /// <summary>What is forbidden on a page.</summary>
    public PageAccess KindsOf(ulong frame, bool withWatches)
    {
        lock (_gate)
        {
            PageAccess kinds = PageAccess.None;
            foreach (GuardedRange range in _pages.GetValueOrDefault(frame, []))
            {
                if (withWatches || !range.IsWatch)
                    kinds |= range.Kinds;
            }

            return kinds;
        }
    }

    /// <summary>The guarded range that an access touches; the smallest, if there are several.</summary>
    /// <param name="gpa">First byte.</param>
    /// <param name="size">Bytes; 0 if not known.</param>
    /// <param name="access">The kind of access.</param>
    public GuardedRange? Find(Gpa gpa, int size, PageAccess access)
    {
        lock (_gate)
        {
            GuardedRange? best = null;
            foreach (GuardedRange range in _pages.GetValueOrDefault(gpa.Frame.Value, []))
            {
                // A page's restriction is of whole pages, of which the range may use less.
                bool isTouched = (range.Kinds & access) != 0 && (!range.IsWatch || range.Touches(gpa, size));
                if (isTouched && (best is null || range.Length < best.Length))
                    best = range;
            }

            return best;
        }
    }
}
