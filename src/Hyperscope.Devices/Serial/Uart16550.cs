using Hyperscope.Vm;
using static Hyperscope.Devices.UartRegister;

namespace Hyperscope.Devices;

/// <summary>A 16550A serial port, 8 ports: what Linux detects as "16550A", polled and interrupt-driven.</summary>
/// <remarks>
/// <para>Deviation: a character takes no time. The transmitter is always empty again when the write returns, and the receiver's
/// character timeout is indicated at once whenever fewer characters than the trigger level are there. Input waits in a queue in
/// front of the receiver, so only loop-back can overrun. The far end asserts CTS, DSR and DCD.</para>
/// <para>Threads: any. Lock order: this device, then the interrupt line's controller or the output.</para>
/// <para>Source: PC16550D data sheet.</para>
/// </remarks>
public sealed class Uart16550 : BytePortDevice, IDisposable
{
    /// <summary>Number of ports.</summary>
    public const int PortCount = 8;

    /// <summary>Characters that may wait in front of the receiver.</summary>
    public const int InputCapacity = 65536;

    private const int FifoDepth = 16;

    private readonly Lock _gate = new();
    private readonly IInterruptLine _line;
    private readonly ISerialOutput _output;

    // The high byte is the character's line-status errors.
    private readonly ushort[] _fifo = new ushort[FifoDepth];
    private readonly ManualResetEventSlim _room = new(initialState: true);
    private readonly byte[] _input = new byte[InputCapacity];
    private int _fifoHead;
    private int _fifoCount;
    private int _inputHead;
    private int _inputCount;

    private byte _interruptEnable;
    private byte _lineControl;
    private byte _modemControl;
    private byte _lineErrors;
    private byte _modemDeltas;
    private byte _scratch;
    private byte _divisorLow = 12;
    private byte _divisorHigh;
    private int _trigger = 1;
    private bool _fifoEnabled;
    private bool _transmitterEmptyPending;
    private bool _lineLevel;

    /// <summary>A port whose far end is <paramref name="output"/> and <see cref="Feed"/>.</summary>
    public Uart16550(IInterruptLine line, ISerialOutput output)
    {
        _line = line;
        _output = output;
    }

    /// <summary>Baud-rate divisor as the guest set it; 1 is 115200.</summary>
    public int Divisor
    {
        get
        {
            lock (_gate)
                return _divisorLow | (_divisorHigh << 8);
        }
    }

    /// <summary>Hands characters to the receiver. Any thread.</summary>
    /// <returns>How many were taken: all, unless <see cref="InputCapacity"/> are waiting. See <see cref="WaitForRoom"/>.</returns>
    public int Feed(ReadOnlySpan<byte> characters)
    {
        lock (_gate)
        {
            int taken = Math.Min(characters.Length, InputCapacity - _inputCount);
            foreach (byte character in characters[..taken])
            {
                _input[(_inputHead + _inputCount) % InputCapacity] = character;
                _inputCount++;
            }

            Refill();
            if (_inputCount == InputCapacity)
                _room.Reset();
            UpdateLine();
            return taken;
        }
    }

    /// <summary>Waits until <see cref="Feed"/> would take a character.</summary>
    public void WaitForRoom(CancellationToken cancellation) => _room.Wait(cancellation);

