using Hyperscope.Vm;

namespace Hyperscope.Devices;

/// <summary>A minimal 8042: passes its self-test, pulses the reset line, and says at once that neither keyboard nor mouse answer.</summary>
/// <remarks>
/// <para>5 ports from 0x60: data at offset 0, command and status at offset 4; what lies between belongs to others. A byte sent to a
/// device comes back as "resend" with the time-out bit, as from a controller with nothing plugged in.</para>
/// <para>Threads: any. Lock order: this device, then the interrupt lines' controller. The machine is called without the lock.</para>
/// </remarks>
public sealed class KeyboardController(IInterruptLine keyboardLine, IInterruptLine mouseLine, IMachineControl machine) : BytePortDevice
{
    /// <summary>Offset of the data port.</summary>
    public const int DataOffset = 0;

    /// <summary>Offset of the command and status port.</summary>
    public const int CommandOffset = 4;

    private const byte OutputFull = 0x01, SystemFlag = 0x04, LastWasCommand = 0x08, NotLocked = 0x10, MouseData = 0x20, TimedOut = 0x40;
    private const byte KeyboardInterrupt = 0x01, MouseInterrupt = 0x02, KeyboardOff = 0x10, MouseOff = 0x20, Translate = 0x40;
    private const byte SelfTestPassed = 0x55, LinePassed = 0x00, Resend = 0xfe;
    private const byte OutputPort = 0x03; // reset line high, A20 on

    private readonly Lock _gate = new();
    private readonly byte[] _ram = InitialRam();
    private byte _status = SystemFlag | NotLocked;
    private byte _output;
    private int _dataFor = -1;
    private bool _keyboardLevel;
    private bool _mouseLevel;

    /// <inheritdoc/>
    protected override byte Read(int offset)
    {
        lock (_gate)
        {
            if (offset == CommandOffset)
                return _status;
            if (offset != DataOffset)
                return 0xff;
            _status &= unchecked((byte)~(OutputFull | MouseData | TimedOut));
            UpdateLines();
            return _output;
        }
    }

    /// <inheritdoc/>
    protected override void Write(int offset, byte value)
    {
        bool reset = false;
        lock (_gate)
        {
            if (offset == CommandOffset)
                reset = Command(value);
            else if (offset == DataOffset)
                reset = Data(value);
            UpdateLines();
        }

        if (reset)
            machine.RequestReset();
    }

    private static byte[] InitialRam()
    {
        byte[] ram = new byte[32];
        ram[0] = SystemFlag | KeyboardOff | MouseOff | Translate;
        return ram;
    }

    private bool Command(byte command)
    {
        _status |= LastWasCommand;
        _dataFor = -1;
        switch (command)
        {
            case >= 0x20 and <= 0x3f:
                Answer(_ram[command & 31]);
                break;
            case (>= 0x60 and <= 0x7f) or 0xd1 or 0xd2 or 0xd3 or 0xd4:
                _dataFor = command;
                break;
            case 0xa7:
                _ram[0] |= MouseOff;
                break;
            case 0xa8:
                _ram[0] &= unchecked((byte)~MouseOff);
                break;
            case 0xa9 or 0xab:
                Answer(LinePassed);
                break;
            case 0xaa:
                Answer(SelfTestPassed);
                break;
            case 0xad:
                _ram[0] |= KeyboardOff;
                break;
            case 0xae:
                _ram[0] &= unchecked((byte)~KeyboardOff);
                break;
            case 0xc0:
                Answer(0xff);
                break;
            case 0xd0:
                Answer(OutputPort);
                break;
            case >= 0xf0:
                return (command & 1) == 0; // pulse the lines whose bit is 0; line 0 is reset
        }

        return false;
    }

    private bool Data(byte value)
    {
        int command = _dataFor;
        _dataFor = -1;
        _status &= unchecked((byte)~LastWasCommand);
        switch (command)
        {
            case >= 0x60 and <= 0x7f:
                _ram[command & 31] = value;
                break;
            case 0xd1:
                return (value & 1) == 0;
            case 0xd2:
                Answer(value);
                break;
            case 0xd3:
                Answer(value, MouseData);
                break;
            case 0xd4:
                Answer(Resend, MouseData | TimedOut);
                break;
            default:
                Answer(Resend, TimedOut);
                break;
        }

        return false;
    }

    private void Answer(byte value, byte status = 0)
    {
        _output = value;
        _status = (byte)((_status & ~(MouseData | TimedOut)) | OutputFull | status);
    }

    private void UpdateLines()
    {
        bool full = (_status & OutputFull) != 0;
        bool mouse = (_status & MouseData) != 0;
        Drive(keyboardLine, ref _keyboardLevel, full && !mouse && (_ram[0] & KeyboardInterrupt) != 0);
        Drive(mouseLine, ref _mouseLevel, full && mouse && (_ram[0] & MouseInterrupt) != 0);
    }

    private static void Drive(IInterruptLine line, ref bool level, bool value)
    {
        if (level == value)
            return;
        level = value;
        line.Set(value);
    }
}
