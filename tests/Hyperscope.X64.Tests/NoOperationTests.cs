using Hyperscope.TestKit;
using Hyperscope.Vm;

namespace Hyperscope.X64.Tests;

/// <summary>Instructions that do nothing have no op in their block, and count all the same.</summary>
public sealed class NoOperationTests : IDisposable
{
    private const ulong Code = TestMachine.CodeAddress;

    private readonly TestMachine _machine = new();

    public static TheoryData<string> Encodings =>
    [
        "90",
        "6690",
        "F390", // pause
        "F34190", // pause with REX.B
        "0F1F440000",
        "0F1F0500000070", // of an address where nothing is mapped
        "F30F1EFA", // endbr64
        "0F180E", // prefetcht0
        "0F0D0E", // prefetchw
    ];

    public void Dispose() => _machine.Dispose();

    [Theory]
    [MemberData(nameof(Encodings))]
    public void They_count_as_instructions(string hex)
    {
        byte[] encoding = Convert.FromHexString(hex);
        // alone in front of a branch, in a row, and at the end of a block
        Run([.. encoding, 0xEB, 0x00, .. encoding, .. encoding, 0xFF, 0xC0, .. encoding, 0xE6, (byte)TestBus.StopPort]);
        Assert.Equal((1UL, 7UL), (_machine.Registers.Rax, _machine.Vcpu.InstructionsRetired));
    }

    [Theory]
    [MemberData(nameof(Encodings))]
    public void A_fault_behind_them_is_at_its_own_instruction(string hex)
    {
        byte[] encoding = Convert.FromHexString(hex);
        ulong behind = Code + (2UL * (ulong)encoding.Length);
        _machine.Write(Code, [.. encoding, .. encoding, 0x48, 0x8B, 0x06]);
        _machine.Registers = new KvmRegs { Rip = Code, Rsp = TestMachine.StackTop, Rsi = 0x70_0000_0000, Rflags = 2 };

        // There is no handler: the machine shuts down in front of the load.
        Assert.Equal(RunOutcome.Shutdown, _machine.Vcpu.Run(100));
        Assert.Equal(behind, _machine.Registers.Rip);
    }

    [Fact]
    public void A_block_of_nothing_else_falls_through()
    {
        Run([.. Enumerable.Repeat((byte)0x90, 200), 0xE6, (byte)TestBus.StopPort]);
        Assert.Equal(201UL, _machine.Vcpu.InstructionsRetired);
    }

    [Fact]
    public void They_reach_across_the_end_of_a_page()
    {
        const ulong Start = Code + 0x1000 - 3;
        _machine.Write(Start, [0x90, 0x0F, 0x1F, 0x44, 0x00, 0x00, 0xE6, (byte)TestBus.StopPort]);
        _machine.Registers = new KvmRegs { Rip = Start, Rsp = TestMachine.StackTop, Rflags = 2 };
        Assert.Equal(RunOutcome.Stopped, _machine.Vcpu.Run(100));
        Assert.Equal(3UL, _machine.Vcpu.InstructionsRetired);
    }

    [Fact]
    public void NOP_with_REX_B_exchanges()
    {
        _machine.Write(Code, [0x49, 0x90, 0xE6, (byte)TestBus.StopPort]);
        _machine.Registers = new KvmRegs { Rip = Code, Rsp = TestMachine.StackTop, Rax = 1, R8 = 2, Rflags = 2 };
        Assert.Equal(RunOutcome.Stopped, _machine.Vcpu.Run(100));
        Assert.Equal((2UL, 1UL), (_machine.Registers.Rax, _machine.Registers.R8));
    }

    private void Run(byte[] code)
    {
        _machine.Write(Code, code);
        _machine.Registers = new KvmRegs { Rip = Code, Rsp = TestMachine.StackTop, Rsi = Code, Rflags = 2 };
        Assert.Equal(RunOutcome.Stopped, _machine.Vcpu.Run());
    }
}
