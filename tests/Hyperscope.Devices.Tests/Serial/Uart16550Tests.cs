using System.Text;

namespace Hyperscope.Devices.Tests;

public sealed class Uart16550Tests : IDisposable
{
    private readonly RecordingLine _line = new();
    private readonly CapturingOutput _output = new();
    private readonly Uart16550 _uart;

    public Uart16550Tests() => _uart = new Uart16550(_line, _output);

    public void Dispose() => _uart.Dispose();

    [Fact]
    public void Written_characters_reach_the_output_in_order()
    {
        foreach (byte character in "hello"u8)
        {
            Assert.Equal(0x60, In(5) & 0x60);
            Out(0, character);
        }

        Assert.Equal("hello", _output.Text);
    }

    // The probe that Linux's 8250 driver makes, register by register.
    [Fact]
    public void Probe_sequence_of_the_8250_driver_finds_a_16550A()
    {
        Out(1, 0);
        Assert.Equal(0, In(1));
        Out(1, 0x0f);
        Assert.Equal(0x0f, In(1));
        Out(1, 0);

        Out(4, 0x10 | 0x0a);
        Assert.Equal(0x90, In(6) & 0xf0);
        Out(4, 0);

        Out(3, 0xbf);
        Out(2, 0);
        Out(3, 0);
        Out(2, 1);
        Assert.Equal(3, In(2) >> 6);

        Out(3, 0x80);
        Assert.NotEqual(0, In(2)); // no EFR, so not a 16650
        Out(3, 0xbf);
        Assert.NotEqual(0, In(2));

        Out(3, 0);
        Out(2, 0x21); // 64-byte FIFO bit of the 16750
        Assert.Equal(0, In(2) & 0x20);

        Out(1, 0x40); // XScale's unit enable
        Assert.Equal(0, In(1) & 0x40);
    }

    [Fact]
    public void Enabling_the_transmitter_interrupt_raises_it_each_time()
    {
        Out(4, 8);
        Out(1, 2);
        Assert.True(_line.Level);
        Assert.Equal(0x02, In(2));
        Assert.False(_line.Level);
        Assert.Equal(0x01, In(2));
        Out(1, 0);
        Out(1, 2);
        Assert.Equal(0x02, In(2));
    }

    [Fact]
    public void Interrupt_driven_output_gets_an_edge_after_each_burst()
    {
        Out(4, 8);
        Out(2, 1);
        Out(1, 2);
        for (int burst = 0; burst < 10; burst++)
        {
            Assert.True(_line.Level);
            Assert.Equal(0xc2, In(2));
            int edges = _line.RisingEdges;
            for (int i = 0; i < 16; i++)
                Out(0, (byte)('a' + i));
            Assert.True(_line.RisingEdges > edges);
        }

        Assert.Equal(160, _output.Text.Length);
    }

    [Fact]
    public void Interrupts_come_in_the_order_line_received_transmitter_modem()
    {
        Out(2, 1);
        Out(4, 8);
        Out(1, 0x0f);
        Out(4, 8 | 0x10); // looped: CTS and DSR drop
        Out(4, 8);
        _uart.FeedBreak();
        Assert.Equal(0xc6, In(2));
        Assert.Equal(0x10 | 0x80 | 0x61, In(5));
        Assert.Equal(0xc4, In(2));
        Assert.Equal(0, In(0));
        Assert.Equal(0xc2, In(2));
        Assert.Equal(0xc0, In(2));
        Assert.Equal(0xb3, In(6));
        Assert.Equal(0xc1, In(2));
        Assert.False(_line.Level);
    }

