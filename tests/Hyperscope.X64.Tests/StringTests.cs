using Hyperscope.TestKit;
using Hyperscope.Vm;
using static Iced.Intel.AssemblerRegisters;

namespace Hyperscope.X64.Tests;

/// <summary>Repeated string instructions: whole pages at once, and exact where they stop.</summary>
public class StringTests
{
    [Theory]
    [InlineData(1, 0x8888_8888_8888_8888)]
    [InlineData(2, 0x7788_7788_7788_7788)]
    [InlineData(4, 0x5566_7788_5566_7788)]
    [InlineData(8, 0x1122_3344_5566_7788)]
    public void A_repeated_store_stops_exactly_at_the_page_that_is_not_there(int size, ulong pattern)
    {
        using var machine = new TestMachine();
        machine.Map(0x40_3000, 0, 4096, 0);
        byte[] code = size switch { 1 => [0xF3, 0xAA], 2 => [0x66, 0xF3, 0xAB], 4 => [0xF3, 0xAB], _ => [0xF3, 0x48, 0xAB] };
        machine.Write(TestMachine.CodeAddress, code);
        KvmRegs registers = machine.Registers;
        registers.Rdi = 0x40_0010;
        registers.Rcx = 0x10_0000;
        registers.Rax = 0x1122_3344_5566_7788;
        machine.Registers = registers;
        machine.Vcpu.Run();
        KvmRegs after = machine.Registers;
        Assert.Equal(0x40_3000UL, after.Rdi);
        Assert.Equal(0x10_0000 - ((0x2FF0UL) / (ulong)size), after.Rcx);
        Assert.Equal(pattern, machine.Read64(0x40_2FF8));
        Assert.Equal(0UL, machine.Read64(0x40_0008));
    }

    [Fact]
    public void An_overlapping_forward_move_repeats_what_is_in_between()
    {
        using var machine = new TestMachine();
        machine.Write(0x40_0000, [1, 2, 3]);
        Run(machine, 0x40_0000, 0x40_0003, 0x1800, backwards: false);
        byte[] memory = machine.Read(0x40_0000, 0x1803);
        Assert.All(Enumerable.Range(0, memory.Length), index => Assert.Equal((index % 3) + 1, memory[index]));
    }

    [Fact]
    public void An_overlapping_move_through_two_mappings_of_one_page_repeats_too()
    {
        using var machine = new TestMachine();
        machine.Map(0x7000_0000, 0x40_0000, 4096);
        machine.Write(0x40_0000, [7, 8]);
        Run(machine, 0x40_0000, 0x7000_0002, 0x100, backwards: false);
        byte[] memory = machine.Read(0x40_0000, 0x102);
        Assert.All(Enumerable.Range(0, memory.Length), index => Assert.Equal((index % 2) + 7, memory[index]));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_move_over_many_pages_copies_every_byte(bool backwards)
    {
        using var machine = new TestMachine();
        byte[] bytes = new byte[0x5003];
        new Random(5).NextBytes(bytes);
        machine.Write(0x40_0FF1, bytes);
        ulong last = backwards ? (ulong)bytes.Length - 1 : 0;
        KvmRegs after = Run(machine, 0x40_0FF1 + last, 0x50_0FF7 + last, (ulong)bytes.Length, backwards);
        Assert.Equal(bytes, machine.Read(0x50_0FF7, bytes.Length));
        Assert.Equal(0UL, after.Rcx);
        Assert.Equal(backwards ? 0x40_0FF0UL : 0x40_0FF1UL + (ulong)bytes.Length, after.Rsi);
    }

    [Fact]
    public void A_move_onto_decoded_code_takes_effect()
    {
        using var machine = new TestMachine();
        machine.Write(0x40_0000, [0xB8, 7, 0, 0, 0, 0xC3]); // mov eax, 7; ret
        machine.Write(0x50_0000, [0xB8, 9, 0, 0, 0, 0xC3]);
        _ = machine.RunProgram(a =>
        {
            a.mov(rbx, 0x40_0000UL);
            a.call(rbx);
            a.mov(rsi, 0x50_0000UL);
            a.mov(rdi, rbx);
            a.mov(ecx, 6);
            a.rep.movsb();
            a.call(rbx);
        });
        Assert.Equal(9UL, machine.Registers.Rax);
    }

    [Fact]
    public void A_kick_in_the_middle_leaves_the_instruction_resumable()
    {
        using var machine = new TestMachine();
        machine.LoadProgram(static a => a.rep.stosb());
        KvmRegs registers = machine.Registers;
        registers.Rdi = 0x40_0000;
        registers.Rcx = 64;
        registers.Rax = 0xAB;
        machine.Registers = registers;
        int steps = 0;
        while (machine.Registers.Rip == TestMachine.CodeAddress)
        {
            // One element at a time: attention is always asked for.
            Assert.Equal(StepKind.Completed, machine.Step().Kind);
            steps++;
            Assert.Equal(64UL - (ulong)steps, machine.Registers.Rcx);
        }

        Assert.Equal(64, steps);
    }

    private static KvmRegs Run(TestMachine machine, ulong source, ulong destination, ulong count, bool backwards)
    {
        Assert.Equal(RunOutcome.Stopped, machine.RunProgram(a =>
        {
            if (backwards)
                a.std();
            a.mov(rsi, source);
            a.mov(rdi, destination);
            a.mov(rcx, count);
            a.rep.movsb();
        }));
        return machine.Registers;
    }
}