    /// <summary>Signals a break on the receiver, which Linux takes as the start of a SysRq. Dropped if the receiver is full.</summary>
    public void FeedBreak()
    {
        lock (_gate)
        {
            Receive(LsrBreak << 8);
            UpdateLine();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _room.Dispose();

    /// <inheritdoc/>
    protected override byte Read(int offset)
    {
        lock (_gate)
        {
            byte value = offset switch
            {
                Data when DivisorLatch => _divisorLow,
                InterruptEnable when DivisorLatch => _divisorHigh,
                Data => ReadCharacter(),
                InterruptEnable => _interruptEnable,
                InterruptId => ReadInterruptId(),
                LineControl => _lineControl,
                ModemControl => _modemControl,
                LineStatus => ReadLineStatus(),
                ModemStatus => ReadModemStatus(),
                Scratch => _scratch,
                _ => 0xff,
            };
            UpdateLine();
            return value;
        }
    }

    /// <inheritdoc/>
    protected override void Write(int offset, byte value)
    {
        lock (_gate)
        {
            switch (offset)
            {
                case Data when DivisorLatch:
                    _divisorLow = value;
                    break;
                case InterruptEnable when DivisorLatch:
                    _divisorHigh = value;
                    break;
                case Data:
                    Transmit(value);
                    break;
                case InterruptEnable:
                    _transmitterEmptyPending |= (value & ~_interruptEnable & IerTransmitterEmpty) != 0;
                    _interruptEnable = (byte)(value & IerBits);
                    break;
                case FifoControl:
                    WriteFifoControl(value);
                    break;
                case LineControl:
                    _lineControl = value;
                    break;
                case ModemControl:
                    WriteModemControl((byte)(value & ModemControlBits));
                    break;
                case Scratch:
                    _scratch = value;
                    break;
            }

            UpdateLine();
        }
    }

    private bool DivisorLatch => (_lineControl & LcrDivisorLatch) != 0;

    private bool IsLooped => (_modemControl & McrLoop) != 0;

    private byte ReadCharacter()
    {
        if (_fifoCount == 0)
            return 0;
        byte character = (byte)_fifo[_fifoHead];
        _fifoHead = (_fifoHead + 1) % FifoDepth;
        _fifoCount--;
        ShowErrorsOfOldest();
        Refill();
        return character;
    }

    // Error bits belong to a character and show when it becomes the oldest one.
    private void ShowErrorsOfOldest()
    {
        if (_fifoCount == 0)
            return;
        _lineErrors |= (byte)(_fifo[_fifoHead] >> 8);
        _fifo[_fifoHead] &= 0xff;
    }

    private void Receive(int entry)
    {
        int depth = _fifoEnabled ? FifoDepth : 1;
        if (_fifoCount >= depth)
        {
            // With FIFOs the new character is lost, without them the old one is.
            _lineErrors |= LsrOverrun;
            if (!_fifoEnabled)
                _fifo[_fifoHead] = (ushort)entry;
        }
        else
        {
            _fifo[(_fifoHead + _fifoCount) % FifoDepth] = (ushort)entry;
            _fifoCount++;
        }

        ShowErrorsOfOldest();
    }

    private void Refill()
    {
        if (_inputCount == 0 || IsLooped)
            return;
        int depth = _fifoEnabled ? FifoDepth : 1;
        while (_inputCount > 0 && _fifoCount < depth)
        {
            Receive(_input[_inputHead]);
            _inputHead = (_inputHead + 1) % InputCapacity;
            _inputCount--;
        }

        if (_inputCount < InputCapacity && !_room.IsSet)
            _room.Set();
    }

    private void Transmit(byte value)
    {
        _transmitterEmptyPending = false;
        UpdateLine();
        if (IsLooped)
            Receive(value);
        else
            _output.Write(value);
        _transmitterEmptyPending = true;
    }

    private byte PendingInterrupt()
    {
        if ((_interruptEnable & IerLineStatus) != 0 && _lineErrors != 0)
            return IirLineStatus;
        if ((_interruptEnable & IerReceived) != 0 && _fifoCount > 0)
            return !_fifoEnabled || _fifoCount >= _trigger ? IirReceived : IirTimeout;
        if ((_interruptEnable & IerTransmitterEmpty) != 0 && _transmitterEmptyPending)
            return IirTransmitterEmpty;
        return (_interruptEnable & IerModemStatus) != 0 && _modemDeltas != 0 ? IirModemStatus : IirNone;
    }

    private byte ReadInterruptId()
    {
        byte pending = PendingInterrupt();
        if (pending == IirTransmitterEmpty)
            _transmitterEmptyPending = false;
        return (byte)(pending | (_fifoEnabled ? IirFifo : 0));
    }

    private byte ReadLineStatus()
    {
        int value = LsrTransmitterEmpty | LsrIdle | _lineErrors | (_fifoCount > 0 ? LsrDataReady : 0);
        if (_fifoEnabled)
        {
            bool anyError = (_lineErrors & LsrErrors & ~LsrOverrun) != 0;
            for (int i = 0; i < _fifoCount; i++)
                anyError |= _fifo[(_fifoHead + i) % FifoDepth] > 0xff;
            value |= anyError ? LsrFifoError : 0;
        }

        _lineErrors = 0;
        return (byte)value;
    }

    private static byte ModemLevels(byte modemControl) => (modemControl & McrLoop) == 0
        ? (byte)(MsrCts | MsrDsr | MsrDcd)
        : (byte)(((modemControl & McrRts) != 0 ? MsrCts : 0) | ((modemControl & McrDtr) != 0 ? MsrDsr : 0)
            | ((modemControl & McrOut1) != 0 ? MsrRing : 0) | ((modemControl & McrOut2) != 0 ? MsrDcd : 0));

    private byte ReadModemStatus()
    {
        byte value = (byte)(ModemLevels(_modemControl) | _modemDeltas);
        _modemDeltas = 0;
        return value;
    }

    private void WriteModemControl(byte value)
    {
        int before = ModemLevels(_modemControl);
        int after = ModemLevels(value);
        int changed = before ^ after;
        _modemControl = value;
        _modemDeltas |= (byte)(((changed & MsrCts) != 0 ? MsrDeltaCts : 0) | ((changed & MsrDsr) != 0 ? MsrDeltaDsr : 0)
            | ((before & ~after & MsrRing) != 0 ? MsrTrailingRing : 0) | ((changed & MsrDcd) != 0 ? MsrDeltaDcd : 0));
        Refill();
    }

    private void WriteFifoControl(byte value)
    {
        bool enable = (value & FcrEnable) != 0;
        if (enable != _fifoEnabled || (enable && (value & FcrClearReceiver) != 0))
            _fifoCount = 0;
        _fifoEnabled = enable;
        if (enable)
        {
            _trigger = (value >> 6) switch
            {
                0 => 1,
                1 => 4,
                2 => 8,
                _ => 14,
            };
        }

        Refill();
    }

    // OUT2 connects the chip's interrupt output to the bus on a PC.
    private void UpdateLine()
    {
        bool level = (_modemControl & McrOut2) != 0 && PendingInterrupt() != IirNone;
        if (level == _lineLevel)
            return;
        _lineLevel = level;
        _line.Set(level);
    }
}