    [Theory]
    [InlineData(0x01, 1)]
    [InlineData(0x41, 4)]
    [InlineData(0x81, 8)]
    [InlineData(0xc1, 14)]
    public void Below_the_trigger_level_the_timeout_is_indicated(byte control, int trigger)
    {
        Out(2, control);
        Out(1, 1);
        for (int i = 1; i <= 16; i++)
        {
            _uart.Feed([(byte)i]);
            Assert.Equal(i >= trigger ? 0xc4 : 0xcc, In(2));
        }

        for (int i = 1; i <= 16; i++)
            Assert.Equal(i, In(0));
        Assert.Equal(0xc1, In(2));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Input_longer_than_the_receiver_is_delivered_whole(byte fifo)
    {
        Out(2, fifo);
        byte[] sent = Encoding.ASCII.GetBytes(string.Concat(Enumerable.Range(0, 100).Select(i => $"{i} ")));
        Assert.Equal(sent.Length, _uart.Feed(sent));
        var got = new List<byte>();
        byte status;
        while (((status = In(5)) & 1) != 0)
        {
            Assert.Equal(0, status & 2);
            got.Add(In(0));
        }

        Assert.Equal(sent, got);
    }

    [Fact]
    public void Full_input_is_refused_and_room_is_signalled()
    {
        byte[] flood = new byte[Uart16550.InputCapacity + 100];
        Assert.Equal(Uart16550.InputCapacity, _uart.Feed(flood));
        Assert.Equal(1, _uart.Feed(flood)); // one went on into the receiver
        Assert.Equal(0, _uart.Feed(flood));
        using var cancelled = new CancellationTokenSource();
        cancelled.Cancel();
        Assert.Throws<OperationCanceledException>(() => _uart.WaitForRoom(cancelled.Token));
        In(0);
        _uart.WaitForRoom(TestContext.Current.CancellationToken);
        Assert.Equal(1, _uart.Feed(flood));
    }

    [Fact]
    public void Loop_back_returns_characters_and_overruns()
    {
        Out(2, 1);
        Out(4, 0x10);
        for (int i = 0; i < 17; i++)
            Out(0, (byte)i);
        Assert.Equal(0x63, In(5));
        Assert.Equal(0x61, In(5));
        for (int i = 0; i < 16; i++)
            Assert.Equal(i, In(0));
        Assert.Equal(0x60, In(5));
        Assert.Empty(_output.Text);
    }

    [Fact]
    public void Loop_back_connects_the_modem_lines_and_shows_deltas()
    {
        Out(4, 0x1f);
        In(6);
        Out(4, 0x10 | 0x01);
        Assert.Equal(0x20 | 0x01 | 0x04 | 0x08, In(6)); // RTS, OUT1 (trailing edge) and OUT2 fell
        Assert.Equal(0x20, In(6));
    }

    [Fact]
    public void Divisor_latch_hides_data_and_interrupt_enable()
    {
        Out(1, 5);
        Out(3, 0x83);
        Out(0, 0x01);
        Out(1, 0x02);
        Assert.Equal(0x0201, _uart.Divisor);
        Assert.Equal(0x01, In(0));
        Assert.Equal(0x02, In(1));
        Out(3, 0x03);
        Assert.Equal(5, In(1));
        Assert.Empty(_output.Text);
    }

    [Fact]
    public void Scratch_register_keeps_its_value()
    {
        Out(7, 0xa5);
        Assert.Equal(0xa5, In(7));
    }

    [Fact]
    public void Without_OUT2_the_bus_sees_no_interrupt()
    {
        Out(1, 2);
        Assert.False(_line.Level);
        Out(4, 8);
        Assert.True(_line.Level);
    }

    [Fact]
    public void Wide_access_is_made_of_bytes()
    {
        Out(7, 0x5a);
        Assert.Equal(0xff5au, _uart.ReadPort(7, 2));
        _uart.WritePort(6, 2, 0x3300);
        Assert.Equal(0x33, In(7));
    }

    [Fact]
    public void Traffic_after_warm_up_allocates_nothing()
    {
        Out(2, 1);
        Burst();
        long before = GC.GetAllocatedBytesForCurrentThread();
        Burst();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        void Burst()
        {
            for (int i = 0; i < 100; i++)
            {
                _uart.WritePort(7, 1, 0x41);
                _uart.Feed("abc"u8);
                while ((_uart.ReadPort(5, 1) & 1) != 0)
                    _uart.ReadPort(0, 1);
            }
        }
    }

    private byte In(int offset) => (byte)_uart.ReadPort(offset, 1);

    private void Out(int offset, byte value) => _uart.WritePort(offset, 1, value);

    private sealed class CapturingOutput : ISerialOutput
    {
        private readonly StringBuilder _text = new();

        public string Text => _text.ToString();

        public void Write(byte value) => _text.Append((char)value);
    }
}
