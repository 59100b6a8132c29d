namespace Hyperscope.GuestLinux.Tests;

/// <summary>The ring of printk, whole and broken.</summary>
public sealed class KernelLogTests
{
    private const ulong Ring = 0x1a00000, Descriptors = 0x1a01000, Infos = 0x1a02000, Text = 0x1a03000;
    private const int Bits = 3, TextBits = 8;

    private readonly SyntheticGuest _synthetic = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private FlatMemory Memory => _synthetic.Memory;

    [Fact]
    public async Task Lines_come_in_their_order_and_from_around_the_end()
    {
        Head(tail: 6, head: 8);
        Line(6, begin: 0x40, next: 0x58, "the first"u8);
        Line(7, begin: 0xf0, next: 0x118, "runs over the end"u8, at: 0);
        Line(8, begin: 0x118, next: 0x128, "last"u8);
        GuestList<KernelLogLine> log = await LogAsync();
        Assert.Null(log.Truncation);
        Assert.Equal(["the first", "runs over the end", "last"], log.Select(static line => line.Text));
        Assert.Equal([6UL, 7UL, 8UL], log.Select(static line => line.Sequence));
    }

    [Fact]
    public async Task Lines_that_share_their_text_are_cut_off_where_the_ring_is_full()
    {
        Head(tail: 0, head: 7);
        for (int id = 0; id < 8; id++)
            Line(id, begin: 0, next: 0x80, new byte[100]);
        GuestList<KernelLogLine> log = await LogAsync();
        Assert.Equal(2, log.Count);
        Assert.Contains("longer than the ring of 256 bytes", log.Truncation!.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_length_that_a_guest_calls_negative_is_one_above_the_ring()
    {
        Head(tail: 0, head: 0);
        Line(0, begin: 0, next: 0x80, "text"u8);
        Memory.Write(Infos + 16, uint.MaxValue);
        Assert.Equal(248, Assert.Single(await LogAsync()).Text.Replace("\\x00", ".", StringComparison.Ordinal).Length);
    }

    [Fact]
    public async Task Descriptors_that_do_not_fit_their_ring_are_said_and_the_last_ones_read()
    {
        Head(tail: 100, head: 3);
        for (int id = 0; id <= 3; id++)
            Line(id, begin: (ulong)id * 32, next: (ulong)id * 32 + 16, "text"u8);
        GuestList<KernelLogLine> log = await LogAsync();
        Assert.Equal(4, log.Count);
        Assert.Contains("do not fit a ring of 8", log.Truncation!.Reason, StringComparison.Ordinal);
    }

    private void Head(ulong tail, ulong head)
    {
        Memory.Write(SyntheticGuest.DataGpa + 0x4000, SyntheticGuest.Direct(Ring));
        ulong[] words = [Bits, SyntheticGuest.Direct(Descriptors), SyntheticGuest.Direct(Infos), head, tail, TextBits, SyntheticGuest.Direct(Text)];
        for (int i = 0; i < words.Length; i++)
            Memory.Write(Ring + ((ulong)i * 8), words[i]);
    }

    private void Line(int id, ulong begin, ulong next, ReadOnlySpan<byte> text, ulong? at = null)
    {
        ulong slot = (ulong)id % (1 << Bits);
        Memory.Write(Descriptors + (slot * 24), (uint)id | 2UL << 62);
        Memory.Write(Descriptors + (slot * 24) + 8, begin);
        Memory.Write(Descriptors + (slot * 24) + 16, next);
        Memory.Write(Infos + (slot * 24), (ulong)id);
        Memory.Write(Infos + (slot * 24) + 16, (ulong)text.Length);
        Memory.Write(Text + ((at ?? begin) % (1 << TextBits)) + 8, text);
    }

    // As Linux has them, but for the length of a text, which is 2 bytes there.
    private async Task<GuestList<KernelLogLine>> LogAsync()
    {
        var b = new BtfBuilder();
        int descriptors = b.Struct("prb_desc_ring", 40, ("count_bits", b.Int32, 0), ("descs", b.Void, 8), ("infos", b.Void, 16), ("head_id", b.Int64, 24), ("tail_id", b.Int64, 32));
        int data = b.Struct("prb_data_ring", 16, ("size_bits", b.Int32, 0), ("data", b.Void, 8));
        b.Struct("printk_ringbuffer", 56, ("desc_ring", descriptors, 0), ("text_data_ring", data, 40));
        int position = b.Struct("prb_data_blk_lpos", 16, ("begin", b.Int64, 0), ("next", b.Int64, 8));
        b.Struct("prb_desc", 24, ("state_var", b.Int64, 0), ("text_blk_lpos", position, 8));
        b.Struct("printk_info", 24, ("seq", b.Int64, 0), ("ts_nsec", b.Int64, 8), ("text_len", b.Int32, 16), ("facility", b.Int8, 20), ("level", b.Int8, 21));
        return await (await _synthetic.AttachAsync(b)).KernelLogAsync(Cancel);
    }
}
