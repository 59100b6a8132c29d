namespace Hyperscope.Devices.Tests;

public sealed class DualPicTests
{
    private readonly RecordingLine _output = new();
    private readonly DualPic _pic;

    public DualPicTests()
    {
        _pic = new DualPic(_output);
        Initialize();
    }

    [Fact]
    public void Lower_number_wins_and_nests()
    {
        _pic.Line(4).Set(true);
        _pic.Line(1).Set(true);
        Assert.Equal(0x21, Acknowledge());
        Assert.False(_output.Level); // 4 waits for the end of 1
        _pic.Line(0).Set(true);
        Assert.Equal(0x20, Acknowledge());
        Eoi(_pic.Master);
        Assert.False(_output.Level);
        Eoi(_pic.Master);
        Assert.Equal(0x24, Acknowledge());
    }

    [Fact]
    public void Slave_requests_come_through_input_2()
    {
        _pic.Line(8).Set(true);
        _pic.Line(14).Set(true);
        Assert.Equal(0x28, Acknowledge());
        Assert.Equal(4, InService(_pic.Master));
        Assert.Equal(1, InService(_pic.Slave));
        Eoi(_pic.Slave);
        Assert.False(_output.Level);
        Eoi(_pic.Master);
        Assert.Equal(0x2e, Acknowledge());
    }

    [Fact]
    public void Edge_is_one_interrupt_however_long_the_line_stays_high()
    {
        _pic.Line(4).Set(true);
        Assert.Equal(0x24, Acknowledge());
        Eoi(_pic.Master);
        Assert.False(_output.Level);
        _pic.Line(4).Set(true);
        Assert.False(_output.Level);
        _pic.Line(4).Set(false);
        _pic.Line(4).Set(true);
        Assert.Equal(0x24, Acknowledge());
    }

    [Fact]
    public void Level_triggered_input_repeats_until_it_falls()
    {
        _pic.TriggerModes.Out(1, 0xff);
        Assert.Equal(0xde, _pic.TriggerModes.In(1));
        _pic.Line(9).Set(true);
        for (int i = 0; i < 3; i++)
        {
            Assert.Equal(0x29, Acknowledge());
            Eoi(_pic.Slave);
            Eoi(_pic.Master);
        }

        _pic.Line(9).Set(false);
        Assert.False(_output.Level);
        Assert.False(_pic.TryAcknowledge(out _));
    }

    [Fact]
    public void Timer_keyboard_and_cascade_cannot_be_level_triggered()
    {
        _pic.TriggerModes.Out(0, 0xff);
        Assert.Equal(0xf8, _pic.TriggerModes.In(0));
        Assert.Equal(0xff, _pic.TriggerModes.In(2));
    }

    [Fact]
    public void A_withdrawn_request_gives_the_spurious_vector_and_sets_nothing_in_service()
    {
        _pic.Line(3).Set(true);
        _pic.Line(3).Set(false);
        Assert.False(_output.Level);
        Assert.Equal(0x27, _pic.Acknowledge());
        Assert.Equal(0, InService(_pic.Master));
    }

    [Fact]
    public void Masked_input_waits_for_its_mask()
    {
        _pic.Master.Out(1, 0x10);
        _pic.Line(4).Set(true);
        Assert.False(_output.Level);
        _pic.Master.Out(0, 0x0a);
        Assert.Equal(0x10, _pic.Master.In(0));
        _pic.Master.Out(1, 0);
        Assert.True(_output.Level);
        Assert.Equal(0x24, Acknowledge());
    }

    [Fact]
    public void Specific_EOI_ends_only_its_input()
    {
        _pic.Line(5).Set(true);
        Acknowledge();
        _pic.Line(2 + 1).Set(true);
        Acknowledge();
        Assert.Equal(0x28, InService(_pic.Master));
        _pic.Master.Out(0, 0x65);
        Assert.Equal(0x08, InService(_pic.Master));
    }

