using Hyperscope.Vm;

namespace Hyperscope.Devices.Tests;

/// <summary>What no guest may do: throw, hang or leak. Every device at every offset and size, alone and all together.</summary>
public sealed class HostileTrafficTests : IDisposable
{
    private readonly ApicSystem _system = new(4);
    private readonly Uart16550 _uart;
    private readonly Pit8254 _pit;
    private readonly CmosRtc _rtc;
    private readonly (string Name, IPortDevice Device, int Ports)[] _ports;
    private readonly (string Name, IMmioDevice Device)[] _memory;

    public HostileTrafficTests()
    {
        var machine = new RecordingMachine();
        var isa = new IsaInterrupts(_system.Pic, _system.IoApic);
        _uart = new Uart16550(isa[4], new Sink());
        _pit = new Pit8254(_system.Clock, isa[0]);
        _rtc = new CmosRtc(_system.Clock, isa[8], DateTimeOffset.UnixEpoch);
        _ports =
        [
            ("uart", _uart, Uart16550.PortCount),
            ("debug-exit", new DebugExitPort(machine), DebugExitPort.PortCount),
            ("pic", _system.Pic.Master, DualPic.PortCount),
            ("slave pic", _system.Pic.Slave, DualPic.PortCount),
            ("elcr", _system.Pic.TriggerModes, DualPic.PortCount),
            ("pit", _pit, Pit8254.PortCount),
            ("port f0", new NumericErrorPort(isa[13], new RecordingVcpu()), NumericErrorPort.PortCount),
            ("port 61", new SystemControlPort(_system.Clock, _pit), SystemControlPort.PortCount),
            ("rtc", _rtc, CmosRtc.PortCount),
            ("acpi", new AcpiPowerManagement(_system.Clock, isa[9], machine), AcpiPowerManagement.PortCount),
            ("reset", new ResetControlPort(machine), ResetControlPort.PortCount),
            ("port 92", new SystemControlPortA(machine), SystemControlPortA.PortCount),
            ("keyboard", new KeyboardController(isa[1], isa[12], machine), 5),
        ];
        _memory = [("ioapic", _system.IoApic), .. _system.Locals.Select((local, index) => ($"lapic {index}", (IMmioDevice)local))];
    }

    public void Dispose()
    {
        _uart.Dispose();
        _pit.Dispose();
        _rtc.Dispose();
        _system.Dispose();
    }

    [Fact]
    public void Every_port_device_of_the_assembly_is_in_this_test()
    {
        var tested = _ports.Select(entry => entry.Device.GetType()).Concat(_memory.Select(entry => entry.Device.GetType())).ToHashSet();
        IEnumerable<Type> missing = typeof(Uart16550).Assembly.GetTypes()
            .Where(type => type is { IsAbstract: false, IsPublic: true })
            .Where(type => typeof(IPortDevice).IsAssignableFrom(type) || typeof(IMmioDevice).IsAssignableFrom(type))
            .Where(type => !tested.Contains(type));
        Assert.Empty(missing);
    }

    [Fact]
    public void Every_offset_of_every_size_is_answered()
    {
        foreach ((_, IPortDevice device, int ports) in _ports)
        {
            for (int offset = 0; offset < ports; offset++)
            {
                foreach (int size in new[] { 1, 2, 4 })
                {
                    device.WritePort(offset, size, uint.MaxValue);
                    device.ReadPort(offset, size);
                    device.WritePort(offset, size, 0);
                    device.ReadPort(offset, size);
                }
            }
        }

        foreach ((_, IMmioDevice device) in _memory)
        {
            for (ulong offset = 0; offset < 4096; offset++)
            {
                foreach (int size in new[] { 1, 2, 4, 8 })
                {
                    device.WriteMemory(offset, size, ulong.MaxValue);
                    device.ReadMemory(offset, size);
                    device.WriteMemory(offset, size, 0);
                    device.ReadMemory(offset, size);
                }
            }
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Random_traffic_from_one_thread_breaks_nothing(int seed)
    {
        Traffic(new Random(seed), 300_000, advance: true);
    }

    [Fact]
    public async Task Random_traffic_from_many_threads_and_a_running_clock_deadlocks_nobody()
    {
        using var stop = new CancellationTokenSource();
        Task time = Task.Run(() =>
        {
            while (!stop.IsCancellationRequested)
                _system.Clock.Advance(50_000);
        }, TestContext.Current.CancellationToken);
        Task[] guests = [.. Enumerable.Range(10, 4).Select(seed =>
            Task.Run(() => Traffic(new Random(seed), 100_000, advance: false), TestContext.Current.CancellationToken))];
        try
        {
            await Task.WhenAll(guests).WaitAsync(TimeSpan.FromMinutes(2), TestContext.Current.CancellationToken);
        }
        finally
        {
            await stop.CancelAsync();
        }

        await time;
    }

    private void Traffic(Random random, int accesses, bool advance)
    {
        uint[] msrs = [0x1b, 0x6e0, .. Enumerable.Range(0x800, 0x40).Select(index => (uint)index)];
        for (int i = 0; i < accesses; i++)
        {
            int kind = random.Next(100);
            if (kind < 40)
            {
                (_, IPortDevice device, int ports) = _ports[random.Next(_ports.Length)];
                int size = 1 << random.Next(3);
                int offset = random.Next(ports);
                if (random.Next(2) == 0)
                    device.ReadPort(offset, size);
                else
                    device.WritePort(offset, size, (uint)random.NextInt64());
            }
            else if (kind < 75)
            {
                IMmioDevice device = _memory[random.Next(_memory.Length)].Device;
                ulong offset = random.Next(10) == 0 ? (ulong)random.Next(4096) : (ulong)random.Next(64) * 16;
                int size = random.Next(5) == 0 ? 1 << random.Next(4) : 4;
                if (random.Next(2) == 0)
                    device.ReadMemory(offset, size);
                else
                    device.WriteMemory(offset, size, (ulong)random.NextInt64() & Mask(random));
            }
            else if (kind < 92)
            {
                InterruptController controller = _system.Controllers[random.Next(4)];
                switch (random.Next(6))
                {
                    case 0:
                        controller.TryReadMsr(msrs[random.Next(msrs.Length)], out _);
                        break;
                    case 1:
                        controller.TryWriteMsr(msrs[random.Next(msrs.Length)], (ulong)random.NextInt64() & Mask(random));
                        break;
                    case 2:
                        controller.TaskPriority = (byte)random.Next(256);
                        break;
                    case 3:
                        controller.ApicBase = (ulong)random.NextInt64();
                        break;
                    case 4:
                        controller.TryTakeNmi();
                        break;
                    default:
                        controller.TryAcknowledge(out _);
                        break;
                }
            }
            else if (kind < 96)
            {
                _uart.Feed([(byte)i]);
            }
            else if (advance)
            {
                _system.Clock.Advance(random.Next(1_000_000));
            }
        }
    }

    private static ulong Mask(Random random) => random.Next(3) switch
    {
        0 => ulong.MaxValue,
        1 => 0xffff_ffff,
        _ => 0x1fff,
    };

    private sealed class Sink : ISerialOutput
    {
        public void Write(byte value)
        {
        }
    }
}
