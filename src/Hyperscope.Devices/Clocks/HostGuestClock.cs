using System.Diagnostics;

namespace Hyperscope.Devices;

/// <summary>Guest time that follows the host's monotonic clock. One thread waits for the earliest timer and runs all callbacks.</summary>
/// <remarks>A timer may be late by up to a millisecond, the resolution of a wait; never early. Time stands still between
/// <see cref="Pause"/> and <see cref="Resume"/>.</remarks>
public sealed class HostGuestClock : GuestClock, IDisposable
{
    private readonly Thread _thread;

    // Guards the three fields below; taken last, after the base class's gate.
    private readonly Lock _baseGate = new();
    private long _base;
    private long _resumedAt;
    private bool _running = true;

    // Guarded by the base class's gate.
    private bool _closing;

    /// <summary>Starts at 0, running.</summary>
    public HostGuestClock()
    {
        _resumedAt = Stopwatch.GetTimestamp();
        _thread = new Thread(Run) { IsBackground = true, Name = "guest timers" };
        _thread.Start();
    }

    /// <inheritdoc/>
    public override long Now
    {
        get
        {
            lock (_baseGate)
                return _base + (_running ? NanosecondsSince(_resumedAt) : 0);
        }
    }

    /// <summary>Stops time and timers.</summary>
    public void Pause()
    {
        lock (_baseGate)
        {
            if (!_running)
                return;
            _base += NanosecondsSince(_resumedAt);
            _running = false;
        }
    }

    /// <summary>Lets time go on from where it stopped.</summary>
    public void Resume()
    {
        lock (_baseGate)
        {
            if (_running)
                return;
            _resumedAt = Stopwatch.GetTimestamp();
            _running = true;
        }

        Wake();
    }

    /// <summary>Moves guest time ahead of the host's, to a later point; how a halted machine skips idle time.</summary>
    public void SkipTo(long now)
    {
        lock (_baseGate)
        {
            long current = _base + (_running ? NanosecondsSince(_resumedAt) : 0);
            if (now <= current)
                return;
            _base += now - current;
        }

        Wake();
    }

    /// <summary>Ends the thread; a running callback is waited for. Timers can still be armed but never fire.</summary>
    public void Dispose()
    {
        lock (Gate)
        {
            _closing = true;
            Monitor.PulseAll(Gate);
        }

        if (Thread.CurrentThread != _thread)
            _thread.Join();
    }

    private protected override void OnEarlierDeadline() => Monitor.PulseAll(Gate);

    private static long NanosecondsSince(long timestamp) => Stopwatch.GetElapsedTime(timestamp).Ticks * 100;

    private void Wake()
    {
        lock (Gate)
            Monitor.PulseAll(Gate);
    }

    private void Run()
    {
        while (true)
        {
            Action? callback;
            lock (Gate)
            {
                if (_closing)
                    return;
                long now = Now;
                callback = TakeDue(now, out _);
                if (callback is null)
                {
                    bool running;
                    lock (_baseGate)
                        running = _running;
                    Monitor.Wait(Gate, running ? WaitMilliseconds(EarliestDeadline, now) : Timeout.Infinite);
                    continue;
                }
            }

            callback();
        }
    }

    private static int WaitMilliseconds(long deadline, long now)
    {
        if (deadline == Never)
            return Timeout.Infinite;
        long milliseconds = (deadline - now + 999_999) / 1_000_000;
        return (int)Math.Clamp(milliseconds, 1, int.MaxValue);
    }
}
