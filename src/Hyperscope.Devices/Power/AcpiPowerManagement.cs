using Hyperscope.Vm;

namespace Hyperscope.Devices;

/// <summary>ACPI's fixed hardware: PM1a events and control with soft-off, the power button, and the PM timer.</summary>
/// <remarks>
/// <para>12 ports: PM1 status (2), PM1 enable (2), PM1 control (2), 2 absent, PM timer (4, 24 bits at 3.579545 MHz). ACPI mode is
/// always on. Sleep type 0 is S5; others do nothing. With the usual base 0x600, writing 0x2000 to port 0x604 switches off.</para>
/// <para>Deviation: the PM timer raises no event when it wraps.</para>
/// <para>Threads: any. Lock order: this device, then the interrupt line's controller. The machine is called without the lock.</para>
/// <para>Source: ACPI specification, "Fixed Hardware Registers".</para>
/// </remarks>
public sealed class AcpiPowerManagement(IGuestClock clock, IInterruptLine line, IMachineControl machine) : IPortDevice
{
    /// <summary>Number of ports.</summary>
    public const int PortCount = 12;

    /// <summary>Offset of PM1 control.</summary>
    public const int ControlOffset = 4;

    /// <summary>Offset of the PM timer.</summary>
    public const int TimerOffset = 8;

    /// <summary>SLP_TYP that means soft-off.</summary>
    public const int SoftOffType = 0;

    private const long TimerFrequency = 3_579_545, Second = 1_000_000_000;
    private const uint EventBits = 0x0521, PowerButton = 1 << 8, AcpiMode = 1, SleepEnable = 1 << 13;
    private const int SleepTypeShift = 10;

    private readonly Lock _gate = new();
    private uint _status;
    private uint _enable;
    private bool _lineLevel;

    /// <summary>Presses the power button: the guest gets an interrupt if it listens. Any thread.</summary>
    public void PressPowerButton()
    {
        lock (_gate)
        {
            _status |= PowerButton;
            UpdateLine();
        }
    }

    /// <inheritdoc/>
    public uint ReadPort(int offset, int size)
    {
        lock (_gate)
        {
            uint value = 0;
            uint timer = (uint)ToTimer(clock.Now) & 0xff_ffff;
            for (int i = 0; i < size; i++)
            {
                int position = offset + i;
                uint register = position switch
                {
                    0 or 1 => _status >> (8 * position),
                    2 or 3 => _enable >> (8 * (position - 2)),
                    4 or 5 => AcpiMode >> (8 * (position - 4)),
                    >= TimerOffset and < PortCount => timer >> (8 * (position - TimerOffset)),
                    _ => 0xff,
                };
                value |= (register & 0xff) << (8 * i);
            }

            return value;
        }
    }

    /// <inheritdoc/>
    public void WritePort(int offset, int size, uint value)
    {
        bool off = false;
        lock (_gate)
        {
            for (int i = 0; i < size; i++)
            {
                int position = offset + i;
                uint data = (value >> (8 * i)) & 0xff;
                switch (position)
                {
                    case 0 or 1:
                        _status &= ~(data << (8 * position));
                        break;
                    case 2 or 3:
                        int shift = 8 * (position - 2);
                        _enable = ((_enable & ~(0xffu << shift)) | (data << shift)) & EventBits;
                        break;
                    case ControlOffset + 1:
                        uint control = data << 8;
                        off |= (control & SleepEnable) != 0 && ((control >> SleepTypeShift) & 7) == SoftOffType;
                        break;
                }
            }

            UpdateLine();
        }

        if (off)
            machine.RequestPowerOff();
    }

    private static long ToTimer(long nanoseconds) =>
        (nanoseconds / Second * TimerFrequency) + (nanoseconds % Second * TimerFrequency / Second);

    private void UpdateLine()
    {
        bool level = (_status & _enable) != 0;
        if (level == _lineLevel)
            return;
        _lineLevel = level;
        line.Set(level);
    }
}
