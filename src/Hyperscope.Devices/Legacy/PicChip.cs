using System.Numerics;

namespace Hyperscope.Devices;

/// <summary>One 8259A without its wiring. Not thread-safe; <see cref="DualPic"/> holds the lock. Source: 8259A data sheet.</summary>
/// <remarks>Deviation: ICW1's level bit (LTIM) and ICW3 are ignored as on a PC, where ELCR and the board decide.</remarks>
internal sealed class PicChip
{
    private byte _lines;
    private byte _requests;
    private byte _inService;
    private byte _masked;
    private byte _levelTriggered;
    private byte _vectorBase;
    private int _lowestPriority = 7;
    private int _initStep;
    private bool _needsIcw4;
    private bool _isSingle;
    private bool _autoEoi;
    private bool _rotateOnAutoEoi;
    private bool _specialMask;
    private bool _specialFullyNested;
    private bool _readInService;
    private bool _poll;

    public byte VectorBase => _vectorBase;

    public byte LevelTriggered
    {
        get => _levelTriggered;
        set
        {
            _levelTriggered = value;
            _requests = (byte)((_requests & ~value) | (_lines & value));
        }
    }

    public void SetLine(int line, bool asserted)
    {
        byte bit = (byte)(1 << line);
        if (!asserted)
        {
            // A request that is withdrawn before it was acknowledged is gone, edge-triggered ones too.
            _lines &= (byte)~bit;
            _requests &= (byte)~bit;
        }
        else
        {
            if ((_levelTriggered & bit) != 0 || (_lines & bit) == 0)
                _requests |= bit;
            _lines |= bit;
        }
    }

    /// <summary>The input that may interrupt now, or -1.</summary>
    public int Pending(bool isMaster)
    {
        int requests = _requests & ~_masked;
        if (requests == 0 || _initStep != 0)
            return -1;
        int rank = Rank(requests);
        int line = LineOf(rank);
        int blocked = Rank(_specialMask ? _inService & ~_masked : _inService);
        bool nested = _specialFullyNested && isMaster && line == DualPic.CascadeLine && rank == blocked;
        return rank < blocked || nested ? line : -1;
    }

    public void Acknowledge(int line)
    {
        byte bit = (byte)(1 << line);
        if ((_levelTriggered & bit) == 0)
            _requests &= (byte)~bit;
        if (!_autoEoi)
            _inService |= bit;
        else if (_rotateOnAutoEoi)
            _lowestPriority = line;
    }

    /// <summary>True if the last OCW3 asked for a poll, which the next read answers.</summary>
    public bool TakePoll()
    {
        bool poll = _poll;
        _poll = false;
        return poll;
    }

    public byte Read(int offset) => offset == 1 ? _masked : _readInService ? _inService : _requests;

    public void Write(int offset, byte value)
    {
        if (offset == 1)
            WriteData(value);
        else if ((value & 0x10) != 0)
            StartInitialization(value);
        else if ((value & 0x08) != 0)
            WriteOcw3(value);
        else
            WriteOcw2(value);
    }

    private void StartInitialization(byte icw1)
    {
        _initStep = 2;
        _needsIcw4 = (icw1 & 1) != 0;
        _requests &= _levelTriggered;
        _inService = 0;
        _masked = 0;
        _lowestPriority = 7;
        _autoEoi = false;
        _rotateOnAutoEoi = false;
        _specialMask = false;
        _specialFullyNested = false;
        _readInService = false;
        _poll = false;
        _isSingle = (icw1 & 2) != 0;
    }

    private void WriteData(byte value)
    {
        switch (_initStep)
        {
            case 2:
                _vectorBase = (byte)(value & 0xf8);
                _initStep = _isSingle ? AfterIcw3() : 3;
                break;
            case 3:
                _initStep = AfterIcw3();
                break;
            case 4:
                _autoEoi = (value & 2) != 0;
                _specialFullyNested = (value & 0x10) != 0;
                _initStep = 0;
                break;
            default:
                _masked = value;
                break;
        }
    }

    private int AfterIcw3() => _needsIcw4 ? 4 : 0;

    private void WriteOcw2(byte value)
    {
        int level = value & 7;
        bool rotate = (value & 0x80) != 0;
        switch ((value >> 5) & 3)
        {
            case 0: // rotate in automatic EOI mode: set or clear
                _rotateOnAutoEoi = rotate;
                break;
            case 1: // non-specific EOI
                int active = _specialMask ? _inService & ~_masked : _inService;
                if (active != 0)
                    EndInterrupt(LineOf(Rank(active)), rotate);
                break;
            case 2: // set priority, or nothing
                if (rotate)
                    _lowestPriority = level;
                break;
            default:
                EndInterrupt(level, rotate);
                break;
        }
    }

    private void EndInterrupt(int line, bool rotate)
    {
        _inService &= (byte)~(1 << line);
        if (rotate)
            _lowestPriority = line;
    }

    private void WriteOcw3(byte value)
    {
        if ((value & 0x40) != 0)
            _specialMask = (value & 0x20) != 0;
        if ((value & 0x04) != 0)
            _poll = true;
        else if ((value & 0x02) != 0)
            _readInService = (value & 0x01) != 0;
    }

    // 0 is the highest priority, 8 means no bit is set.
    private int Rank(int bits)
    {
        if ((bits & 0xff) == 0)
            return 8;
        int doubled = (bits & 0xff) | ((bits & 0xff) << 8);
        return BitOperations.TrailingZeroCount(doubled >> ((_lowestPriority + 1) & 7));
    }

    private int LineOf(int rank) => (rank + _lowestPriority + 1) & 7;
}
