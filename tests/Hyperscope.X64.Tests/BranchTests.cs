using Hyperscope.TestKit;
using Hyperscope.Vm;

namespace Hyperscope.X64.Tests;

/// <summary>Branches: the condition alone and joined with the compare in front of it, calls, returns, loops.</summary>
public unsafe class BranchTests
{
    private static readonly ulong[] _values =
    [
        0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, ulong.MaxValue, 0x8000_0000_0000_0000,
    ];

    // cmp rbx/reg and test in every size, then jcc: SETcc, tested against the host, says what is right.
    [Theory]
    [InlineData(new byte[] { 0x38, 0xD8 })] // cmp al, bl
    [InlineData(new byte[] { 0x66, 0x39, 0xD8 })]
    [InlineData(new byte[] { 0x39, 0xD8 })]
    [InlineData(new byte[] { 0x48, 0x39, 0xD8 })]
    [InlineData(new byte[] { 0x48, 0x3B, 0xC3 })]
    [InlineData(new byte[] { 0x48, 0x85, 0xD8 })] // test rax, rbx
    [InlineData(new byte[] { 0x84, 0xD8 })]
    [InlineData(new byte[] { 0x3C, 0x80 })] // cmp al, 80
    [InlineData(new byte[] { 0x83, 0xF8, 0xFF })]
    [InlineData(new byte[] { 0x48, 0x83, 0xF8, 0x00 })]
    [InlineData(new byte[] { 0x48, 0x3B, 0x06 })] // cmp rax, [rsi]
    [InlineData(new byte[] { 0x4A, 0x3B, 0x04, 0x26 })] // cmp rax, [rsi + r12]
    [InlineData(new byte[] { 0x42, 0x84, 0x1C, 0x26 })] // test [rsi + r12], bl
    [InlineData(new byte[] { 0x48, 0x39, 0x06 })]
    [InlineData(new byte[] { 0x80, 0x3E, 0x7F })]
    public void A_joined_compare_and_branch_goes_where_the_parts_would(byte[] compare)
    {
        using var machine = new TestMachine();
        const ulong Code = TestMachine.CodeAddress;
        for (int condition = 0; condition < 16; condition++)
        {
            ulong program = Code + ((ulong)condition * 0x100);

            // mov rbp, rbp; compare; jcc +5; mov ecx, 1; out F4; mov ecx, 2; out F4
            byte[] branch = [(byte)(0x70 + condition), 7, 0xB9, 1, 0, 0, 0, 0xE6, 0xF4, 0xB9, 2, 0, 0, 0, 0xE6, 0xF4];
            machine.Write(program, [0x48, 0x89, 0xED, .. compare, .. branch]);
            machine.Write(0x2_0000, [0x0F, (byte)(0x90 + condition), 0xC1]); // setcc cl
            foreach (ulong left in _values)
            {
                foreach (ulong right in _values)
                {
                    machine.Write64(0x40_0000, right);
                    machine.Registers = new KvmRegs { Rax = left, Rbx = right, Rsi = 0x40_0000, Rsp = TestMachine.StackTop, Rip = program, Rflags = 2 };
                    Assert.Equal(RunOutcome.Stopped, machine.Vcpu.Run());
                    ulong fused = machine.Registers.Rcx - 1, flags = machine.Registers.Rflags;
                    machine.Registers = machine.Registers with { Rip = 0x1_8000, Rcx = 0, Rflags = 2 };
                    _ = machine.Step(compare);
                    Assert.Equal(machine.Registers.Rflags, flags);
                    machine.Registers = machine.Registers with { Rip = 0x2_0000 };
                    _ = machine.Step();
                    Assert.True(machine.Registers.Rcx == fused, $"condition {condition:x} on {left:x}, {right:x}");
                }
            }
        }
    }

    [Theory]
    [InlineData(new byte[] { 0xE2, 0x10 }, 2UL, 0UL, true)] // loop
    [InlineData(new byte[] { 0xE2, 0x10 }, 1UL, 0UL, false)]
    [InlineData(new byte[] { 0xE2, 0x10 }, 0UL, 0UL, true)]
    [InlineData(new byte[] { 0xE1, 0x10 }, 2UL, 0x40UL, true)] // loope
    [InlineData(new byte[] { 0xE1, 0x10 }, 2UL, 0UL, false)]
    [InlineData(new byte[] { 0xE0, 0x10 }, 2UL, 0UL, true)] // loopne
    [InlineData(new byte[] { 0xE0, 0x10 }, 2UL, 0x40UL, false)]
    [InlineData(new byte[] { 0xE3, 0x10 }, 0UL, 0UL, true)] // jrcxz
    [InlineData(new byte[] { 0xE3, 0x10 }, 0x1_0000_0000UL, 0UL, false)]
    [InlineData(new byte[] { 0x67, 0xE3, 0x10 }, 0x1_0000_0000UL, 0UL, true)]
    public void Counting_branches_look_at_the_count_of_the_address_size(byte[] code, ulong count, ulong flags, bool isTaken)
    {
        using var machine = new TestMachine();
        machine.Registers = machine.Registers with { Rcx = count, Rflags = flags | 2 };
        Assert.Equal(StepKind.Completed, machine.Step(code).Kind);
        Assert.Equal(TestMachine.CodeAddress + (ulong)code.Length + (isTaken ? 0x10UL : 0), machine.Registers.Rip);
        ulong expected = code[^2] == 0xE3 ? count : count - 1;
        Assert.Equal(expected, machine.Registers.Rcx);
    }

    [Theory]
    [InlineData(CpuMode.Bits16, 2)]
    [InlineData(CpuMode.Bits32, 4)]
    [InlineData(CpuMode.Bits64, 8)]
    public void A_call_pushes_where_its_return_goes(CpuMode mode, int size)
    {
        using var machine = new TestMachine(mode);
        KvmRegs before = machine.Registers;
        byte[] call = mode == CpuMode.Bits16 ? [0xE8, 0x20, 0] : [0xE8, 0x20, 0, 0, 0];
        Assert.Equal(StepKind.Completed, machine.Step(call).Kind);
        Assert.Equal(before.Rip + (ulong)call.Length + 0x20, machine.Registers.Rip);
        Assert.Equal(before.Rsp - (ulong)size, machine.Registers.Rsp);
        Assert.Equal(StepKind.Completed, machine.Step([0xC2, 0x10, 0x00]).Kind); // ret 16
        Assert.Equal((before.Rip + (ulong)call.Length, before.Rsp + 0x10), (machine.Registers.Rip, machine.Registers.Rsp));
    }

    [Fact]
    public void A_call_whose_push_faults_goes_nowhere()
    {
        using var machine = new TestMachine();
        machine.Map(0x40_0000, 0, 4096, 0);
        machine.Registers = machine.Registers with { Rsp = 0x40_0008, Rax = 0x5_0000 };
        KvmRegs before = machine.Registers;
        foreach (byte[] code in (byte[][])[[0xE8, 0, 0, 0, 0], [0xFF, 0xD0], [0xFF, 0x14, 0x25, 0, 0, 0x50, 0]])
        {
            Assert.Equal(X64.Vector.PageFault, machine.Step(code).Vector);
            Assert.Equal(before, machine.Registers);
        }
    }
}