    [Fact]
    public void Automatic_EOI_leaves_nothing_in_service()
    {
        Initialize(icw4: 0x03);
        _pic.Line(4).Set(true);
        Assert.Equal(0x24, Acknowledge());
        Assert.Equal(0, InService(_pic.Master));
    }

    [Fact]
    public void Rotation_makes_the_served_input_the_lowest()
    {
        _pic.Line(1).Set(true);
        _pic.Line(3).Set(true);
        Assert.Equal(0x21, Acknowledge());
        _pic.Master.Out(0, 0xa0); // rotate on non-specific EOI
        _pic.Line(1).Set(false);
        _pic.Line(1).Set(true);
        _pic.Line(0).Set(true);
        Assert.Equal(0x23, Acknowledge());
        Eoi(_pic.Master);
        Assert.Equal(0x20, Acknowledge());
        Eoi(_pic.Master);
        Assert.Equal(0x21, Acknowledge());
    }

    [Fact]
    public void Set_priority_names_the_lowest_input()
    {
        _pic.Master.Out(0, 0xc3); // 4 becomes the highest
        _pic.Line(3).Set(true);
        _pic.Line(0).Set(true);
        _pic.Line(5).Set(true);
        Assert.Equal(0x25, Acknowledge());
        Eoi(_pic.Master);
        Assert.Equal(0x20, Acknowledge());
        Eoi(_pic.Master);
        Assert.Equal(0x23, Acknowledge());
    }

    [Fact]
    public void Special_mask_mode_lets_lower_inputs_through_a_masked_one()
    {
        _pic.Line(1).Set(true);
        Acknowledge();
        _pic.Line(6).Set(true);
        Assert.False(_output.Level);
        _pic.Master.Out(0, 0x68);
        Assert.False(_output.Level);
        _pic.Master.Out(1, 0x02);
        Assert.Equal(0x26, Acknowledge());
        _pic.Master.Out(0, 0x48);
        _pic.Line(7).Set(true);
        Assert.False(_output.Level);
    }

    [Fact]
    public void Special_fully_nested_mode_takes_a_higher_request_of_the_same_slave()
    {
        Initialize(icw4: 0x11);
        _pic.Line(14).Set(true);
        Assert.Equal(0x2e, Acknowledge());
        _pic.Line(3).Set(true);
        Assert.False(_output.Level);
        _pic.Line(8).Set(true);
        Assert.Equal(0x28, Acknowledge());
    }

    [Fact]
    public void Poll_reads_the_request_and_acknowledges_it()
    {
        _pic.Master.Out(0, 0x0c);
        Assert.Equal(0, _pic.Master.In(0));
        _pic.Line(5).Set(true);
        _pic.Master.Out(0, 0x0c);
        Assert.Equal(0x85, _pic.Master.In(0));
        Assert.Equal(0x20, InService(_pic.Master));
        Assert.False(_output.Level);
    }

    [Fact]
    public void Initialization_clears_masks_and_service()
    {
        _pic.Line(4).Set(true);
        Acknowledge();
        _pic.Master.Out(1, 0xff);
        Initialize();
        Assert.Equal(0, _pic.Master.In(1));
        Assert.Equal(0, InService(_pic.Master));
    }

    private void Initialize(int icw4 = 1)
    {
        _pic.Master.Out(0, 0x11);
        _pic.Master.Out(1, 0x20);
        _pic.Master.Out(1, 0x04);
        _pic.Master.Out(1, icw4);
        _pic.Slave.Out(0, 0x11);
        _pic.Slave.Out(1, 0x28);
        _pic.Slave.Out(1, 0x02);
        _pic.Slave.Out(1, 0x01);
    }

    private byte Acknowledge()
    {
        Assert.True(_output.Level);
        Assert.True(_pic.HasPending);
        Assert.True(_pic.TryAcknowledge(out byte vector));
        return vector;
    }

    private static void Eoi(Vm.IPortDevice chip) => chip.Out(0, 0x20);

    private static byte InService(Vm.IPortDevice chip)
    {
        chip.Out(0, 0x0b);
        return chip.In(0);
    }
}
