using Hyperscope.LinuxHost;
using Hyperscope.Vm;
using Microsoft.Extensions.Logging;

namespace Hyperscope.Kvm;

/// <summary>What the kernel's VM sees of guest memory: each slot mapped a second time, with host protections that follow the access map.</summary>
/// <remarks>Write denied: the page is read-only. Read or execute denied: it is inaccessible, for hardware cannot express less; an access that
/// is allowed then stops the vCPU too and is carried out silently. The software's own view is never protected.</remarks>
internal sealed class GuestView : IPageTrackSubscriber, IDisposable
{
    private readonly Lock _gate = new(); // after AccessMap.WriterLock
    private readonly KvmVm _vm;
    private readonly GuestMemory _memory;
    private readonly AccessMap _map;
    private readonly RangeBudget _budget;
    private readonly UserFaultFd? _writes;
    private readonly ILogger _logger;
    private readonly List<ProtectedMapping> _mapped = [];
    private readonly List<ulong> _changes = []; // frames
    private volatile bool _hasChanges;
    private bool _isLifted;
    private uint _nextSlot;

    /// <param name="vm">Whose memory it is.</param>
    /// <param name="memory">The slots.</param>
    /// <param name="map">What the guest may do.</param>
    /// <param name="budget">Memory ranges that protections may take.</param>
    /// <param name="writes">For what may not be written, disposed after this; null: mprotect does that too.</param>
    /// <param name="logger">Where decisions go.</param>
    public GuestView(KvmVm vm, GuestMemory memory, AccessMap map, RangeBudget budget, UserFaultFd? writes, ILogger logger)
    {
        _vm = vm;
        _memory = memory;
        _map = map;
        _budget = budget;
        _writes = writes;
        _logger = logger;
        memory.PageTracker.Subscribe(this);
        foreach (MemorySlot slot in memory.Slots)
            SlotCreated(slot);
        map.Changed += Note;
    }

    /// <summary>Rights changed and protections have not followed. Nobody waits for rights that were only extended: until then, what they allow is
    /// stopped and carried out silently.</summary>
    public bool HasChanges => _hasChanges;

    /// <summary>Blocks of frames that are closed as a whole for want of memory ranges.</summary>
    public int CoarseBlocks
    {
        get
        {
            lock (_gate)
                return _mapped.Sum(static mapped => mapped.CoarseBlocks);
        }
    }

    /// <summary>The access map changed: protections follow with <see cref="Apply"/>.</summary>
    private void Note(Gfn? gfn, PageAccess access)
    {
        lock (_gate)
        {
            _hasChanges = true;
            if (gfn is { } frame)
            {
                _changes.Add(frame.Value);
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
            _hasChanges = false;
            if (_isLifted)
            {
                _isLifted = false;
                foreach (ProtectedMapping mapped in _mapped)
                    mapped.Lift();
            }

            // Neighbours that are to be alike are one call.
            _changes.Sort();
            for (int first = 0; first < _changes.Count;)
            {
                int last = first;
                MemoryProtection protection = ProtectedMapping.Wanted(_map, _changes[first]);
                while (last + 1 < _changes.Count && _changes[last + 1] - _changes[last] <= 1 && ProtectedMapping.Wanted(_map, _changes[last + 1]) == protection)
                    last++;
                foreach (ProtectedMapping mapped in _mapped)
                    mapped.Protect(_changes[first], _changes[last] + 1, protection);
                first = last + 1;
            }

            _changes.Clear();
            foreach (ProtectedMapping mapped in _mapped)
                mapped.Refine();
        }
    }

    /// <summary>Opens everything; the caller makes sure that no other vCPU runs, and calls <see cref="Close"/>.</summary>
    public void Open()
    {
        lock (_gate)
        {
            foreach (ProtectedMapping mapped in _mapped)
                mapped.Open();
        }
    }

    /// <summary>Undoes <see cref="Open"/>.</summary>
    public void Close()
    {
        lock (_gate)
        {
            foreach (ProtectedMapping mapped in _mapped)
                mapped.Close();
        }
    }

    /// <summary>Where the guest's view of a frame is in this process; 0: no memory.</summary>
    public nint AddressOf(Gfn gfn)
    {
        lock (_gate)
        {
            ProtectedMapping? mapped = _mapped.Find(candidate => candidate.Slot.Contains(gfn));
            return mapped is null ? 0 : mapped.Mapping.Address + (nint)((gfn.Value - mapped.Slot.First.Value) << Gfn.PageShift);
        }
    }

    public PageTrackVerdict BeforeAccess(IVcpu vcpu, in PageTrackAccess access) => PageTrackVerdict.Allow;

    public void SlotCreated(MemorySlot slot)
    {
        lock (_gate)
        {
            var mapped = new ProtectedMapping(slot, _nextSlot++, _map, CreateProtector(slot), _budget, _logger);
            _mapped.Add(mapped);
            if (_map.RestrictedFrames != 0 || _map.WatchedFrames != 0)
                mapped.ProtectAll();
            _vm.SetMemory(mapped.Number, slot.First.Address, mapped.Mapping.Length, mapped.Mapping.Address, slot.IsReadOnly);
        }
    }

    private IProtector CreateProtector(MemorySlot slot)
    {
        MemoryMapping mapping = slot.MapAgain();
        try
        {
            if (_writes is not null && UserfaultProtector.TryCreate(_writes, mapping) is { } protector)
                return protector;
        }
        catch
        {
            mapping.Dispose();
            throw;
        }

        if (_writes is not null)
            _logger.MemoryIsNotShared(slot.First.Address);
        return new MprotectProtector(mapping);
    }

    public void SlotFlushed(MemorySlot slot)
    {
        lock (_gate)
        {
            int index = _mapped.FindIndex(other => other.Slot == slot);
            if (index < 0)
                return;
            ProtectedMapping mapped = _mapped[index];
            _mapped.RemoveAt(index);
            _vm.SetMemory(mapped.Number, slot.First.Address, 0, 0, isReadOnly: false);
            mapped.Dispose();
        }
    }

    public void Dispose()
    {
        _map.Changed -= Note;
        _memory.PageTracker.Unsubscribe(this);
        lock (_gate)
        {
            foreach (ProtectedMapping mapped in _mapped)
                mapped.Dispose();
            _mapped.Clear();
        }
    }
}
