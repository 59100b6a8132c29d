using Hyperscope.LinuxHost;
using Hyperscope.Vm;
using Microsoft.Extensions.Logging;

namespace Hyperscope.Kvm;

/// <summary>What the kernel's VM sees of guest memory: each slot mapped a second time, with host protections that follow the access map.</summary>
/// <remarks>Write denied: the page is read-only. Read or execute denied: it is inaccessible, for hardware cannot express less; an access that
/// is allowed then stops the vCPU too and is carried out silently. The software's own view is never protected.</remarks>
internal sealed class GuestView : IPageTrackSubscriber, IDisposable
{
    // How far a protection reaches when the process has no room for more differing ranges.
    private const ulong CoarseFrames = 512;

    private readonly Lock _gate = new(); // after AccessMap.WriterLock
    private readonly KvmVm _vm;
    private readonly GuestMemory _memory;
    private readonly AccessMap _map;
    private readonly ILogger _logger;
    private readonly List<Mapped> _mapped = [];
    private readonly List<(ulong Frame, PageAccess Access)> _changes = [];
    private bool _isLifted;
    private uint _nextSlot;

    private sealed record Mapped(MemorySlot Slot, uint Number, MemoryMapping Mapping);

    public GuestView(KvmVm vm, GuestMemory memory, AccessMap map, ILogger logger)
    {
        _vm = vm;
        _memory = memory;
        _map = map;
        _logger = logger;
        memory.PageTracker.Subscribe(this);
        foreach (MemorySlot slot in memory.Slots)
            SlotCreated(slot);
        map.Changed += Note;
    }

    /// <summary>The access map changed: protections follow with <see cref="Apply"/>.</summary>
    private void Note(Gfn? gfn, PageAccess access)
    {
        lock (_gate)
        {
            if (gfn is { } frame)
            {
                _changes.Add((frame.Value, access));
            }
            else
            {
                _changes.Clear();
                _isLifted = true;
            }
        }
    }

    /// <summary>Makes protections what the access map says. Returns when no vCPU can make an access that is denied.</summary>
    public void Apply()
    {
        lock (_gate)
        {
            if (_isLifted)
            {
                _isLifted = false;
                foreach (Mapped mapped in _mapped)
                    mapped.Mapping.Protect(0, mapped.Mapping.Length, MemoryProtection.ReadWrite);
            }

            if (_changes.Count == 0)
                return;

            // Later changes of a frame win; neighbours that end up alike are one call.
            _changes.Reverse();
            List<(ulong Frame, PageAccess Access)> changes = [.. _changes.DistinctBy(static change => change.Frame).OrderBy(static change => change.Frame)];
            _changes.Clear();
            for (int first = 0; first < changes.Count;)
            {
                int last = first;
                MemoryProtection protection = ProtectionFor(changes[first].Access);
                while (last + 1 < changes.Count && changes[last + 1].Frame == changes[last].Frame + 1 && ProtectionFor(changes[last + 1].Access) == protection)
                    last++;
                Protect(changes[first].Frame, changes[last].Frame + 1, protection);
                first = last + 1;
            }
        }
    }

    /// <summary>Opens everything; the caller makes sure that no other vCPU runs, and calls <see cref="Close"/>.</summary>
    public void Open()
    {
        lock (_gate)
        {
            foreach (Mapped mapped in _mapped)
                mapped.Mapping.Protect(0, mapped.Mapping.Length, MemoryProtection.ReadWrite);
        }
    }

    /// <summary>Undoes <see cref="Open"/>.</summary>
    public void Close()
    {
        lock (_gate)
        {
            foreach (Mapped mapped in _mapped)
                ProtectRestricted(mapped);
        }
    }

    /// <summary>Where the guest's view of a frame is in this process; 0: no memory.</summary>
    public nint AddressOf(Gfn gfn)
    {
        lock (_gate)
        {
            Mapped? mapped = _mapped.Find(candidate => candidate.Slot.Contains(gfn));
            return mapped is null ? 0 : mapped.Mapping.Address + (nint)((gfn.Value - mapped.Slot.First.Value) << Gfn.PageShift);
        }
    }

