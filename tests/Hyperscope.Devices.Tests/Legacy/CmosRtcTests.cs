namespace Hyperscope.Devices.Tests;

public sealed class CmosRtcTests : IDisposable
{
    private const long Second = 1_000_000_000;

    private readonly ManualGuestClock _clock = new();
    private readonly RecordingLine _line = new();
    private readonly CmosRtc _rtc;

    public CmosRtcTests() => _rtc = new CmosRtc(_clock, _line, new DateTimeOffset(2024, 2, 28, 23, 59, 58, TimeSpan.Zero));

    public void Dispose() => _rtc.Dispose();

    [Fact]
    public void Time_runs_in_BCD_across_a_leap_day()
    {
        Assert.Equal("20 24 02 28 04 23 59 58", Time());
        _clock.Advance(2 * Second);
        Assert.Equal("20 24 02 29 05 00 00 00", Time());
    }

    [Theory]
    [InlineData(0x00, "20 24 02 28 04 91 59 58")]
    [InlineData(0x04, "14 18 02 1c 04 8b 3b 3a")]
    [InlineData(0x06, "14 18 02 1c 04 17 3b 3a")]
    public void All_formats_show_the_same_time(int format, string registers)
    {
        Write(0x0b, format);
        Assert.Equal(registers, Time());
    }

    [Fact]
    public void Midnight_and_noon_are_12_in_the_12_hour_format()
    {
        Write(0x0b, 0x00);
        _clock.Advance(2 * Second);
        Assert.Equal(0x12, Read(4));
        _clock.Advance(12 * 3600 * Second);
        Assert.Equal(0x92, Read(4));
    }

    [Fact]
    public void Time_set_while_stopped_starts_when_released()
    {
        Write(0x0b, 0x82);
        Write(0x32, 0x19);
        Write(9, 0x99);
        Write(8, 0x12);
        Write(7, 0x31);
        Write(4, 0x23);
        Write(2, 0x59);
        Write(0, 0x59);
        _clock.Advance(100 * Second);
        Assert.Equal(0x59, Read(0));
        Write(0x0b, 0x02);
        _clock.Advance(Second - 1);
        Assert.Equal("19 99 12 31 06 23 59 59", Time());
        _clock.Advance(1);
        Assert.Equal("20 00 01 01 07 00 00 00", Time());
    }

    [Fact]
    public void Impossible_dates_become_possible_ones()
    {
        Write(0x0b, 0x82);
        foreach (int index in new[] { 0x32, 9, 8, 7, 4, 2, 0 })
            Write(index, 0xff);
        Write(0x0b, 0x02);
        _clock.Advance(3600 * Second);
        Assert.NotEqual("ff ff ff ff ff ff ff ff", Time());
    }

    [Fact]
    public void Update_in_progress_shows_just_before_the_second()
    {
        Assert.Equal(0, Read(0x0a) & 0x80);
        _clock.AdvanceTo(Second - 244_001);
        Assert.Equal(0, Read(0x0a) & 0x80);
        _clock.AdvanceTo(Second - 244_000);
        Assert.Equal(0x80, Read(0x0a) & 0x80);
        _clock.AdvanceTo(Second);
        Assert.Equal(0, Read(0x0a) & 0x80);
    }

    [Fact]
    public void Update_interrupt_comes_each_second_once_register_C_is_read()
    {
        Write(0x0b, 0x12);
        _clock.Advance(Second);
        Assert.True(_line.Level);
        _clock.Advance(5 * Second);
        Assert.Equal(1, _line.RisingEdges);
        Assert.Equal(0x90, Read(0x0c) & 0x90);
        Assert.False(_line.Level);
        Assert.Equal(0, Read(0x0c));
        _clock.Advance(Second);
        Assert.Equal(2, _line.RisingEdges);
    }

    [Theory]
    [InlineData(0x26, 1024)]
    [InlineData(0x2f, 2)]
    [InlineData(0x21, 256)]
    [InlineData(0x23, 8192)]
    public void Periodic_interrupt_runs_at_the_selected_rate(int registerA, int hertz)
    {
        Write(0x0a, registerA);
        Write(0x0b, 0x42);
        int count = 0;
        while (_clock.NextDeadline is { } next && next <= Second)
        {
            _clock.AdvanceTo(next);
            Assert.True(_line.Level);
            Assert.Equal(0xc0, Read(0x0c) & 0xc0);
            count++;
        }

        Assert.Equal(hertz, count);
    }

    [Theory]
    [InlineData(0x00, 0x00, 0x00, 2)]
    [InlineData(0x05, 0xff, 0xff, 7)]
    [InlineData(0xff, 0xff, 0xff, 1)]
    [InlineData(0xff, 0x01, 0xff, 62)]
    [InlineData(0x58, 0x59, 0x23, 86400)]
    [InlineData(0x30, 0x15, 0x12, (12 * 3600) + (15 * 60) + 30 + 2)]
    public void Alarm_fires_at_the_next_matching_second(int second, int minute, int hour, int expected)
    {
        Write(1, second);
        Write(3, minute);
        Write(5, hour);
        Write(0x0b, 0x22);
        _clock.AdvanceTo((expected * Second) - 1);
        Assert.False(_line.Level);
        _clock.AdvanceTo(expected * Second);
        Assert.True(_line.Level);
        Assert.Equal(0xa0, Read(0x0c) & 0xa0);
    }

    [Fact]
    public void Flags_are_set_without_their_interrupts()
    {
        Read(0x0c);
        _clock.Advance(Second);
        Assert.Equal(0x50, Read(0x0c));
        Assert.Equal(0, _line.RisingEdges);
        Assert.Null(_clock.NextDeadline);
    }

    [Fact]
    public void Memory_size_is_where_firmware_puts_it()
    {
        _rtc.SetMemorySize(512UL << 20, 3UL << 30);
        Assert.Equal(640, Read(0x15) | (Read(0x16) << 8));
        Assert.Equal(0xffff, Read(0x30) | (Read(0x31) << 8));
        Assert.Equal(496 * 16, Read(0x34) | (Read(0x35) << 8));
        Assert.Equal(3 << 14, Read(0x5b) | (Read(0x5c) << 8) | (Read(0x5d) << 16));
    }

    [Fact]
    public void Index_port_holds_the_NMI_mask()
    {
        _rtc.Out(0, 0x80);
        Assert.True(_rtc.IsNmiMasked);
        _rtc.Out(0, 0x0d);
        Assert.False(_rtc.IsNmiMasked);
        Assert.Equal(0x80, _rtc.In(1));
        Assert.Equal(0xff, _rtc.In(0));
    }

    [Fact]
    public void Other_bytes_are_memory()
    {
        Write(0x40, 0xa5);
        Assert.Equal(0xa5, Read(0x40));
    }

    private string Time() => string.Join(' ', new[] { 0x32, 9, 8, 7, 6, 4, 2, 0 }.Select(index => Read(index).ToString("x2", null)));

    private byte Read(int index)
    {
        _rtc.Out(0, index);
        return _rtc.In(1);
    }

    private void Write(int index, int value)
    {
        _rtc.Out(0, index);
        _rtc.Out(1, value);
    }
}
