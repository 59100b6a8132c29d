namespace Hyperscope.Vm;

/// <summary>The views of one VM. View 0 is always there.</summary>
public sealed class ViewTable
{
    /// <summary>Views that can exist at a time, view 0 among them. As many as a processor has room for in its list.</summary>
    public const int MaxViews = 512;

    /// <summary>Frames that all views together can back by others.</summary>
    public const int MaxRemaps = 1 << 18;

    private readonly Lock _gate = new(); // innermost
    private readonly View?[] _views = new View?[MaxViews];
    private int _remaps;

    /// <summary>Makes a table with view 0.</summary>
    public ViewTable() => _views[0] = Main = new View(this, 0);

    /// <summary>View 0.</summary>
    public View Main { get; }

    /// <summary>What watches of all views may use of memory.</summary>
    public WatchBudget Watches { get; } = new();

    /// <summary>Number of views.</summary>
    public int Count
    {
        get
        {
            lock (_gate)
                return _views.Count(static view => view is not null);
        }
    }

    /// <summary>Finds a view by its number.</summary>
    public View? Find(ushort index) => index < MaxViews ? Volatile.Read(ref _views[index]) : null;

    /// <summary>Every view.</summary>
    public View[] ToArray()
    {
        lock (_gate)
            return [.. _views.OfType<View>()];
    }

    /// <summary>Makes a view in which memory is plain; null: there are <see cref="MaxViews"/> already.</summary>
    public View? TryCreate()
    {
        lock (_gate)
        {
            int index = Array.IndexOf(_views, null);
            if (index < 0)
                return null;
            var view = new View(this, (ushort)index);
            Volatile.Write(ref _views[index], view);
            return view;
        }
    }

    /// <summary>Destroys a view.</summary>
    /// <returns>False: it is view 0, or a vCPU is in it.</returns>
    public bool TryDestroy(View view)
    {
        lock (_gate)
        {
            if (view.Index == 0 || view.Users != 0)
                return false;
            if (view.IsDestroyed)
                return true;
            view.IsDestroyed = true;
            Volatile.Write(ref _views[view.Index], null);
        }

        lock (view.AccessMap.WriterLock)
            view.Clear();
        return true;
    }

    /// <summary>Notes that a vCPU goes from one view to another; false, with nothing changed, if that was destroyed.</summary>
    public bool TryMove(View from, View to)
    {
        lock (_gate)
        {
            if (to.IsDestroyed)
                return false;
            from.Users--;
            to.Users++;
            return true;
        }
    }

    /// <summary>Makes memory plain in all views. vCPUs stay where they are.</summary>
    public void Clear()
    {
        foreach (View view in ToArray())
        {
            lock (view.AccessMap.WriterLock)
                view.Clear();
        }
    }

    /// <summary>Destroys every view that no vCPU is in.</summary>
    public void DestroyUnused()
    {
        foreach (View view in ToArray())
            _ = TryDestroy(view);
    }

    internal bool TryTakeRemap()
    {
        if (Interlocked.Increment(ref _remaps) <= MaxRemaps)
            return true;
        ReturnRemaps(1);
        return false;
    }

    internal void ReturnRemaps(int count) => Interlocked.Add(ref _remaps, -count);
}
