namespace Hyperscope.Devices.Tests;

public sealed class Pit8254Tests : IDisposable
{
    private readonly ManualGuestClock _clock = new();
    private readonly RecordingLine _line = new();
    private readonly Pit8254 _pit;
    private readonly SystemControlPort _control;

    public Pit8254Tests()
    {
        _pit = new Pit8254(_clock, _line);
        _control = new SystemControlPort(_clock, _pit);
    }

    public void Dispose() => _pit.Dispose();

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(1_193_181)]
    [InlineData(1_193_182)]
    [InlineData(123_456_789_012)]
    public void Deadline_of_a_clock_is_its_first_nanosecond(long clocks)
    {
        long deadline = Pit8254.ToNanoseconds(clocks);
        Assert.Equal(clocks, Pit8254.ToClocks(deadline));
        if (clocks > 0)
            Assert.Equal(clocks - 1, Pit8254.ToClocks(deadline - 1));
    }

    [Fact]
    public void Mode_2_counts_down_to_1_and_reloads()
    {
        Program(2, 0x34 | 0x80, 5);
        _control.Out(0, 1);
        int[] seen = [.. Enumerable.Range(0, 11).Select(ReadAfter)];
        Assert.Equal([5, 4, 3, 2, 1, 5, 4, 3, 2, 1, 5], seen);
    }

    [Theory]
    [InlineData(6, new[] { 6, 4, 2, 6, 4, 2, 6 }, new[] { 1, 1, 1, 0, 0, 0, 1 })]
    [InlineData(5, new[] { 4, 2, 0, 4, 2, 4, 2 }, new[] { 1, 1, 1, 0, 0, 1, 1 })]
    public void Mode_3_counts_by_two_and_makes_a_square_wave(int reload, int[] counts, int[] outputs)
    {
        Program(2, 0xb6, reload);
        _control.Out(0, 1);
        for (int i = 0; i < counts.Length; i++)
        {
            Assert.Equal(counts[i], ReadAfter(i));
            Assert.Equal(outputs[i], (_control.In(0) >> 5) & 1);
        }
    }

    [Fact]
    public void Mode_0_raises_its_output_once_and_counts_on_past_zero()
    {
        _control.Out(0, 1);
        Program(2, 0xb0, 100);
        Assert.Equal(0, _control.In(0) & 0x20);
        At(99);
        Assert.Equal(0, _control.In(0) & 0x20);
        Assert.Equal(1, ReadAfter(99));
        At(100);
        Assert.Equal(0x20, _control.In(0) & 0x20);
        Assert.Equal(0xffff, ReadAfter(101));
        Assert.Equal(0x20, _control.In(0) & 0x20);
    }

    [Fact]
    public void Gate_holds_a_mode_0_count()
    {
        _control.Out(0, 1);
        Program(2, 0xb0, 1000);
        At(100);
        _control.Out(0, 0);
        Assert.Equal(900, ReadAfter(600));
        _control.Out(0, 1);
        Assert.Equal(800, ReadAfter(700));
    }

    [Fact]
    public void Rising_gate_triggers_mode_1_each_time()
    {
        Program(2, 0xb2, 10);
        Assert.Equal(0x20, _control.In(0) & 0x20);
        At(5);
        _control.Out(0, 1);
        Assert.Equal(0, _control.In(0) & 0x20);
        At(15);
        Assert.Equal(0x20, _control.In(0) & 0x20);
        _control.Out(0, 0);
        _control.Out(0, 1);
        Assert.Equal(0, _control.In(0) & 0x20);
    }

    [Theory]
    [InlineData(0xb8)]
    [InlineData(0xba)]
    public void Strobe_modes_pulse_low_for_one_clock(int control)
    {
        Program(2, control, 10);
        _control.Out(0, 1);
        At(9);
        Assert.Equal(0x20, _control.In(0) & 0x20);
        At(10);
        Assert.Equal(0, _control.In(0) & 0x20);
        At(11);
        Assert.Equal(0x20, _control.In(0) & 0x20);
        Assert.Equal(0x20, _control.In(0) & 0x20);
    }

    [Fact]
    public void Bcd_counts_are_decimal()
    {
        _control.Out(0, 1);
        Program(2, 0xb1, 0x1000);
        Assert.Equal(0x0999, ReadAfter(1));
        Program(2, 0xb1, 0);
        Assert.Equal(0x9999, ReadAfter(2));
    }

    [Fact]
    public void Latched_count_stands_still_until_read()
    {
        Program(0, 0x34, 1000);
        At(10);
        _pit.Out(3, 0x00);
        At(500);
        _pit.Out(3, 0x00); // a second latch is ignored
        Assert.Equal(990, _pit.In(0) | (_pit.In(0) << 8));
        Assert.Equal(500, _pit.In(0) | (_pit.In(0) << 8));
    }

    [Fact]
    public void Read_back_gives_status_before_count()
    {
        Program(0, 0x34, 1000);
        At(10);
        _pit.Out(3, 0xc2);
        Assert.Equal(0xb4, _pit.In(0));
        Assert.Equal(990, _pit.In(0) | (_pit.In(0) << 8));
        _pit.Out(3, 0x30);
        _pit.Out(3, 0xe2);
        Assert.Equal(0x70, _pit.In(0)); // null count, output low
    }

    [Theory]
    [InlineData(0x14, 0x80, 0x80)]
    [InlineData(0x24, 0x80, 0x8000)]
    public void Single_byte_access_sets_only_its_half(int control, int value, int reload)
    {
        _pit.Out(3, control);
        _pit.Out(0, value);
        _clock.AdvanceTo(Pit8254.ToNanoseconds(reload - 1));
        Assert.Equal(1, _line.RisingEdges);
        _clock.AdvanceTo(Pit8254.ToNanoseconds(reload));
        Assert.Equal(2, _line.RisingEdges);
    }

    [Theory]
    [InlineData(0x34)]
    [InlineData(0x36)]
    public void Periodic_modes_interrupt_once_per_period_without_drift(int control)
    {
        Program(0, control, 1193);
        int before = _line.RisingEdges;
        _clock.AdvanceTo(10_000_000_000);
        Assert.Equal(11_931_820 / 1193, _line.RisingEdges - before);
    }

    [Fact]
    public void Mode_0_interrupts_once()
    {
        Program(0, 0x30, 2000);
        Assert.False(_line.Level);
        At(1999);
        Assert.False(_line.Level);
        _clock.AdvanceTo(10_000_000_000);
        Assert.Equal(1, _line.RisingEdges);
        Assert.True(_line.Level);
        Assert.Null(_clock.NextDeadline);
    }

    [Fact]
    public void The_shortest_period_does_not_flood_the_timer_thread()
    {
        Program(0, 0x34, 1);
        _clock.AdvanceTo(1_000_000_000);
        Assert.InRange(_line.RisingEdges, 1000, 10_001);
    }

    [Fact]
    public void Refresh_bit_toggles_with_time()
    {
        int first = _control.In(0) & 0x10;
        _clock.Advance(15_085);
        Assert.NotEqual(first, _control.In(0) & 0x10);
    }

    private void Program(int channel, int control, int reload)
    {
        _pit.Out(3, control);
        _pit.Out(channel, reload & 0xff);
        _pit.Out(channel, reload >> 8);
    }

    private void At(long clocks) => _clock.AdvanceTo(Pit8254.ToNanoseconds(clocks));

    private int ReadAfter(int clocks)
    {
        At(clocks);
        return _pit.In(2) | (_pit.In(2) << 8);
    }
}
