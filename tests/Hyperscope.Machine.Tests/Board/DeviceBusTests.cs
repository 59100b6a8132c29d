using Hyperscope.Vm;

namespace Hyperscope.Machine.Tests;

public sealed class DeviceBusTests
{
    private readonly DeviceBus _bus = new();
    private readonly Recorder _device = new();

    [Fact]
    public void Nothing_attached_reads_as_ones_of_the_access_size()
    {
        Assert.Equal(0xffu, _bus.ReadPort(0x80, 1));
        Assert.Equal(0xffffffffu, _bus.ReadPort(0xffff, 4));
        Assert.Equal(0xfffful, _bus.ReadMemory(new Gpa(ulong.MaxValue), 2));
        _bus.WritePort(0xffff, 4, 1);
        _bus.WriteMemory(new Gpa(ulong.MaxValue), 8, 1);
    }

    [Fact]
    public void Device_sees_offsets_and_whole_accesses()
    {
        _bus.Attach(new PortRange(0x100, 8), _device);
        _bus.Attach(new MemoryAddressRange(new Gpa(0xfec00000), 0x1000), _device);
        Assert.Equal(0x03u, _bus.ReadPort(0x103, 1));
        _bus.WritePort(0x104, 4, 0x12345678);
        Assert.Equal(0x0ffful, _bus.ReadMemory(new Gpa(0xfec00fff), 1) << 4 | 0xf);
        _bus.WriteMemory(new Gpa(0xfec00010), 8, ulong.MaxValue);
        Assert.Equal(["r3/1", "w4/4=12345678", "mrfff/1", "mw10/8=ffffffffffffffff"], _device.Log);
    }

    [Fact]
    public void Access_across_the_end_of_a_device_is_made_byte_by_byte()
    {
        _bus.Attach(new PortRange(0x100, 2), _device);
        Assert.Equal(0xffff0100u, _bus.ReadPort(0x100, 4));
        _bus.WritePort(0xff, 4, 0x44332211);
        Assert.Equal(["r0/1", "r1/1", "w0/1=22", "w1/1=33"], _device.Log);
        _device.Log.Clear();
        _bus.Attach(new MemoryAddressRange(new Gpa(0x1000), 2), _device);
        Assert.Equal(0xffff_0100ul, _bus.ReadMemory(new Gpa(0x1000), 4));
        _bus.WriteMemory(new Gpa(0xfff), 2, 0xbbaa);
        Assert.Equal(["mr0/1", "mr1/1", "mw0/1=bb"], _device.Log);
    }

    [Fact]
    public void A_range_can_be_taken_once()
    {
        _bus.Attach(new PortRange(0x100, 8), _device);
        ArgumentException error = Assert.Throws<ArgumentException>(() => _bus.Attach(new PortRange(0xf9, 8), _device));
        Assert.Contains("port 0x100 is taken", error.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => _bus.Attach(new PortRange(0xffff, 2), _device));
        Assert.Throws<ArgumentException>(() => _bus.Attach(new PortRange(0, 0), _device));
        _bus.Attach(new MemoryAddressRange(new Gpa(0x1000), 0x1000), _device);
        Assert.Throws<ArgumentException>(() => _bus.Attach(new MemoryAddressRange(new Gpa(0xfff), 2), _device));
        Assert.Throws<ArgumentException>(() => _bus.Attach(new MemoryAddressRange(new Gpa(0), 0x3000), _device));
        Assert.Throws<ArgumentException>(() => _bus.Attach(new MemoryAddressRange(new Gpa(ulong.MaxValue), 2), _device));
        _bus.Attach(new MemoryAddressRange(new Gpa(0), 0x1000), _device);
    }

    private sealed class Recorder : IPortDevice, IMmioDevice
    {
        public List<string> Log { get; } = [];

        public uint ReadPort(int offset, int size)
        {
            Log.Add($"r{offset:x}/{size}");
            return 0xffffff00u | (uint)offset;
        }

        public void WritePort(int offset, int size, uint value) => Log.Add($"w{offset:x}/{size}={value:x}");

        public ulong ReadMemory(ulong offset, int size)
        {
            Log.Add($"mr{offset:x}/{size}");
            return 0xffff_ffff_ffff_ff00 | offset;
        }

        public void WriteMemory(ulong offset, int size, ulong value) => Log.Add($"mw{offset:x}/{size}={value:x}");
    }
}
