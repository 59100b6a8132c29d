using System.Collections.Concurrent;

namespace Hyperscope.Vm;

/// <summary>One way to see guest-physical memory: rights and watches of its own, and frames that are backed by others.</summary>
/// <remarks>Each vCPU is in one view at a time. A view holds only what differs from plain memory, so an empty one costs some hundred
/// bytes. Safe on any thread; changes are made by whoever holds <see cref="AccessMap.WriterLock"/> of <see cref="AccessMap"/>.</remarks>
public sealed class View
{
    private readonly ViewTable _table;
    private ConcurrentDictionary<ulong, ulong>? _remaps;

    internal View(ViewTable table, ushort index)
    {
        _table = table;
        Index = index;
        AccessMap = new AccessMap(table.Watches);
    }

    /// <summary>Its number; 0 is the view that vCPUs start in.</summary>
    public ushort Index { get; }

    /// <summary>Rights and watches, by guest frame.</summary>
    public AccessMap AccessMap { get; }

    /// <summary>Number of frames that are backed by others.</summary>
    public int RemappedFrames => Volatile.Read(ref _remaps)?.Count ?? 0;

    /// <summary>It was destroyed; its number may be another view's by now.</summary>
    public bool IsDestroyed { get; internal set; }

    internal int Users { get; set; }

    /// <summary>The frame whose memory is seen at a frame.</summary>
    public ulong Backing(ulong gfn) =>
        Volatile.Read(ref _remaps) is { } remaps && remaps.TryGetValue(gfn, out ulong other) ? other : gfn;

    /// <summary>The same for an address.</summary>
    public Gpa Backing(Gpa gpa) => new((Backing(gpa.Frame.Value) << Gfn.PageShift) | (uint)gpa.PageOffset);

    /// <summary>Shows the memory of <paramref name="backing"/> at <paramref name="gfn"/>; the frame itself ends that. Rights and watches stay with
    /// the guest frame. Cached translations are the caller's affair.</summary>
    /// <returns>False, with nothing changed, above <see cref="ViewTable.MaxRemaps"/>.</returns>
    public bool TryRemap(Gfn gfn, Gfn backing)
    {
        if (gfn == backing)
        {
            if (_remaps is { } present && present.TryRemove(gfn.Value, out _))
            {
                _table.ReturnRemaps(1);
                if (present.IsEmpty)
                    Volatile.Write(ref _remaps, null);
            }

            return true;
        }

        ConcurrentDictionary<ulong, ulong> remaps = _remaps ?? new(concurrencyLevel: 1, capacity: 31);
        if (!remaps.ContainsKey(gfn.Value) && !_table.TryTakeRemap())
            return false;
        remaps[gfn.Value] = backing.Value;
        Volatile.Write(ref _remaps, remaps);
        return true;
    }

    /// <summary>Back to plain memory. The caller holds <see cref="AccessMap.WriterLock"/> of <see cref="AccessMap"/>.</summary>
    public void Clear()
    {
        AccessMap.Clear();
        _table.ReturnRemaps(RemappedFrames);
        Volatile.Write(ref _remaps, null);
    }

    /// <inheritdoc/>
    public override string ToString() => $"view {Index}";
}
