using System.Buffers.Binary;
using Hyperscope.Vm;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>Unwind entries of both layouts, and stacks that are made up.</summary>
public sealed class UnwinderTests
{
    private const ulong Code = 0x10000, Stack = 0x8000, Root = 0x1000;

    private readonly FlatMemory _memory = new(0x40000);
    private readonly Dictionary<ulong, OrcEntry> _entries = [];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public UnwinderTests()
    {
        // 256 KiB at their own addresses.
        _memory.Write(Root, 0x2000 | 7);
        _memory.Write(0x2000, 0x3000 | 7);
        _memory.Write(0x3000, 0x4000 | 7);
        for (ulong page = 0; page < 0x40; page++)
            _memory.Write(0x4000 + page * 8, page << 12 | 7);
    }

    [Theory]
    [InlineData(0x0055, nameof(OrcKind.Call))] // Linux 5.15 to 6.2: types of 2 bits, and a bit for the end
    [InlineData(0x0155, nameof(OrcKind.Registers))]
    [InlineData(0x0255, nameof(OrcKind.InterruptFrame))]
    [InlineData(0x0455, nameof(OrcKind.End))]
    [InlineData(0x0400, nameof(OrcKind.End))]
    [InlineData(0x0000, nameof(OrcKind.Undefined))]
    public void Entries_of_the_older_layout_are_decoded(int fields, string kind) => AssertDecoded(OrcFormat.Old, fields, kind);

    [Theory]
    [InlineData(0x0055, nameof(OrcKind.Undefined))] // Linux 6.4 and later: types of 3 bits
    [InlineData(0x0155, nameof(OrcKind.End))]
    [InlineData(0x0255, nameof(OrcKind.Call))]
    [InlineData(0x0355, nameof(OrcKind.Registers))]
    [InlineData(0x0455, nameof(OrcKind.InterruptFrame))]
    [InlineData(0x0a55, nameof(OrcKind.Call))] // of a signal frame
    [InlineData(0x0755, nameof(OrcKind.Undefined))]
    public void Entries_of_the_newer_layout_are_decoded(int fields, string kind) => AssertDecoded(OrcFormat.New, fields, kind);

    [Fact]
    public void The_layout_is_the_one_that_the_kernel_describes()
    {
        Assert.Equal(OrcFormat.Old, OrcFormat.Of(Types(("sp_reg", 32, 4), ("bp_reg", 36, 4), ("type", 40, 2), ("end", 42, 1))));
        Assert.Equal(OrcFormat.New, OrcFormat.Of(Types(("sp_reg", 32, 4), ("bp_reg", 36, 4), ("type", 40, 3), ("signal", 43, 1))));
    }

    [Fact]
    public async Task The_entry_of_an_address_is_the_last_one_at_or_below_it()
    {
        ulong[] starts = [Code, Code + 0x10, Code + 0x40, Code + 0x100];
        for (int i = 0; i < starts.Length; i++)
        {
            ulong at = 0x20000 + (ulong)i * 4;
            BitConverter.TryWriteBytes(_memory.Bytes.AsSpan((int)at), (int)(long)(starts[i] - at));
            BinaryPrimitives.WriteInt16LittleEndian(_memory.Bytes.AsSpan(0x21000 + i * 6), (short)(i * 8));
            BinaryPrimitives.WriteUInt16LittleEndian(_memory.Bytes.AsSpan(0x21000 + i * 6 + 4), 0x0005);
        }

        var table = new OrcTable(Reader(), OrcFormat.Old, new Gva(0x20000), new Gva(0x21000), starts.Length);
        Assert.Null(await table.FindAsync(new Gva(Code - 1), Cancel));
        foreach ((ulong offset, int expected) in new[] { (0UL, 0), (0xfUL, 0), (0x10UL, 1), (0x3fUL, 1), (0x40UL, 2), (0xffUL, 2), (0x5000UL, 3) })
            Assert.Equal(expected * 8, (await table.FindAsync(new Gva(Code + offset), Cancel))!.Value.SpOffset);
    }

    [Fact]
    public async Task Calls_an_interrupt_and_user_mode_are_followed()
    {
        // A function with a saved rbp, an interrupt that hit another one, and the entry from user mode.
        _entries[Code + 1] = new OrcEntry(24, -16, OrcRegister.Sp, OrcRegister.PreviousSp, OrcKind.Call);
        _memory.Write(Stack + 8, 0xabc0);
        _memory.Write(Stack + 16, Code + 0x100);
        _entries[Code + 0xff] = new OrcEntry(0, 0, OrcRegister.Sp, OrcRegister.Undefined, OrcKind.Registers);
        ulong registers = Stack + 24;
        _memory.Write(registers + 32, Stack + 0x200); // rbp
        _memory.Write(registers + 128, Code + 0x200);
        _memory.Write(registers + 136, 0x10);
        _memory.Write(registers + 152, Stack + 0x180);
        _entries[Code + 0x200] = new OrcEntry(16, -16, OrcRegister.Bp, OrcRegister.PreviousSp, OrcKind.Call);
        _memory.Write(Stack + 0x208, Code + 0x300);
        _entries[Code + 0x2ff] = new OrcEntry(0, 0, OrcRegister.Sp, OrcRegister.Undefined, OrcKind.InterruptFrame);
        _memory.Write(Stack + 0x210, 0x401000);
        _memory.Write(Stack + 0x218, 0x33);
        CallStack stack = await UnwindAsync(Code + 1);
        Assert.Equal(
            [(Code + 1, FrameSource.Current), (Code + 0x100, FrameSource.Unwound), (Code + 0x200, FrameSource.Interrupted), (Code + 0x300, FrameSource.Unwound)],
            stack.Frames.Select(static frame => (frame.Ip.Value, frame.Source)));
        Assert.Equal(("user mode", true), (stack.End, stack.IsComplete));
    }

