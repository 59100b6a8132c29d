using Hyperscope.Vm;

namespace Hyperscope.Devices;

/// <summary>The two 8259A interrupt controllers of a PC, the slave on the master's input 2.</summary>
/// <remarks>
/// <para>Attach <see cref="Master"/> at 0x20 (2 ports), <see cref="Slave"/> at 0xa0 (2) and <see cref="TriggerModes"/> (ELCR) at
/// 0x4d0 (2). The vectors come from <see cref="TryAcknowledge"/>, which stands for the bus's acknowledge cycle.</para>
/// <para>Threads: any. Lock order: a device, then this, then what <c>output</c> leads to (a local APIC).</para>
/// </remarks>
public sealed class DualPic
{
    /// <summary>Ports of <see cref="Master"/>, <see cref="Slave"/> and <see cref="TriggerModes"/> each.</summary>
    public const int PortCount = 2;

    internal const int CascadeLine = 2;

    // Inputs 0 to 2 of the master, 0 and 5 of the slave (timer, keyboard, cascade, RTC, FPU) are always edge-triggered.
    private const int MasterTriggerBits = 0xf8, SlaveTriggerBits = 0xde;

    private readonly Lock _gate = new();
    private readonly PicChip _master = new();
    private readonly PicChip _slave = new();
    private readonly IInterruptLine _output;
    private readonly IInterruptLine[] _inputs;
    private bool _outputLevel;

    /// <summary>Controllers whose INTR drives <paramref name="output"/>.</summary>
    public DualPic(IInterruptLine output)
    {
        _output = output;
        _inputs = [.. Enumerable.Range(0, 16).Select(irq => new Input(this, irq))];
        Master = new Chip(this, _master);
        Slave = new Chip(this, _slave);
        TriggerModes = new Elcr(this);
    }

    /// <summary>Command and data port of the master.</summary>
    public IPortDevice Master { get; }

    /// <summary>Command and data port of the slave.</summary>
    public IPortDevice Slave { get; }

    /// <summary>The edge/level control registers.</summary>
    public IPortDevice TriggerModes { get; }

    /// <summary>Level of INTR. Cheap.</summary>
    public bool HasPending => Volatile.Read(ref _outputLevel);

    /// <summary>The input of an IRQ, 0 to 15; input 2 is the cascade and leads nowhere.</summary>
    public IInterruptLine Line(int irq) => _inputs[irq];

    /// <summary>Acknowledges the highest request; false if there is none any more.</summary>
    public bool TryAcknowledge(out byte vector)
    {
        lock (_gate)
        {
            vector = 0;
            if (!_outputLevel)
                return false;
            vector = AcknowledgeCycle();
            Update();
            return true;
        }
    }

    /// <summary>An acknowledge cycle that cannot be withdrawn any more: gives the spurious vector, input 7, if nothing is requested.</summary>
    public byte Acknowledge()
    {
        lock (_gate)
        {
            byte vector = AcknowledgeCycle();
            Update();
            return vector;
        }
    }

    private byte AcknowledgeCycle()
    {
        int line = _master.Pending(isMaster: true);
        if (line < 0)
            return (byte)(_master.VectorBase | 7);
        _master.Acknowledge(line);
        if (line != CascadeLine)
            return (byte)(_master.VectorBase | line);
        int second = _slave.Pending(isMaster: false);
        if (second < 0)
            return (byte)(_slave.VectorBase | 7);
        _slave.Acknowledge(second);
        return (byte)(_slave.VectorBase | second);
    }

    // The slave's output is pulled low by each acknowledge, so that the master sees another edge for the next request.
    private void Update()
    {
        _master.SetLine(CascadeLine, asserted: false);
        if (_slave.Pending(isMaster: false) >= 0)
            _master.SetLine(CascadeLine, asserted: true);
        bool level = _master.Pending(isMaster: true) >= 0;
        if (level == _outputLevel)
            return;
        Volatile.Write(ref _outputLevel, level);
        _output.Set(level);
    }

    private byte ReadChip(PicChip chip, int offset)
    {
        if (offset is < 0 or > 1)
            return 0xff;
        lock (_gate)
        {
            if (!chip.TakePoll())
                return chip.Read(offset);
            int line = chip.Pending(isMaster: chip == _master);
            if (line >= 0)
                chip.Acknowledge(line);
            Update();
            return line >= 0 ? (byte)(0x80 | line) : (byte)0;
        }
    }

    private void WriteChip(PicChip chip, int offset, byte value)
    {
        if (offset is < 0 or > 1)
            return;
        lock (_gate)
        {
            chip.Write(offset, value);
            Update();
        }
    }

    private sealed class Chip(DualPic pic, PicChip chip) : BytePortDevice
    {
        protected override byte Read(int offset) => pic.ReadChip(chip, offset);

        protected override void Write(int offset, byte value) => pic.WriteChip(chip, offset, value);
    }

    private sealed class Elcr(DualPic pic) : BytePortDevice
    {
        protected override byte Read(int offset)
        {
            lock (pic._gate)
            {
                return offset switch
                {
                    0 => pic._master.LevelTriggered,
                    1 => pic._slave.LevelTriggered,
                    _ => 0xff,
                };
            }
        }

        protected override void Write(int offset, byte value)
        {
            lock (pic._gate)
            {
                if (offset == 0)
                    pic._master.LevelTriggered = (byte)(value & MasterTriggerBits);
                else if (offset == 1)
                    pic._slave.LevelTriggered = (byte)(value & SlaveTriggerBits);
                pic.Update();
            }
        }
    }

    private sealed class Input(DualPic pic, int irq) : IInterruptLine
    {
        public void Set(bool asserted)
        {
            if (irq == CascadeLine)
                return;
            lock (pic._gate)
            {
                (irq < 8 ? pic._master : pic._slave).SetLine(irq & 7, asserted);
                pic.Update();
            }
        }
    }
}
