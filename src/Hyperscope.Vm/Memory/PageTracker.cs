namespace Hyperscope.Vm;

/// <summary>A party that wants to know of accesses to restricted frames before they happen, and of slots that come and go.</summary>
/// <remarks>The access methods run on the vCPU's own thread, at an instruction boundary: nothing of the instruction has happened yet.
/// Source: kvmi-abi.md 5.2 and 5.3.</remarks>
public interface IPageTrackSubscriber
{
    /// <summary>Before an access to a frame whose rights deny it.</summary>
    PageTrackVerdict BeforeAccess(IVcpu vcpu, in PageTrackAccess access);

    /// <summary>A slot was added or moved into place.</summary>
    void SlotCreated(MemorySlot slot);

    /// <summary>A slot was removed or moved away.</summary>
    void SlotFlushed(MemorySlot slot);
}

/// <summary>One access: a preread, prewrite or preexec hook's arguments.</summary>
/// <param name="gva">Linear address of the first byte, or <see cref="Vm.Gva.Unknown"/>.</param>
/// <param name="gpa">Guest-physical address of the first byte.</param>
/// <param name="kind">Exactly one of Read, Write, Execute.</param>
/// <param name="length">Bytes, all on one page.</param>
/// <param name="newData">For a write: what is about to be stored, where the back end knows it; otherwise empty.</param>
/// <param name="answer">Where a subscriber can say more than a verdict; null: the back end cannot do more.</param>
public readonly ref struct PageTrackAccess(
    Gva gva, Gpa gpa, PageAccess kind, int length, ReadOnlySpan<byte> newData, PageTrackAnswer? answer = null)
{
    /// <summary>Linear address of the first byte, or <see cref="Vm.Gva.Unknown"/>.</summary>
    public Gva Gva { get; } = gva;

    /// <summary>Guest-physical address of the first byte.</summary>
    public Gpa Gpa { get; } = gpa;

    /// <summary>Exactly one of Read, Write, Execute.</summary>
    public PageAccess Kind { get; } = kind;

    /// <summary>Bytes touched, all on one page.</summary>
    public int Length { get; } = length;

    /// <summary>What a write is about to store, where known.</summary>
    public ReadOnlySpan<byte> NewData { get; } = newData;

    /// <summary>Where a subscriber can say more than <see cref="PageTrackVerdict.Allow"/>; null: the back end cannot do more.</summary>
    public PageTrackAnswer? Answer { get; } = answer;
}

/// <summary>What comes with the verdict <see cref="PageTrackVerdict.Allow"/>. Belongs to the vCPU and is empty when a subscriber is asked.</summary>
public sealed class PageTrackAnswer
{
    /// <summary>The most bytes that an answer can bring.</summary>
    public const int MaxData = 256;

    private readonly byte[] _data = new byte[MaxData];
    private int _length;

    /// <summary>Linear address of the first byte of <see cref="Data"/>.</summary>
    public Gva Address { get; private set; }

    /// <summary>What a read or an instruction fetch sees, or a write stores, at these addresses instead of its own; bytes outside of the
    /// access do not matter.</summary>
    public ReadOnlySpan<byte> Data => _data.AsSpan(0, _length);

    /// <summary>A write is not carried out: the instruction retires, and no byte of this access of it reaches memory.</summary>
    public bool IsDiscard { get; private set; }

    /// <summary>Nothing was said.</summary>
    public bool IsEmpty => _length == 0 && !IsDiscard;

    /// <summary>Sets <see cref="Address"/> and <see cref="Data"/>.</summary>
    /// <exception cref="ArgumentOutOfRangeException">More than <see cref="MaxData"/> bytes.</exception>
    public void Supply(Gva address, ReadOnlySpan<byte> data)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(data.Length, MaxData, nameof(data));
        Address = address;
        data.CopyTo(_data);
        _length = data.Length;
    }

    /// <summary>Sets <see cref="IsDiscard"/>.</summary>
    public void Discard() => IsDiscard = true;

    /// <summary>Empties it.</summary>
    public void Clear()
    {
        _length = 0;
        IsDiscard = false;
    }
}

/// <summary>What becomes of an access. Where subscribers disagree the larger value wins.</summary>
public enum PageTrackVerdict
{
    /// <summary>Carry it out in spite of the restriction, which stays.</summary>
    Allow,

    /// <summary>Abandon the instruction without effect and execute it again.</summary>
    Retry,

    /// <summary>The VM is being stopped; do not go on.</summary>
    Stop,
}

/// <summary>The page-track hooks of one VM: any number of subscribers, all of them called each time.</summary>
public sealed class PageTracker
{
    private readonly Lock _gate = new();
    private readonly VcpuCounter _passed = new(), _asked = new();
    private IPageTrackSubscriber[] _subscribers = [];

    /// <summary>Accesses that took the slow path because bytes on their page are watched, touched none of them, and went on without anybody
    /// being asked. An access that is checked and then made counts each time.</summary>
    public long Passed => _passed.Sum;

    /// <summary>Accesses that subscribers were asked about.</summary>
    public long Asked => _asked.Sum;

    /// <summary>Counts an access for <see cref="Passed"/>. On the vCPU's thread.</summary>
    public void CountPassed(VcpuIndex vcpu) => _passed.Increment(vcpu);

    /// <summary>Adds a subscriber.</summary>
    public void Subscribe(IPageTrackSubscriber subscriber)
    {
        lock (_gate)
            Volatile.Write(ref _subscribers, [.. _subscribers, subscriber]);
    }

    /// <summary>Removes a subscriber; a call already under way on another thread may still reach it.</summary>
    public void Unsubscribe(IPageTrackSubscriber subscriber)
    {
        lock (_gate)
            Volatile.Write(ref _subscribers, [.. _subscribers.Where(other => !ReferenceEquals(other, subscriber))]);
    }

    /// <summary>Asks every subscriber, even after one said no.</summary>
    public PageTrackVerdict BeforeAccess(IVcpu vcpu, in PageTrackAccess access)
    {
        _asked.Increment(vcpu.Index);
        var verdict = PageTrackVerdict.Allow;
        foreach (IPageTrackSubscriber subscriber in Volatile.Read(ref _subscribers))
        {
            PageTrackVerdict one = subscriber.BeforeAccess(vcpu, access);
            if (one > verdict)
                verdict = one;
        }

        return verdict;
    }

    internal void CreateSlot(MemorySlot slot)
    {
        foreach (IPageTrackSubscriber subscriber in Volatile.Read(ref _subscribers))
            subscriber.SlotCreated(slot);
    }

    internal void FlushSlot(MemorySlot slot)
    {
        foreach (IPageTrackSubscriber subscriber in Volatile.Read(ref _subscribers))
            subscriber.SlotFlushed(slot);
    }
}
