using Hyperscope.Vm;

namespace Hyperscope.Devices;

/// <summary>The MC146818 clock and the PC's 128 bytes of CMOS memory, 2 ports at 0x70.</summary>
/// <remarks>
/// <para>The time is UTC: a start time plus guest time. Flags in register C are worked out when somebody looks; a timer runs only
/// while an enabled interrupt is not yet raised, so a guest that does not acknowledge costs nothing.</para>
/// <para>Threads: any. Lock order: this device, then the interrupt line's controller or the clock.</para>
/// <para>Source: MC146818 data sheet; memory-size bytes as PC firmware uses them.</para>
/// </remarks>
public sealed class CmosRtc : BytePortDevice, IDisposable
{
    /// <summary>Number of ports.</summary>
    public const int PortCount = 2;

    private const int RegisterA = 10, RegisterB = 11, RegisterC = 12, RegisterD = 13;
    private const byte UpdateInProgress = 0x80, Set = 0x80, AlarmInterrupt = 0x20, UpdateInterrupt = 0x10, PeriodicInterrupt = 0x40,
        InterruptFlags = 0x70, Requested = 0x80, ValidRam = 0x80;
    private const long Second = 1_000_000_000, UpdateTime = 244_000;

    private readonly Lock _gate = new();
    private readonly IGuestClock _clock;
    private readonly IInterruptLine _line;
    private readonly IGuestTimer _timer;
    private readonly byte[] _ram = new byte[128];

    // The time was _base when guest time was _phase.
    private DateTime _base;
    private long _phase;
    private long _examined;
    private byte _index;
    private bool _nmiMasked;
    private bool _lineLevel;

    /// <summary>A clock that shows <paramref name="start"/> at guest time 0.</summary>
    public CmosRtc(IGuestClock clock, IInterruptLine line, DateTimeOffset start)
    {
        _clock = clock;
        _line = line;
        _timer = clock.CreateTimer(OnTimer);
        _base = start.UtcDateTime;
        _phase = -(_base.Ticks % TimeSpan.TicksPerSecond * 100);
        _base = _base.AddTicks(-(_base.Ticks % TimeSpan.TicksPerSecond));
        _examined = clock.Now;
        _ram[RegisterA] = 0x26;
        _ram[RegisterB] = RtcTime.Is24Hour;
        _ram[RegisterD] = ValidRam;
    }

    /// <summary>The guest masks NMI (bit 7 of port 0x70).</summary>
    public bool IsNmiMasked => Volatile.Read(ref _nmiMasked);

    /// <summary>Fills the bytes that tell firmware and kernels how much memory there is.</summary>
    /// <param name="belowFourGiB">Bytes from address 0 up, at least 1 MiB.</param>
    /// <param name="aboveFourGiB">Bytes from 4 GiB up.</param>
    public void SetMemorySize(ulong belowFourGiB, ulong aboveFourGiB)
    {
        const ulong kiB = 1024, miB = 1024 * kiB;
        ulong above1 = (belowFourGiB - Math.Min(belowFourGiB, miB)) / kiB;
        ulong above16 = (belowFourGiB - Math.Min(belowFourGiB, 16 * miB)) / (64 * kiB);
        lock (_gate)
        {
            Store(0x15, 640, 2);
            Store(0x17, Math.Min(above1, 0xffff), 2);
            Store(0x30, Math.Min(above1, 0xffff), 2);
            Store(0x34, Math.Min(above16, 0xffff), 2);
            Store(0x5b, aboveFourGiB / (64 * kiB), 3);
        }
    }

