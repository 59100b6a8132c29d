using Hyperscope.TestKit;

namespace Hyperscope.X64.Tests;

/// <summary>IN OUT INS OUTS.</summary>
public class PortTests
{
    [Theory]
    [InlineData(new byte[] { 0xE4, 0x60 }, 0x60, 1, 0xFFFF_FFFF_FFFF_FF44UL)]
    [InlineData(new byte[] { 0x66, 0xE5, 0x60 }, 0x60, 2, 0xFFFF_FFFF_FFFF_3344UL)]
    [InlineData(new byte[] { 0xE5, 0x60 }, 0x60, 4, 0x1122_3344UL)]
    [InlineData(new byte[] { 0xEC }, 0x3F8, 1, 0xFFFF_FFFF_FFFF_FF44UL)]
    [InlineData(new byte[] { 0x66, 0xED }, 0x3F8, 2, 0xFFFF_FFFF_FFFF_3344UL)]
    [InlineData(new byte[] { 0xED }, 0x3F8, 4, 0x1122_3344UL)]
    [InlineData(new byte[] { 0x48, 0xED }, 0x3F8, 4, 0x1122_3344UL)]
    public void Input_fills_the_accumulator_to_its_size(byte[] code, int port, int size, ulong expected)
    {
        using var machine = new TestMachine();
        machine.Bus.PortInput = static (_, _) => 0x1122_3344;
        machine.Registers = machine.Registers with { Rax = ulong.MaxValue, Rdx = 0xABCD_03F8 };
        Assert.Equal(StepKind.Completed, machine.Step(code).Kind);
        Assert.Equal(expected, machine.Registers.Rax);
        Assert.Equal([new BusAccess((ulong)port, size, 0x1122_3344, true, false)], machine.Bus.Log);
        Assert.Equal(TestMachine.CodeAddress + (ulong)code.Length, machine.Registers.Rip);
    }

    [Theory]
    [InlineData(new byte[] { 0xE6, 0x80 }, 0x80, 1, 0x88UL)]
    [InlineData(new byte[] { 0x66, 0xE7, 0x80 }, 0x80, 2, 0x7788UL)]
    [InlineData(new byte[] { 0xE7, 0x80 }, 0x80, 4, 0x5566_7788UL)]
    [InlineData(new byte[] { 0xEE }, 0x3F8, 1, 0x88UL)]
    [InlineData(new byte[] { 0xEF }, 0x3F8, 4, 0x5566_7788UL)]
    public void Output_sends_the_accumulator(byte[] code, int port, int size, ulong expected)
    {
        using var machine = new TestMachine();
        machine.Registers = machine.Registers with { Rax = 0x1122_3344_5566_7788, Rdx = 0x3F8 };
        Assert.Equal(StepKind.Completed, machine.Step(code).Kind);
        Assert.Equal([new BusAccess((ulong)port, size, expected, true, true)], machine.Bus.Log);
    }

    [Fact]
    public void A_repeated_input_reads_nothing_for_an_element_it_cannot_store()
    {
        using var machine = new TestMachine();
        byte next = 1;
        machine.Bus.PortInput = (_, _) => next++;
        machine.Map(0x40_1000, 0, 4096, 0);
        machine.Write(TestMachine.CodeAddress, [0xF3, 0x6C]);
        machine.Registers = machine.Registers with { Rdi = 0x40_0FFD, Rcx = 8, Rdx = 0x1F0 };
        StepResult result;
        do
        {
            result = machine.Step();
        }
        while (result.Kind == StepKind.Completed);
        Assert.Equal(new StepResult(StepKind.Fault, X64.Vector.PageFault, 2, 0x40_1000), result);
        Assert.Equal((5UL, 0x40_1000UL, TestMachine.CodeAddress), (machine.Registers.Rcx, machine.Registers.Rdi, machine.Registers.Rip));
        Assert.Equal([1, 2, 3], machine.Read(0x40_0FFD, 3));
        Assert.Equal(3, machine.Bus.Log.Count);
    }

    [Fact]
    public void A_repeated_output_sends_each_element()
    {
        using var machine = new TestMachine();
        machine.Write(0x40_0000, [1, 2, 3, 4, 5, 6]);
        Assert.Equal(RunOutcome.Stopped, machine.RunProgram(a =>
        {
            a.mov(Iced.Intel.AssemblerRegisters.rsi, 0x40_0000UL);
            a.mov(Iced.Intel.AssemblerRegisters.ecx, 3);
            a.mov(Iced.Intel.AssemblerRegisters.edx, 0x1F0);
            a.rep.outsw();
        }));
        Assert.Equal([0x0201UL, 0x0403UL, 0x0605UL], machine.Bus.Log.Take(3).Select(access => access.Value));
    }
}
