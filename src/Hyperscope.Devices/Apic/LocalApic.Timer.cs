using Hyperscope.Vm;
using static Hyperscope.Devices.ApicRegister;

namespace Hyperscope.Devices;

// The timer: one-shot and periodic count at 1 GHz divided as configured, so a count shifted left is nanoseconds.
// Deviation: a periodic timer interrupts at most every 100 us; its current count is right all the same.
public sealed partial class LocalApic
{
    private const long ShortestWait = 100_000;

    private readonly IGuestClock _clock;
    private readonly ITimeStampCounter _tsc;
    private readonly IGuestTimer _timer;
    private uint _initialCount;
    private uint _divideConfiguration;
    private long _timerDeadline;
    private bool _timerRuns;
    private ulong _tscDeadline;

    /// <summary>To be called after the vCPU's time-stamp counter jumped.</summary>
    public void OnTimeStampCounterChanged()
    {
        lock (_gate)
        {
            if (_tscDeadline != 0)
                ArmDeadline();
        }
    }

    private uint TimerMode => LocalVector(LocalTimer) & TimerModeMask;

    private int DivideShift => (int)(((_divideConfiguration & 3) | ((_divideConfiguration & 8) >> 1)) + 1) & 7;

    private long Period => (long)_initialCount << DivideShift;

    private void ResetTimer()
    {
        _initialCount = 0;
        _divideConfiguration = 0;
        StopTimer();
    }

    private void StopTimer()
    {
        _timerRuns = false;
        _tscDeadline = 0;
        _timer.Arm(null);
    }

    private void WriteInitialCount(uint value)
    {
        if (TimerMode == TimerDeadline)
            return;
        _initialCount = value;
        _timerRuns = value != 0;
        _timerDeadline = _clock.Now + Period;
        _timer.Arm(_timerRuns ? _timerDeadline : null);
    }

    private uint ReadCurrentCount()
    {
        if (!_timerRuns)
            return 0;
        long left = _timerDeadline - _clock.Now;
        if (left <= 0)
            left = TimerMode == TimerPeriodic ? Period - (-left % Period) : 0;
        return (uint)((left + (1L << DivideShift) - 1) >> DivideShift);
    }

    private void WriteDivideConfiguration(uint value)
    {
        uint left = ReadCurrentCount();
        _divideConfiguration = value & 0xb;
        if (!_timerRuns)
            return;
        _timerDeadline = _clock.Now + ((long)left << DivideShift);
        _timer.Arm(_timerDeadline);
    }

    private void OnTimerModeChanged(uint before)
    {
        if (before == TimerDeadline || TimerMode == TimerDeadline)
            StopTimer();
    }

    private void WriteTscDeadline(ulong value)
    {
        if (TimerMode != TimerDeadline)
            return;
        _tscDeadline = value;
        if (value == 0)
            _timer.Arm(null);
        else
            ArmDeadline();
    }

    private void ArmDeadline()
    {
        ulong now = _tsc.Value;
        UInt128 wait = _tscDeadline <= now ? 0
            : (((UInt128)(_tscDeadline - now) * 1_000_000_000) + _tsc.Frequency - 1) / _tsc.Frequency;
        long start = _clock.Now;
        _timer.Arm(wait < (ulong)(long.MaxValue - start) ? start + (long)wait : null);
    }

    private void OnTimer()
    {
        lock (_gate)
        {
            if (_tscDeadline != 0)
                OnDeadlineTimer();
            else if (_timerRuns)
                OnCountTimer();
        }

        Leave();
    }

    private void OnDeadlineTimer()
    {
        if (_tsc.Value < _tscDeadline)
        {
            ArmDeadline();
            return;
        }

        _tscDeadline = 0;
        DeliverLocal(LocalTimer);
    }

    private void OnCountTimer()
    {
        long now = _clock.Now;
        if (now < _timerDeadline)
        {
            _timer.Arm(_timerDeadline);
            return;
        }

        if (TimerMode == TimerPeriodic)
        {
            _timerDeadline += ((now - _timerDeadline) / Period * Period) + Period;
            _timer.Arm(Math.Max(_timerDeadline, now + ShortestWait));
        }
        else
        {
            _timerRuns = false;
        }

        DeliverLocal(LocalTimer);
    }
}
