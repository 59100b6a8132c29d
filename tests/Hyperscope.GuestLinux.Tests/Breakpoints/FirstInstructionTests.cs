using Hyperscope.Vm;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>Instructions that are emulated instead of executed under a breakpoint.</summary>
public sealed class FirstInstructionTests
{
    [Theory]
    [InlineData("F30F1EFA", 4)]
    [InlineData("90", 1)]
    [InlineData("6690", 2)]
    [InlineData("0F1F00", 3)]
    [InlineData("0F1F4000", 4)]
    [InlineData("0F1F440000", 5)]
    [InlineData("660F1F440000", 6)]
    [InlineData("0F1F8000000000", 7)]
    [InlineData("0F1F840000000000", 8)]
    [InlineData("660F1F840000000000", 9)]
    public void An_idle_instruction_moves_rip_only(string code, int length)
    {
        KvmRegs registers = Numbered(), expected = Numbered();
        expected.Rip += (ulong)length;
        Assert.True(FirstInstruction.TryEmulate(Convert.FromHexString(code), ref registers, out ulong? pushed));
        Assert.Equal(expected, registers);
        Assert.Null(pushed);
    }

    [Theory]
    [InlineData("55", 1, 7)] // rbp
    [InlineData("53", 1, 1)] // rbx
    [InlineData("54", 1, 6)] // rsp, as it was before
    [InlineData("4154", 2, 12)] // r12
    [InlineData("4157", 2, 15)]
    public void A_push_moves_rsp_and_tells_what_it_stores(string code, int length, int register)
    {
        KvmRegs registers = Numbered(), expected = Numbered();
        expected.Rip += (ulong)length;
        expected.Rsp -= 8;
        Assert.True(FirstInstruction.TryEmulate(Convert.FromHexString(code), ref registers, out ulong? pushed));
        Assert.Equal(expected, registers);
        Assert.Equal(0x1000UL + (ulong)register, pushed);
    }

    [Theory]
    [InlineData("4889F8", 0, 5)] // mov rax, rdi
    [InlineData("4989E4", 12, 6)] // mov r12, rsp
    [InlineData("4C89EE", 4, 13)] // mov rsi, r13
    public void A_move_between_registers_is_made(string code, int target, int source)
    {
        KvmRegs registers = Numbered(), expected = Numbered();
        expected.Rip += 3;
        KvmRegs.AsSpan(ref expected)[target] = 0x1000UL + (ulong)source;
        Assert.True(FirstInstruction.TryEmulate(Convert.FromHexString(code), ref registers, out ulong? pushed));
        Assert.Equal(expected, registers);
        Assert.Null(pushed);
    }

    [Fact]
    public void A_call_goes_where_it_leads()
    {
        KvmRegs registers = Numbered(), expected = Numbered();
        expected.Rsp -= 8;
        expected.Rip = unchecked(expected.Rip + 5 - 0x10);
        Assert.True(FirstInstruction.TryEmulate([0xe8, 0xf0, 0xff, 0xff, 0xff], ref registers, out ulong? pushed));
        Assert.Equal(expected, registers);
        Assert.Equal(Numbered().Rip + 5, pushed);
    }

    [Theory]
    [InlineData("")]
    [InlineData("41")]
    [InlineData("CC")]
    [InlineData("0F1F44")] // cut off
    [InlineData("E80000")]
    [InlineData("89F8")] // 32 bits: clears the upper half
    [InlineData("488907")] // to memory
    [InlineData("4883EC08")] // sub rsp, 8 changes flags
    [InlineData("6655")] // push bp
    public void Anything_else_is_left_alone(string code)
    {
        KvmRegs registers = Numbered();
        Assert.False(FirstInstruction.TryEmulate(Convert.FromHexString(code), ref registers, out ulong? pushed));
        Assert.Equal(Numbered(), registers);
        Assert.Null(pushed);
    }

    private static KvmRegs Numbered()
    {
        KvmRegs registers = default;
        Span<ulong> values = KvmRegs.AsSpan(ref registers);
        for (int i = 0; i < values.Length; i++)
            values[i] = 0x1000UL + (ulong)i;
        return registers;
    }
}