    public PageTrackVerdict BeforeAccess(IVcpu vcpu, in PageTrackAccess access) => PageTrackVerdict.Allow;

    public void SlotCreated(MemorySlot slot)
    {
        lock (_gate)
        {
            var mapped = new Mapped(slot, _nextSlot++, slot.MapAgain());
            _mapped.Add(mapped);
            ProtectRestricted(mapped);
            _vm.SetMemory(mapped.Number, slot.First.Address, mapped.Mapping.Length, mapped.Mapping.Address, slot.IsReadOnly);
        }
    }

    public void SlotFlushed(MemorySlot slot)
    {
        lock (_gate)
        {
            int index = _mapped.FindIndex(other => other.Slot == slot);
            if (index < 0)
                return;
            Mapped mapped = _mapped[index];
            _mapped.RemoveAt(index);
            _vm.SetMemory(mapped.Number, slot.First.Address, 0, 0, isReadOnly: false);
            mapped.Mapping.Dispose();
        }
    }

    public void Dispose()
    {
        _map.Changed -= Note;
        _memory.PageTracker.Unsubscribe(this);
        lock (_gate)
        {
            foreach (Mapped mapped in _mapped)
                mapped.Mapping.Dispose();
            _mapped.Clear();
        }
    }

    private static MemoryProtection ProtectionFor(PageAccess access)
    {
        const PageAccess Fetch = PageAccess.Read | PageAccess.Execute;
        if ((access & Fetch) != Fetch)
            return MemoryProtection.None;
        return (access & PageAccess.Write) != 0 ? MemoryProtection.ReadWrite : MemoryProtection.Read;
    }

    private void ProtectRestricted(Mapped mapped)
    {
        if (_map.RestrictedFrames == 0 && _map.WatchedFrames == 0)
            return;
        for (ulong frame = mapped.Slot.First.Value; frame < mapped.Slot.End.Value; frame++)
        {
            PageAccess access = _map.Unhindered(new Gfn(frame));
            if (access != PageAccess.All)
                Protect(mapped, frame - mapped.Slot.First.Value, frame + 1 - mapped.Slot.First.Value, ProtectionFor(access));
        }
    }

    private void Protect(ulong first, ulong end, MemoryProtection protection)
    {
        foreach (Mapped mapped in _mapped)
        {
            ulong from = Math.Max(first, mapped.Slot.First.Value), to = Math.Min(end, mapped.Slot.End.Value);
            if (from < to)
                Protect(mapped, from - mapped.Slot.First.Value, to - mapped.Slot.First.Value, protection);
        }
    }

    private void Protect(Mapped mapped, ulong from, ulong to, MemoryProtection protection)
    {
        try
        {
            mapped.Mapping.Protect(from << Gfn.PageShift, (to - from) << Gfn.PageShift, protection);
        }
        catch (LinuxException refused) when (refused.Errno == Errno.NoMemory)
        {
            // Too many differing ranges. A coarser one is slower but right: what it stops needlessly is carried out silently.
            _logger.ProtectionIsCoarse(mapped.Slot.First.Address + (from << Gfn.PageShift));
            if (protection == MemoryProtection.ReadWrite)
                return;
            ulong coarseFrom = from / CoarseFrames * CoarseFrames, coarseTo = Math.Min((to + CoarseFrames - 1) / CoarseFrames * CoarseFrames, mapped.Slot.Frames);
            try
            {
                mapped.Mapping.Protect(coarseFrom << Gfn.PageShift, (coarseTo - coarseFrom) << Gfn.PageShift, MemoryProtection.None);
            }
            catch (LinuxException again) when (again.Errno == Errno.NoMemory)
            {
                mapped.Mapping.Protect(0, mapped.Mapping.Length, MemoryProtection.None);
            }
        }
    }
}
