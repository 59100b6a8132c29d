using Hyperscope.Vm;

namespace Hyperscope.Devices;

/// <summary>The interval timer: 4 ports at 0x40. Channel 0 drives an interrupt, channel 2 the speaker through
/// <see cref="SystemControlPort"/>.</summary>
/// <remarks>
/// <para>Deviation: channel 0 interrupts at most every 100 us; edges that fall between are lost, as in a guest that is too slow to
/// take them.</para>
/// <para>Threads: any. Lock order: this device, then the interrupt line's controller or the clock.</para>
/// </remarks>
public sealed class Pit8254 : BytePortDevice, IDisposable
{
    /// <summary>Number of ports.</summary>
    public const int PortCount = 4;

    /// <summary>Input clock in Hz.</summary>
    public const long Frequency = 1_193_182;

    private const int ControlPort = 3, SpeakerChannel = 2;
    private const long Second = 1_000_000_000, ShortestWait = 100_000;

    private readonly Lock _gate = new();
    private readonly IGuestClock _clock;
    private readonly IInterruptLine _line;
    private readonly IGuestTimer _timer;
    private readonly PitChannel[] _channels = [new(), new(), new()];
    private long _seenEdges;
    private bool _lineLevel;

    /// <summary>A timer chip whose channel 0 drives <paramref name="line"/>.</summary>
    public Pit8254(IGuestClock clock, IInterruptLine line)
    {
        _clock = clock;
        _line = line;
        _timer = clock.CreateTimer(OnTimer);
        _channels[SpeakerChannel].SetGate(false, 0);
    }

    /// <summary>The gate input of channel 2.</summary>
    public bool SpeakerGate
    {
        get
        {
            lock (_gate)
                return _channels[SpeakerChannel].Gate;
        }

        set
        {
            lock (_gate)
                _channels[SpeakerChannel].SetGate(value, Clocks);
        }
    }

    /// <summary>The output of channel 2.</summary>
    public bool SpeakerOutput
    {
        get
        {
            lock (_gate)
                return _channels[SpeakerChannel].Output(Clocks);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _timer.Dispose();

    /// <summary>Input clocks that fit in a time.</summary>
    internal static long ToClocks(long nanoseconds) =>
        (nanoseconds / Second * Frequency) + (nanoseconds % Second * Frequency / Second);

    /// <summary>The first nanosecond at which that many input clocks have passed.</summary>
    internal static long ToNanoseconds(long clocks) =>
        (clocks / Frequency * Second) + (((clocks % Frequency * Second) + Frequency - 1) / Frequency);

    /// <inheritdoc/>
    protected override byte Read(int offset)
    {
        if (offset is < 0 or >= ControlPort)
            return 0xff;
        lock (_gate)
            return _channels[offset].Read(Clocks);
    }

    /// <inheritdoc/>
    protected override void Write(int offset, byte value)
    {
        if (offset is < 0 or > ControlPort)
            return;
        lock (_gate)
        {
            long now = Clocks;
            if (offset < ControlPort)
            {
                _channels[offset].Write(value, now);
                _seenEdges = offset == 0 ? 0 : _seenEdges;
            }
            else if (value >> 6 == 3)
            {
                ReadBack(value, now);
            }
            else if ((value & 0x30) == 0)
            {
                _channels[value >> 6].LatchCount(now);
            }
            else
            {
                _channels[value >> 6].WriteControl(value);
                _seenEdges = value >> 6 == 0 ? 0 : _seenEdges;
            }

            UpdateLine();
        }
    }

    private long Clocks => ToClocks(_clock.Now);

    private void ReadBack(byte value, long now)
    {
        for (int i = 0; i < _channels.Length; i++)
        {
            if ((value & (2 << i)) == 0)
                continue;
            if ((value & 0x20) == 0)
                _channels[i].LatchCount(now);
            if ((value & 0x10) == 0)
                _channels[i].LatchStatus(now);
        }
    }

    private void OnTimer()
    {
        lock (_gate)
            UpdateLine();
    }

    private void UpdateLine()
    {
        PitChannel channel = _channels[0];
        long now = _clock.Now;
        long clocks = ToClocks(now);
        long edges = channel.RisingEdges(clocks);
        if (edges > _seenEdges)
        {
            _line.Set(false);
            _line.Set(true);
            _lineLevel = true;
        }

        _seenEdges = edges;

        // In the repeating modes only the rising edge matters; the low part of the wave is left out.
        bool level = channel.IsPeriodic || channel.Output(clocks);
        if (level != _lineLevel)
        {
            _lineLevel = level;
            _line.Set(level);
        }

        if (channel.NextRisingEdge(edges) is not { } next)
        {
            _timer.Arm(null);
            return;
        }

        long deadline = ToNanoseconds(next);
        _timer.Arm(channel.IsPeriodic ? Math.Max(deadline, now + ShortestWait) : deadline);
    }
}
