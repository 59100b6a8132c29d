namespace Hyperscope.Devices.Tests;

public sealed class IoApicTests : IDisposable
{
    private const ulong Level = 1 << 15, Masked = 1 << 16, RemoteIrr = 1 << 14;

    private readonly ApicSystem _system = new(2);

    public IoApicTests() => _system.EnableAll();

    public void Dispose() => _system.Dispose();

    [Fact]
    public void Version_says_24_pins_and_all_start_masked()
    {
        _system.IoApic.WriteMemory(0, 4, 1);
        Assert.Equal(0x0017_0020u, (uint)_system.IoApic.ReadMemory(0x10, 4));
        for (int pin = 0; pin < IoApic.PinCount; pin++)
            Assert.Equal(Masked, _system.GetRedirection(pin));
        _system.IoApic.WriteMemory(0, 4, 0x40);
        Assert.Equal(uint.MaxValue, (uint)_system.IoApic.ReadMemory(0x10, 4));
    }

    [Fact]
    public void Edge_is_delivered_once_to_the_destination()
    {
        _system.SetRedirection(4, 0x0100_0000_0000_0041);
        _system.IoApic.Pin(4).Set(true);
        _system.IoApic.Pin(4).Set(true);
        Assert.False(_system.Controllers[0].HasPending);
        Assert.Equal(0x41, _system.Acknowledge(1));
        _system.Write(1, 0xb0, 0);
        Assert.False(_system.Controllers[1].HasPending);
        _system.IoApic.Pin(4).Set(false);
        _system.IoApic.Pin(4).Set(true);
        Assert.Equal(0x41, _system.Acknowledge(1));
    }

    [Fact]
    public void Edge_on_a_masked_pin_is_lost()
    {
        _system.IoApic.Pin(4).Set(true);
        _system.SetRedirection(4, 0x41);
        Assert.False(_system.Controllers[0].HasPending);
    }

    [Fact]
    public void Level_repeats_after_EOI_while_asserted()
    {
        _system.SetRedirection(9, Level | 0x49);
        _system.IoApic.Pin(9).Set(true);
        for (int i = 0; i < 3; i++)
        {
            Assert.Equal(Level | RemoteIrr | 0x49, _system.GetRedirection(9));
            Assert.Equal(0x49, _system.Acknowledge(0));
            Assert.Equal(0x200u, _system.Read(0, 0x1a0)); // TMR
            _system.IoApic.Pin(9).Set(true);
            Assert.False(_system.Controllers[0].HasPending);
            _system.Write(0, 0xb0, 0);
        }

        Assert.Equal(0x49, _system.Acknowledge(0));
        _system.IoApic.Pin(9).Set(false);
        _system.Write(0, 0xb0, 0);
        Assert.False(_system.Controllers[0].HasPending);
        Assert.Equal(Level | 0x49, _system.GetRedirection(9));
    }

    [Fact]
    public void Level_on_a_masked_pin_is_delivered_when_unmasked()
    {
        _system.SetRedirection(9, Level | Masked | 0x49);
        _system.IoApic.Pin(9).Set(true);
        Assert.False(_system.Controllers[0].HasPending);
        _system.SetRedirection(9, Level | 0x49);
        Assert.Equal(0x49, _system.Acknowledge(0));
    }

    [Fact]
    public void EOI_register_and_edge_mode_clear_remote_IRR()
    {
        _system.SetRedirection(9, Level | 0x49);
        _system.IoApic.Pin(9).Set(true);
        _system.IoApic.Pin(9).Set(false);
        _system.IoApic.WriteMemory(0x40, 4, 0x49);
        Assert.Equal(Level | 0x49, _system.GetRedirection(9));
        _system.IoApic.Pin(9).Set(true);
        _system.SetRedirection(9, Masked | 0x49);
        Assert.Equal(Masked | 0x49, _system.GetRedirection(9));
    }

    [Fact]
    public void EOI_of_an_edge_interrupt_is_not_broadcast()
    {
        _system.SetRedirection(9, 0x0100_0000_0000_0000 | Level | 0x49);
        _system.IoApic.Pin(9).Set(true);
        _system.SendIpi(0, 0, 0x4049);
        Assert.Equal(0x49, _system.Acknowledge(0));
        _system.Write(0, 0xb0, 0);
        Assert.Equal(0x0100_0000_0000_0000 | Level | RemoteIrr | 0x49, _system.GetRedirection(9));
    }

    [Fact]
    public void ExtINT_pin_takes_its_vector_from_the_8259()
    {
        foreach ((int offset, int value) in new[] { (0, 0x11), (1, 0x20), (1, 4), (1, 1) })
            _system.Pic.Master.Out(offset, value);
        _system.Write(0, 0x350, 0x1_0700);
        _system.SetRedirection(0, 0x700);
        _system.Pic.Line(4).Set(true);
        Assert.False(_system.Controllers[0].HasPending);
        _system.IoApic.Pin(0).Set(true);
        Assert.Equal(0x24, _system.Acknowledge(0));
        _system.IoApic.Pin(0).Set(false);
        _system.IoApic.Pin(0).Set(true);
        Assert.Equal(0x27, _system.Acknowledge(0)); // nothing there any more: spurious
    }

    [Fact]
    public void ISA_lines_reach_both_controllers_and_IRQ_0_is_pin_2()
    {
        var isa = new IsaInterrupts(_system.Pic, _system.IoApic);
        _system.SetRedirection(2, 0x42);
        isa[0].Set(true);
        Assert.True(_system.Pic.HasPending);
        Assert.True(_system.Locals[0].HasPending);
        Assert.Equal(4u, _system.Read(0, 0x220));
        Assert.Throws<ArgumentOutOfRangeException>(() => isa[2]);
    }
}
