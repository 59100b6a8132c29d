namespace Hyperscope.Devices;

/// <summary>One counter of the 8254, computed from elapsed input clocks instead of counted. Not thread-safe; <see cref="Pit8254"/>
/// holds the lock. All times are input clocks since the machine started. Source: 8254 data sheet.</summary>
/// <remarks>Deviation: a count written while modes 2 and 3 run takes effect at once, not at the end of the period; a write loads the
/// counter without the one clock that the chip needs.</remarks>
internal sealed class PitChannel
{
    private const int AccessLow = 1, AccessHigh = 2, AccessBoth = 3;

    private int _mode;
    private int _access = AccessBoth;
    private bool _bcd;
    private bool _loaded;
    private bool _triggered;
    private bool _gate = true;
    private int _reload = 65536;
    private long _start;
    private long _frozen;
    private bool _readHighNext;
    private bool _writeHighNext;
    private byte _writtenLow;
    private int _latchedBytes;
    private int _latchedCount;
    private int _latchedStatus = -1;

    /// <summary>Number of counts from loading to output, 1 to 65536.</summary>
    public int Reload => _reload;

    /// <summary>True in the modes that repeat (2 and 3).</summary>
    public bool IsPeriodic => _mode is 2 or 3;

    /// <summary>The gate input.</summary>
    public bool Gate => _gate;

    public void SetGate(bool level, long now)
    {
        if (level == _gate)
            return;
        if (!level)
        {
            if (!IsTriggeredMode)
                _frozen = now - _start;
        }
        else if (IsTriggeredMode || IsPeriodic)
        {
            _start = now;
            _triggered = true;
        }
        else
        {
            _start = now - _frozen;
        }

        _gate = level;
    }

    public void WriteControl(byte control)
    {
        int access = (control >> 4) & 3;
        if (access == 0)
            return;
        _access = access;
        _mode = (control >> 1) & 7;
        if (_mode > 5)
            _mode -= 4;
        _bcd = (control & 1) != 0;
        _loaded = false;
        _triggered = false;
        _readHighNext = false;
        _writeHighNext = false;
        _latchedBytes = 0;
        _latchedStatus = -1;
    }

    public void LatchCount(long now)
    {
        if (_latchedBytes != 0)
            return;
        _latchedCount = Count(now);
        _latchedBytes = _access;
    }

    public void LatchStatus(long now)
    {
        if (_latchedStatus >= 0)
            return;
        _latchedStatus = (Output(now) ? 0x80 : 0) | (_loaded ? 0 : 0x40) | (_access << 4) | (_mode << 1) | (_bcd ? 1 : 0);
    }

    public byte Read(long now)
    {
        if (_latchedStatus >= 0)
        {
            byte status = (byte)_latchedStatus;
            _latchedStatus = -1;
            return status;
        }

        if (_latchedBytes != 0)
        {
            bool low = (_latchedBytes & AccessLow) != 0;
            _latchedBytes &= low ? ~AccessLow : 0;
            return (byte)(low ? _latchedCount : _latchedCount >> 8);
        }

        int count = Count(now);
        bool high = _access == AccessHigh || (_access == AccessBoth && _readHighNext);
        if (_access == AccessBoth)
            _readHighNext = !_readHighNext;
        return (byte)(high ? count >> 8 : count);
    }

    public void Write(byte value, long now)
    {
        switch (_access)
        {
            case AccessLow:
                Load(value, now);
                break;
            case AccessHigh:
                Load(value << 8, now);
                break;
            default:
                if (!_writeHighNext)
                {
                    _writtenLow = value;
                    if (_mode == 0)
                        _loaded = false; // the first byte stops the counter and pulls the output low
                }
                else
                {
                    Load(_writtenLow | (value << 8), now);
                }

                _writeHighNext = !_writeHighNext;
                break;
        }
    }

    /// <summary>The output pin.</summary>
    public bool Output(long now)
    {
        if (!_loaded)
            return _mode != 0;
        if (IsTriggeredMode && !_triggered)
            return true;
        if (IsPeriodic && !_gate)
            return true;
        long elapsed = Elapsed(now);
        return _mode switch
        {
            0 or 1 => elapsed >= _reload,
            2 => elapsed % _reload != _reload - 1,
            3 => elapsed % _reload < (_reload + 1) / 2,
            _ => elapsed != _reload,
        };
    }

    /// <summary>How often the output rose since the counter was last loaded or triggered.</summary>
    public long RisingEdges(long now)
    {
        if (!IsCounting)
            return 0;
        long elapsed = Elapsed(now);
        return _mode switch
        {
            0 or 1 => elapsed >= _reload ? 1 : 0,
            2 or 3 => elapsed / _reload,
            _ => elapsed > _reload ? 1 : 0,
        };
    }

    /// <summary>When the output rises next after that many edges; null if it does not by itself.</summary>
    public long? NextRisingEdge(long edges)
    {
        if (!IsCounting || (!_gate && !IsTriggeredMode))
            return null;
        if (IsPeriodic)
            return _start + ((edges + 1) * _reload);
        return edges > 0 ? null : _start + _reload + (_mode >= 4 ? 1 : 0);
    }

    private bool IsTriggeredMode => _mode is 1 or 5;

    private bool IsCounting => _loaded && (!IsTriggeredMode || _triggered);

    private long Elapsed(long now) => Math.Max(0, _gate || IsTriggeredMode ? now - _start : _frozen);

    private void Load(int value, long now)
    {
        int count = _bcd ? FromBcd(value) : value;
        _reload = count != 0 ? count : _bcd ? 10_000 : 65_536;
        _loaded = true;
        if (IsTriggeredMode)
            return;
        _start = now;
        _frozen = 0;
    }

    private int Count(long now)
    {
        if (!IsCounting)
            return 0;
        long elapsed = Elapsed(now);
        int modulus = _bcd ? 10_000 : 65_536;
        long count;
        if (_mode == 2)
        {
            count = _reload - (elapsed % _reload);
        }
        else if (_mode == 3)
        {
            // Counts down by two; an odd period has one clock more in its high half.
            long position = elapsed % _reload;
            int half = (_reload + 1) / 2;
            count = (_reload & ~1) - (2 * (position < half ? position : position - half));
        }
        else
        {
            count = _reload - (elapsed % modulus) + modulus;
        }

        int value = (int)(count % modulus);
        return _bcd ? ToBcd(value) : value;
    }

    // Digits above 9, which only a confused guest writes, count with their value.
    private static int FromBcd(int value) =>
        (((value >> 12) & 15) * 1000 + ((value >> 8) & 15) * 100 + ((value >> 4) & 15) * 10 + (value & 15)) % 10_000;

    private static int ToBcd(int value) => (value / 1000 << 12) | (value / 100 % 10 << 8) | (value / 10 % 10 << 4) | (value % 10);
}
