namespace Hyperscope.Devices.Tests;

public sealed class PowerTests
{
    private readonly ManualGuestClock _clock = new();
    private readonly RecordingLine _line = new();
    private readonly RecordingMachine _machine = new();

    [Theory]
    [InlineData(4, 2, 0x2000u, 1)]
    [InlineData(5, 1, 0x20u, 1)]
    [InlineData(4, 2, 0x0001u, 0)]
    [InlineData(4, 2, 0x3400u, 0)] // another sleep type
    [InlineData(4, 1, 0x20u, 0)]
    public void Sleep_enable_with_type_0_switches_off(int offset, int size, uint value, int expected)
    {
        var acpi = new AcpiPowerManagement(_clock, _line, _machine);
        acpi.WritePort(offset, size, value);
        Assert.Equal(expected, _machine.PowerOffs);
        Assert.Equal(1u, acpi.ReadPort(4, 2)); // ACPI mode
    }

    [Fact]
    public void Power_button_interrupts_until_its_status_is_cleared()
    {
        var acpi = new AcpiPowerManagement(_clock, _line, _machine);
        acpi.WritePort(2, 2, 0x100);
        Assert.False(_line.Level);
        acpi.PressPowerButton();
        Assert.True(_line.Level);
        Assert.Equal(0x100u, acpi.ReadPort(0, 2));
        acpi.WritePort(0, 2, 0x001);
        Assert.True(_line.Level);
        acpi.WritePort(0, 2, 0x100);
        Assert.False(_line.Level);
    }

    [Fact]
    public void PM_timer_runs_at_its_frequency_in_24_bits()
    {
        var acpi = new AcpiPowerManagement(_clock, _line, _machine);
        _clock.AdvanceTo(1_000_000_000);
        Assert.Equal(3_579_545u, acpi.ReadPort(8, 4));
        _clock.AdvanceTo(5_000_000_000);
        Assert.Equal(17_897_725u & 0xff_ffff, acpi.ReadPort(8, 4));
    }

    [Fact]
    public void Only_a_byte_write_of_bit_2_at_cf9_resets()
    {
        var port = new ResetControlPort(_machine);
        port.WritePort(0, 4, 0x8000_0604);
        port.WritePort(1, 1, 0x02);
        Assert.Equal(0, _machine.Resets);
        Assert.Equal(2u, port.ReadPort(1, 1));
        Assert.Equal(uint.MaxValue, port.ReadPort(0, 4));
        port.WritePort(1, 1, 0x06);
        Assert.Equal(1, _machine.Resets);
    }

    [Fact]
    public void Port_92_resets_on_bit_0_and_keeps_A20()
    {
        var port = new SystemControlPortA(_machine);
        Assert.Equal(2, port.In(0));
        port.Out(0, 0);
        Assert.Equal(0, _machine.Resets);
        port.Out(0, 3);
        Assert.Equal(1, _machine.Resets);
        Assert.Equal(2, port.In(0));
    }

    [Fact]
    public void Keyboard_controller_passes_its_self_test_and_resets()
    {
        var controller = new KeyboardController(_line, NoInterruptLine.Instance, _machine);
        controller.Out(4, 0xaa);
        Assert.Equal(1, controller.In(4) & 1);
        Assert.Equal(0x55, controller.In(0));
        Assert.Equal(0, controller.In(4) & 1);
        controller.Out(4, 0xff);
        Assert.Equal(0, _machine.Resets);
        controller.Out(4, 0xfe);
        Assert.Equal(1, _machine.Resets);
    }

    [Fact]
    public void Keyboard_and_mouse_time_out_at_once()
    {
        var mouse = new RecordingLine();
        var controller = new KeyboardController(_line, mouse, _machine);
        controller.Out(4, 0x60);
        controller.Out(0, 0x03); // both interrupts on, both enabled
        controller.Out(4, 0x20);
        Assert.Equal(0x03, controller.In(0));
        controller.Out(0, 0xf2);
        Assert.True(_line.Level);
        Assert.Equal(0x41, controller.In(4) & 0x61);
        Assert.Equal(0xfe, controller.In(0));
        Assert.False(_line.Level);
        controller.Out(4, 0xd4);
        controller.Out(0, 0xf2);
        Assert.True(mouse.Level);
        Assert.Equal(0x61, controller.In(4) & 0x61);
    }
}
