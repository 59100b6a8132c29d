using Hyperscope.Vm;

namespace Hyperscope.Devices;

/// <summary>What the clocks share: a set of one-shot timers, few enough to be searched.</summary>
/// <remarks>
/// <para>Threads: any. The gate is the last lock of all in the lock order: devices arm timers while holding their own, and callbacks run
/// without it. A callback may therefore come when its owner has just re-armed or disarmed the timer; owners compare
/// <see cref="Now"/> with what they are waiting for.</para>
/// </remarks>
public abstract class GuestClock : IGuestClock
{
    private protected const long Never = long.MaxValue;

    private Timer[] _timers = [];
    private long _nextDeadline = Never;

    private protected object Gate { get; } = new();

    /// <inheritdoc/>
    public abstract long Now { get; }

    /// <summary>The earliest armed deadline in nanoseconds of guest time, or null. A halted machine without a clock that runs by itself
    /// advances to here.</summary>
    public long? NextDeadline => EarliestDeadline is var deadline && deadline == Never ? null : deadline;

    private protected long EarliestDeadline => Volatile.Read(ref _nextDeadline);

    /// <inheritdoc/>
    public IGuestTimer CreateTimer(Action callback)
    {
        var timer = new Timer(this, callback);
        lock (Gate)
            _timers = [.. _timers, timer];
        return timer;
    }

    /// <summary>Called with the gate held after the earliest deadline became earlier.</summary>
    private protected virtual void OnEarlierDeadline()
    {
    }

    /// <summary>Disarms and returns the timer that is due first, the oldest among equals. The gate is held.</summary>
    private protected Action? TakeDue(long until, out long deadline)
    {
        Timer? due = null;
        foreach (Timer timer in _timers)
        {
            if (timer.Deadline <= until && timer.Deadline < (due?.Deadline ?? Never))
                due = timer;
        }

        deadline = due?.Deadline ?? Never;
        if (due is null)
            return null;
        due.Deadline = Never;
        FindEarliest();
        return due.Callback;
    }

    private void FindEarliest()
    {
        long earliest = Never;
        foreach (Timer timer in _timers)
            earliest = Math.Min(earliest, timer.Deadline);
        Volatile.Write(ref _nextDeadline, earliest);
    }

    private sealed class Timer(GuestClock clock, Action callback) : IGuestTimer
    {
        public long Deadline { get; set; } = Never;

        public Action Callback { get; } = callback;

        public void Arm(long? deadline)
        {
            lock (clock.Gate)
            {
                long before = clock._nextDeadline;
                Deadline = deadline ?? Never;
                clock.FindEarliest();
                if (clock._nextDeadline < before)
                    clock.OnEarlierDeadline();
            }
        }

        public void Dispose()
        {
            lock (clock.Gate)
            {
                Deadline = Never;
                clock._timers = [.. clock._timers.Where(timer => timer != this)];
                clock.FindEarliest();
            }
        }
    }
}
