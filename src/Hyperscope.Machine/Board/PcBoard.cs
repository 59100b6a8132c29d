using Hyperscope.Devices;
using Hyperscope.Vm;

namespace Hyperscope.Machine;

/// <summary>The devices of the PC and where each is attached. Adding a device is one line here.</summary>
/// <remarks>Reset: build another board; devices keep nothing across it.</remarks>
public sealed class PcBoard : IDisposable
{
    /// <summary>First port of the serial port.</summary>
    public const ushort SerialPort = 0x3f8;

    /// <summary>First port of the clock.</summary>
    public const ushort RtcPort = 0x70;

    /// <summary>First port of ACPI's fixed hardware.</summary>
    public const ushort AcpiPort = 0x600;

    /// <summary>First of the ports that hold the reset register.</summary>
    public const ushort ResetPort = 0xcf8;

    /// <summary>First port of debug-exit.</summary>
    public const ushort DebugExit = 0xf4;

    /// <summary>IRQ of the serial port.</summary>
    public const byte SerialInterrupt = 4;

    /// <summary>IRQ of the clock.</summary>
    public const byte RtcInterrupt = 8;

    /// <summary>IRQ of ACPI (SCI), level-triggered.</summary>
    public const byte AcpiInterrupt = 9;

    /// <summary>Where each vCPU finds its local APIC after reset.</summary>
    public const uint LocalApicAddress = 0xfee0_0000;

    /// <summary>Where the IOAPIC is.</summary>
    public const uint IoApicAddress = 0xfec0_0000;

    private const byte TimerInterrupt = 0, KeyboardInterrupt = 1, MouseInterrupt = 12, NumericErrorInterrupt = 13;

    private readonly LocalApic[] _locals;
    private readonly VcpuBus[] _buses;
    private readonly InterruptController[] _interrupts;
    private readonly Pit8254 _pit;
    private readonly CmosRtc _rtc;

    /// <summary>Builds and wires the devices.</summary>
    public PcBoard(PcBoardOptions options)
    {
        int vcpus = options.Vcpus.Count;
        if (vcpus is 0 or > AcpiTables.MaximumVcpus || options.TimeStampCounters.Count != vcpus)
            throw new ArgumentException($"{vcpus} vCPUs with {options.TimeStampCounters.Count} counters are not 1 to {AcpiTables.MaximumVcpus} with one each");
        var apics = new ApicBus();
        _locals = [.. options.Vcpus.Select((vcpu, index) =>
            new LocalApic((uint)index, index == 0, options.Clock, options.TimeStampCounters[index], vcpu, apics))];
        foreach (LocalApic local in _locals)
            apics.Attach(local);
        var ioApic = new IoApic(apics);
        apics.Attach(ioApic);
        var pic = new DualPic(new Lint0(_locals[0]));
        var irq = new IsaInterrupts(pic, ioApic);
        _pit = new Pit8254(options.Clock, irq[TimerInterrupt]);
        _rtc = new CmosRtc(options.Clock, irq[RtcInterrupt], options.StartTime);
        _rtc.SetMemorySize(options.Memory.BelowFourGiB, options.Memory.AboveFourGiB);
        Serial = new Uart16550(irq[SerialInterrupt], options.SerialOutput);
        Power = new AcpiPowerManagement(options.Clock, irq[AcpiInterrupt], options.Machine);
        var numericError = new NumericErrorPort(irq[NumericErrorInterrupt], options.Vcpus[0]);
        NumericError = numericError;
        var keyboard = new KeyboardController(irq[KeyboardInterrupt], irq[MouseInterrupt], options.Machine);

        var bus = new DeviceBus();
        bus.Attach(new PortRange(0x20, DualPic.PortCount), pic.Master);
        bus.Attach(new PortRange(0x40, Pit8254.PortCount), _pit);
        bus.Attach(new PortRange(0x60, 1), keyboard);
        bus.Attach(new PortRange(0x61, SystemControlPort.PortCount), new SystemControlPort(options.Clock, _pit));
        bus.Attach(new PortRange(0x64, 1), new ShiftedPorts(keyboard, KeyboardController.CommandOffset));
        bus.Attach(new PortRange(RtcPort, CmosRtc.PortCount), _rtc);
        bus.Attach(new PortRange(0x92, SystemControlPortA.PortCount), new SystemControlPortA(options.Machine));
        bus.Attach(new PortRange(0xa0, DualPic.PortCount), pic.Slave);
        bus.Attach(new PortRange(0xf0, NumericErrorPort.PortCount), numericError);
        bus.Attach(new PortRange(DebugExit, DebugExitPort.PortCount), new DebugExitPort(options.Machine));
        bus.Attach(new PortRange(SerialPort, Uart16550.PortCount), Serial);
        bus.Attach(new PortRange(0x4d0, DualPic.PortCount), pic.TriggerModes);
        bus.Attach(new PortRange(AcpiPort, AcpiPowerManagement.PortCount), Power);
        bus.Attach(new PortRange(ResetPort, ResetControlPort.PortCount), new ResetControlPort(options.Machine));
        bus.Attach(new MemoryAddressRange(new Gpa(IoApicAddress), IoApic.MmioBytes), ioApic);

        // As firmware would leave it: ACPI's interrupt is level-triggered.
        pic.TriggerModes.WritePort(AcpiInterrupt / 8, 1, 1 << (AcpiInterrupt % 8));

        _buses = [.. _locals.Select(local => new VcpuBus(bus, local))];
        _interrupts = [.. _locals.Select((local, index) => new InterruptController(local, index == 0 ? pic : null))];
        Bus = bus;
    }

    /// <summary>What all vCPUs share; without local APICs.</summary>
    public DeviceBus Bus { get; }

    /// <summary>The first serial port, for input.</summary>
    public Uart16550 Serial { get; }

    /// <summary>ACPI's fixed hardware, for the power button.</summary>
    public AcpiPowerManagement Power { get; }

    /// <summary>Where the first vCPU's x87 error pin leads: IRQ 13.</summary>
    public IInterruptLine NumericError { get; }

    /// <summary>The bus as a vCPU sees it.</summary>
    public IGuestBus BusOf(VcpuIndex vcpu) => _buses[vcpu.Value];

    /// <summary>The interrupt controller of a vCPU.</summary>
    public IVcpuInterrupts InterruptsOf(VcpuIndex vcpu) => _interrupts[vcpu.Value];

    /// <summary>The local APIC of a vCPU.</summary>
    public LocalApic LocalApicOf(VcpuIndex vcpu) => _locals[vcpu.Value];

    /// <inheritdoc/>
    public void Dispose()
    {
        Serial.Dispose();
        _pit.Dispose();
        _rtc.Dispose();
        foreach (LocalApic local in _locals)
            local.Dispose();
    }

    private sealed class Lint0(LocalApic local) : IInterruptLine
    {
        public void Set(bool asserted) => local.SetLint0(asserted);
    }

    /// <summary>The rest of a device whose ports do not lie together.</summary>
    private sealed class ShiftedPorts(IPortDevice device, int shift) : IPortDevice
    {
        public uint ReadPort(int offset, int size) => device.ReadPort(offset + shift, size);

        public void WritePort(int offset, int size, uint value) => device.WritePort(offset + shift, size, value);
    }
}
