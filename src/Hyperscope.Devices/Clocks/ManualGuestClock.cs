namespace Hyperscope.Devices;

/// <summary>Guest time that moves only when told to, for tests and for runs whose time derives from retired instructions.</summary>
/// <remarks>One thread at a time advances; timers fire on it, in order of deadline, each with <see cref="Now"/> at its own deadline.
/// Everything else may be called from any thread.</remarks>
public sealed class ManualGuestClock : GuestClock
{
    private long _now;

    /// <inheritdoc/>
    public override long Now => Volatile.Read(ref _now);

    /// <summary>Moves time on by a number of nanoseconds, 0 or more.</summary>
    public void Advance(long nanoseconds) => AdvanceTo(checked(Now + nanoseconds));

    /// <summary>Moves time to a later point; an earlier one changes nothing. Cheap when no timer is due.</summary>
    public void AdvanceTo(long now)
    {
        while (EarliestDeadline <= now)
        {
            Action? callback;
            lock (Gate)
            {
                callback = TakeDue(now, out long deadline);
                if (callback is not null && deadline > _now)
                    Volatile.Write(ref _now, deadline);
            }

            callback?.Invoke();
        }

        if (now > _now)
            Volatile.Write(ref _now, now);
    }
}
