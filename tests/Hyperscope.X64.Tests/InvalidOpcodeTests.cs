using Hyperscope.TestKit;

namespace Hyperscope.X64.Tests;

/// <summary>Bytes that look like an instruction and are none.</summary>
public class InvalidOpcodeTests
{
    [Theory]
    [InlineData(new byte[] { 0x8E, 0xC8 })] // mov cs, ax
    [InlineData(new byte[] { 0x8E, 0x0B })]
    [InlineData(new byte[] { 0x8E, 0xF0 })]
    [InlineData(new byte[] { 0x8E, 0xF8 })]
    [InlineData(new byte[] { 0x8C, 0xF0 })]
    [InlineData(new byte[] { 0x8C, 0x3B })]
    [InlineData(new byte[] { 0x0F, 0x20, 0xC8 })] // mov rax, cr1
    [InlineData(new byte[] { 0x0F, 0x22, 0xF8 })] // mov cr7, rax
    [InlineData(new byte[] { 0x0F, 0x0B })] // ud2
    [InlineData(new byte[] { 0x0F, 0xB9, 0xC0 })] // ud1
    [InlineData(new byte[] { 0x0F, 0xFF, 0xC0 })] // ud0
    [InlineData(new byte[] { 0xF0, 0x90 })] // lock nop
    [InlineData(new byte[] { 0xF0, 0x01, 0xC0 })] // lock add eax, eax
    [InlineData(new byte[] { 0xF0, 0x39, 0x03 })] // lock cmp [rbx], eax
    public void What_does_not_exist_is_an_invalid_opcode(byte[] code)
    {
        using var machine = new TestMachine();
        machine.Registers = machine.Registers with { Rbx = 0x40_0000 };
        Assert.Equal(new StepResult(StepKind.Fault, X64.Vector.InvalidOpcode), machine.Step(code));
    }
}
