using System.Text;
using Hyperscope.Devices;
using Hyperscope.Vm;

namespace Hyperscope.Machine.Tests;

public sealed class PcBoardTests : IDisposable
{
    private readonly ManualGuestClock _clock = new();
    private readonly FakeMachine _machine = new();
    private readonly FakeVcpu[] _vcpus = [new(), new()];
    private readonly PcBoard _board;

    public PcBoardTests()
    {
        var tsc = new ClockTimeStampCounter(_clock, 1_000_000_000);
        _board = new PcBoard(new PcBoardOptions
        {
            Clock = _clock,
            Vcpus = _vcpus,
            TimeStampCounters = [tsc, tsc],
            Machine = _machine,
            Memory = new GuestMemoryMap(64 << 20),
            SerialOutput = _machine,
            StartTime = DateTimeOffset.UnixEpoch,
        });
    }

    private IGuestBus Bus => _board.BusOf(new VcpuIndex(0));

    public void Dispose() => _board.Dispose();

    [Fact]
    public void Ports_of_the_PC_lead_to_their_devices()
    {
        Bus.WritePort(0x3f8, 1, 'A');
        Assert.Equal("A", _machine.Output.ToString());
        Bus.WritePort(0xf4, 4, 0x10);
        Assert.Equal(0x21, _machine.ExitStatus);
        Bus.WritePort(0x604, 2, 0x2000);
        Bus.WritePort(0xcf9, 1, 6);
        Bus.WritePort(0x64, 1, 0xfe);
        Bus.WritePort(0x92, 1, 1);
        Assert.Equal((1, 3), (_machine.PowerOffs, _machine.Resets));
        Assert.Equal(0xffffffffu, Bus.ReadPort(0xcf8, 4)); // no PCI
        Assert.Equal(0x02u, Bus.ReadPort(0x4d1, 1)); // SCI is level-triggered
    }

    [Fact]
    public void Each_vCPU_sees_its_own_local_APIC()
    {
        var address = new Gpa(PcBoard.LocalApicAddress + 0x20);
        Assert.Equal(0ul, Bus.ReadMemory(address, 4));
        Assert.Equal(0x0100_0000ul, _board.BusOf(new VcpuIndex(1)).ReadMemory(address, 4));
        Assert.Equal(0xffff_fffful, _board.Bus.ReadMemory(address, 4));
        Bus.WriteMemory(new Gpa(PcBoard.IoApicAddress), 4, 1);
        Assert.Equal(0x0017_0020ul, Bus.ReadMemory(new Gpa(PcBoard.IoApicAddress + 0x10), 4));
    }

    [Fact]
    public void Timer_interrupt_arrives_by_8259_and_by_IOAPIC()
    {
        foreach ((ushort port, byte value) in new (ushort, byte)[] { (0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xfe) })
            Bus.WritePort(port, 1, value);
        IVcpuInterrupts interrupts = _board.InterruptsOf(new VcpuIndex(0));
        ProgramTimer();
        _clock.Advance(2_000_000);
        Assert.True(interrupts.TryAcknowledge(out byte vector));
        Assert.Equal(0x20, vector);
        Assert.True(_vcpus[0].Wakes > 0);

        Bus.WritePort(0x21, 1, 0xff);
        Bus.WriteMemory(new Gpa(PcBoard.LocalApicAddress + 0xf0), 4, 0x1ff);
        Bus.WriteMemory(new Gpa(PcBoard.IoApicAddress), 4, 0x14);
        Bus.WriteMemory(new Gpa(PcBoard.IoApicAddress + 0x10), 4, 0x30);
        _clock.Advance(2_000_000);
        Assert.True(interrupts.TryAcknowledge(out vector));
        Assert.Equal(0x30, vector);
    }

    [Fact]
    public void Secondary_starts_by_INIT_and_SIPI()
    {
        Bus.WriteMemory(new Gpa(PcBoard.LocalApicAddress + 0x310), 4, 1 << 24);
        Bus.WriteMemory(new Gpa(PcBoard.LocalApicAddress + 0x300), 4, 0x4500);
        Bus.WriteMemory(new Gpa(PcBoard.LocalApicAddress + 0x300), 4, 0x4608);
        Assert.Equal((1, 8), (_vcpus[1].Inits, _vcpus[1].Startup));
    }

    [Fact]
    public void Random_traffic_over_the_whole_bus_breaks_nothing()
    {
        var random = new Random(7);
        for (int i = 0; i < 300_000; i++)
        {
            IGuestBus bus = _board.BusOf(new VcpuIndex((ushort)random.Next(2)));
            ushort port = (ushort)random.Next(random.Next(4) == 0 ? 0x10000 : 0x100);
            int size = 1 << random.Next(3);
            ulong address = random.Next(2) == 0 ? 0xfec00000ul + (ulong)random.Next(0x2000) : 0xfee00000ul - 8 + (ulong)random.Next(0x1010);
            switch (random.Next(5))
            {
                case 0:
                    Assert.True(bus.ReadPort(port, size) <= uint.MaxValue >> (32 - (8 * size)));
                    break;
                case 1:
                    bus.WritePort(port, size, (uint)random.NextInt64());
                    break;
                case 2:
                    Assert.True(bus.ReadMemory(new Gpa(address), size) <= ulong.MaxValue >> (64 - (8 * size)));
                    break;
                case 3:
                    bus.WriteMemory(new Gpa(address), 1 << random.Next(4), (ulong)random.NextInt64());
                    break;
                default:
                    _clock.Advance(random.Next(100_000));
                    break;
            }
        }
    }

    private void ProgramTimer()
    {
        Bus.WritePort(0x43, 1, 0x34);
        Bus.WritePort(0x40, 1, 0xa9);
        Bus.WritePort(0x40, 1, 0x04); // 1193 counts: 1 ms
    }

    private sealed class FakeVcpu : IVcpuSignals
    {
        public int Wakes { get; private set; }

        public int Inits { get; private set; }

        public int Startup { get; private set; } = -1;

        public void Wake() => Wakes++;

        public void Init() => Inits++;

        public int IgnoredErrors { get; private set; }

        public void IgnoreX87Error() => IgnoredErrors++;

        void IVcpuSignals.Startup(byte vector) => Startup = vector;
    }

    private sealed class FakeMachine : IMachineControl, ISerialOutput
    {
        public StringBuilder Output { get; } = new();

        public int? ExitStatus { get; private set; }

        public int PowerOffs { get; private set; }

        public int Resets { get; private set; }

        public void RequestExit(int status) => ExitStatus = status;

        public void RequestPowerOff() => PowerOffs++;

        public void RequestReset() => Resets++;

        public void Write(byte value) => Output.Append((char)value);
    }
}