    /// <summary>Sets a byte outside the clock's registers.</summary>
    public void SetByte(int index, byte value)
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(index, RegisterD);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, _ram.Length);
        lock (_gate)
            _ram[index] = value;
    }

    /// <inheritdoc/>
    public void Dispose() => _timer.Dispose();

    /// <inheritdoc/>
    protected override byte Read(int offset)
    {
        if (offset != 1)
            return 0xff;
        lock (_gate)
        {
            int index = _index;
            switch (index)
            {
                case RegisterA:
                    return (byte)(_ram[RegisterA] | (IsUpdating ? UpdateInProgress : 0));
                case RegisterC:
                    Examine();
                    byte flags = _ram[RegisterC];
                    _ram[RegisterC] = 0;
                    UpdateLine();
                    return flags;
                default:
                    if (RtcTime.IsTimeRegister(index) && !IsStopped)
                        RtcTime.Encode(CurrentTime, _ram[RegisterB], _ram);
                    return _ram[index];
            }
        }
    }

    /// <inheritdoc/>
    protected override void Write(int offset, byte value)
    {
        if (offset is not (0 or 1))
            return;
        lock (_gate)
        {
            if (offset == 0)
            {
                _index = (byte)(value & 0x7f);
                Volatile.Write(ref _nmiMasked, (value & 0x80) != 0);
                return;
            }

            Examine();
            WriteRegister(_index, value);
            UpdateLine();
        }
    }

    private bool IsStopped => (_ram[RegisterB] & Set) != 0;

    private bool IsUpdating => !IsStopped && Second - SinceSecond(_clock.Now) <= UpdateTime;

    private DateTime CurrentTime => TimeAt(_clock.Now);

    private void WriteRegister(int index, byte value)
    {
        switch (index)
        {
            case RegisterA:
                _ram[RegisterA] = (byte)(value & ~UpdateInProgress);
                break;
            case RegisterB:
                WriteRegisterB(value);
                break;
            case RegisterC:
            case RegisterD:
                break;
            default:
                if (!RtcTime.IsTimeRegister(index) || IsStopped)
                {
                    _ram[index] = value;
                    break;
                }

                RtcTime.Encode(CurrentTime, _ram[RegisterB], _ram);
                _ram[index] = value;
                long now = _clock.Now;
                SetTime(now - SinceSecond(now));
                break;
        }
    }

    private void WriteRegisterB(byte value)
    {
        bool wasStopped = IsStopped;
        if (!wasStopped && (value & Set) != 0)
            RtcTime.Encode(CurrentTime, _ram[RegisterB], _ram);
        _ram[RegisterB] = value;
        if (wasStopped && (value & Set) == 0)
        {
            long now = _clock.Now;
            SetTime(now);
            _examined = now;
        }
    }

    private void SetTime(long phase)
    {
        _base = RtcTime.Decode(_ram, _ram[RegisterB]);
        _phase = phase;
    }

    private DateTime TimeAt(long now)
    {
        long seconds = (now - _phase) / Second;
        long most = (DateTime.MaxValue.Ticks - _base.Ticks) / TimeSpan.TicksPerSecond;
        return _base.AddSeconds(Math.Clamp(seconds, 0, most));
    }

    private long SinceSecond(long now) => (now - _phase) % Second;

    /// <summary>Raises the flags of what happened since the last look.</summary>
    private void Examine()
    {
        long now = _clock.Now;
        long before = _examined;
        _examined = now;
        byte flags = 0;
        if (PeriodShift is { } shift && PeriodicTicks(now) >> shift != PeriodicTicks(before) >> shift)
            flags |= PeriodicInterrupt;
        if (!IsStopped)
        {
            if ((now - _phase) / Second != (before - _phase) / Second)
                flags |= UpdateInterrupt;
            if (NextAlarm(before) <= now)
                flags |= AlarmInterrupt;
        }

        _ram[RegisterC] |= flags;
    }

    private void UpdateLine()
    {
        byte enabled = (byte)(_ram[RegisterB] & InterruptFlags);
        bool requested = (_ram[RegisterC] & enabled) != 0;
        _ram[RegisterC] = (byte)((_ram[RegisterC] & ~Requested) | (requested ? Requested : 0));
        _timer.Arm(requested || enabled == 0 ? null : NextInterrupt(enabled));
        if (requested == _lineLevel)
            return;
        _lineLevel = requested;
        _line.Set(requested);
    }

    private long? NextInterrupt(byte enabled)
    {
        long next = long.MaxValue;
        if ((enabled & PeriodicInterrupt) != 0 && PeriodShift is { } shift)
        {
            long tick = ((PeriodicTicks(_examined) >> shift) + 1) << shift;
            next = (tick / 32768 * Second) + (((tick % 32768 * Second) + 32767) / 32768);
        }

        if (!IsStopped)
        {
            if ((enabled & UpdateInterrupt) != 0)
                next = Math.Min(next, _examined - SinceSecond(_examined) + Second);
            if ((enabled & AlarmInterrupt) != 0)
                next = Math.Min(next, NextAlarm(_examined));
        }

        return next == long.MaxValue ? null : next;
    }

    // Rates 1 and 2 repeat 8 and 9: 256 and 128 Hz.
    private int? PeriodShift => (_ram[RegisterA] & 15) switch
    {
        0 => null,
        <= 2 and var rate => rate + 6,
        var rate => rate - 1,
    };

    private static long PeriodicTicks(long now) => (now / Second * 32768) + (now % Second * 32768 / Second);

    /// <summary>Guest time of the first alarm after a point of guest time.</summary>
    private long NextAlarm(long after)
    {
        var time = TimeAt(after);
        int seconds = RtcTime.SecondsUntilAlarm(_ram, _ram[RegisterB], (int)time.TimeOfDay.TotalSeconds);
        return seconds < 0 ? long.MaxValue : after - SinceSecond(after) + (seconds * Second);
    }

    private void OnTimer()
    {
        lock (_gate)
        {
            Examine();
            UpdateLine();
        }
    }

    private void Store(int index, ulong value, int bytes)
    {
        for (int i = 0; i < bytes; i++)
            _ram[index + i] = (byte)(value >> (8 * i));
    }
}
