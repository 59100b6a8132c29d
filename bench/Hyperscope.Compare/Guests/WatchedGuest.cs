using System.Diagnostics;
using Hyperscope.Kvm;

namespace Hyperscope.Compare.Guests;

/// <summary>A bare guest on the KVM back end that writes to a page it may not write to, and is allowed to each time.</summary>
internal sealed class WatchedGuest : IPageTrackSubscriber, IDisposable
{
    private readonly KvmGuest _guest;
    private int _left;

    public WatchedGuest(ProtectionMethod method = ProtectionMethod.Auto)
    {
        _guest = new KvmGuest(1UL << 40, method);
        _guest.Restrict(this);
    }

    /// <summary>Seconds for some events.</summary>
    public double Run(int events)
    {
        _left = events;
        long start = Stopwatch.GetTimestamp();
        _ = _guest.Vcpu.Run();
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    public PageTrackVerdict BeforeAccess(IVcpu vcpu, in PageTrackAccess access)
    {
        if (--_left == 0)
            _guest.Vcpu.RequestStop();
        return PageTrackVerdict.Allow;
    }

    public void SlotCreated(MemorySlot slot)
    {
    }

    public void SlotFlushed(MemorySlot slot)
    {
    }

    public void Dispose() => _guest.Dispose();
}