    [Fact]
    public async Task A_stack_that_runs_in_a_circle_ends()
    {
        _entries[Code + 1] = new OrcEntry(0x100, 0, OrcRegister.Sp, OrcRegister.Undefined, OrcKind.Registers);
        _memory.Write(Stack + 0x100 + 128, Code + 1);
        _memory.Write(Stack + 0x100 + 152, Stack);
        CallStack stack = await UnwindAsync(Code + 1);
        Assert.Equal(("the stack runs in a circle", false), (stack.End, stack.IsComplete));
    }

    [Fact]
    public async Task Without_an_entry_return_addresses_are_looked_for_and_marked()
    {
        _memory.Bytes[Code + 0x80 - 5] = 0xe8;
        _memory.Write(Stack + 0x20, Code + 0x80);
        _memory.Write(Stack + 0x28, Code + 0x90); // follows no call
        CallStack stack = await UnwindAsync(Code + 1);
        Assert.Equal([(Code + 1, FrameSource.Current), (Code + 0x80, FrameSource.Scanned)], stack.Frames.Select(static frame => (frame.Ip.Value, frame.Source)));
        Assert.False(stack.IsComplete);
        Assert.StartsWith("no unwind entry", stack.End, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_frame_without_memory_is_no_crash()
    {
        _entries[Code + 1] = new OrcEntry(8, 0, OrcRegister.SpIndirect, OrcRegister.Undefined, OrcKind.Call);
        _memory.Write(Stack, 0xdead_0000_0000);
        CallStack stack = await UnwindAsync(Code + 1);
        Assert.False(stack.IsComplete);
        Assert.Contains("is not mapped", stack.End, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("0000e811223344", true)] // call rel32
    [InlineData("0000000000ffd0", true)] // call rax
    [InlineData("00000041ff5308", true)] // call [r11+8]
    [InlineData("000041ff542408", true)] // call [r12+8]
    [InlineData("ff942400010000", true)] // call [rsp+0x100]
    [InlineData("00000000000090", false)]
    [InlineData("0000e911223344", false)] // jmp rel32
    [InlineData("ffd0", false)] // too short to be sure of
    public void Return_address_is_told_by_the_call_before_it(string before, bool follows) =>
        Assert.Equal(follows, StackUnwinder.FollowsCall(Convert.FromHexString(before)));

    private static void AssertDecoded(OrcFormat format, int fields, string kind)
    {
        byte[] bytes = [0x18, 0x00, 0xf0, 0xff, (byte)fields, (byte)(fields >> 8)];
        OrcEntry entry = format.Decode(bytes);
        Assert.Equal((24, -16, fields & 15, fields >> 4 & 15, kind), (entry.SpOffset, entry.BpOffset, entry.SpRegister, entry.BpRegister, entry.Kind.ToString()));
    }

    private static Btf Types(params (string Name, int Offset, int Size)[] fields)
    {
        var builder = new BtfBuilder();
        builder.Bits("orc_entry", BtfKind.Struct, 6, [.. fields.Select(field => (field.Name, builder.Int32, field.Offset, field.Size))]);
        return Btf.Parse(builder.Build());
    }

    private GuestReader Reader()
    {
        var cache = new PageCache(_memory);
        return new GuestReader(cache, new AddressSpace(cache, new Gpa(Root), false));
    }

    private async Task<CallStack> UnwindAsync(ulong rip)
    {
        var unwinder = new StackUnwinder(Reader(), new MadeUpCode(_entries));
        return await unwinder.UnwindAsync(new KvmRegs { Rip = rip, Rsp = Stack, Rbp = 0x999 }, isUser: false, Cancel);
    }

    private sealed class MadeUpCode(Dictionary<ulong, OrcEntry> entries) : IStackCode
    {
        public ValueTask<OrcEntry?> FindAsync(Gva ip, CancellationToken cancellation) =>
            new(entries.TryGetValue(ip.Value, out OrcEntry entry) ? entry : null);

        public ValueTask<bool> IsCodeAsync(Gva ip, CancellationToken cancellation) => new(ip.Value is >= Code and < Code + 0x1000);

        public ValueTask<string> DescribeAsync(Gva ip, CancellationToken cancellation) => new($"{ip}");
    }
}
