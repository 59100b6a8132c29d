using Hyperscope.TestKit;
using Hyperscope.Vm;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Tests;

/// <summary>What exists only in 16 and 32-bit code, and what behaves differently there.</summary>
public unsafe class LegacyTests
{
    private const ulong CfAf = Rflags.Cf | Rflags.Af;

    [Theory]
    [InlineData(0x27, 0x9A, 0UL, 0x00, CfAf)] // daa: 9A -> 100
    [InlineData(0x27, 0x79, 0UL, 0x79, 0UL)]
    [InlineData(0x27, 0x0F, 0UL, 0x15, Rflags.Af)]
    [InlineData(0x27, 0x12, CfAf, 0x78, CfAf)]
    [InlineData(0x2F, 0x9A, 0UL, 0x34, CfAf)] // das
    [InlineData(0x2F, 0x05, Rflags.Af, 0xFF, CfAf)]
    [InlineData(0x2F, 0x0F, 0UL, 0x09, Rflags.Af)]
    [InlineData(0x2F, 0x00, Rflags.Cf, 0xA0, Rflags.Cf)]
    [InlineData(0x37, 0x010F, 0UL, 0x0205, CfAf)] // aaa
    [InlineData(0x37, 0x0105, 0UL, 0x0105, 0UL)]
    [InlineData(0x37, 0x01FA, 0UL, 0x0300, CfAf)]
    [InlineData(0x3F, 0x020F, 0UL, 0x0109, CfAf)] // aas
    [InlineData(0x3F, 0x0205, Rflags.Af, 0x000F, CfAf)]
    public void Decimal_adjustment_follows_the_manual(int opcode, int ax, ulong flags, int expected, ulong expectedFlags)
    {
        using var machine = new TestMachine(CpuMode.Bits32);
        machine.Registers = machine.Registers with { Rax = 0xABCD_0000 | (uint)ax, Rflags = flags | 2 };
        Assert.Equal(StepKind.Completed, machine.Step([(byte)opcode]).Kind);
        Assert.Equal(0xABCD_0000 | (uint)expected, machine.Registers.Rax);
        Assert.Equal(expectedFlags, machine.Registers.Rflags & CfAf);
    }

    [Fact]
    public void Decimal_addition_of_every_pair_of_digits_is_right()
    {
        using var machine = new TestMachine(CpuMode.Bits32);
        for (int left = 0; left < 100; left++)
        {
            for (int right = 0; right < 100; right += 7)
            {
                machine.Registers = machine.Registers with { Rip = TestMachine.CodeAddress, Rax = Bcd(left), Rbx = Bcd(right) };
                machine.Write(TestMachine.CodeAddress, [0x00, 0xD8, 0x27]); // add al, bl; daa
                _ = machine.Step();
                _ = machine.Step();
                Assert.Equal(Bcd((left + right) % 100), machine.Registers.Rax);
                Assert.Equal(left + right > 99, (machine.Registers.Rflags & Rflags.Cf) != 0);
                machine.Registers = machine.Registers with { Rip = TestMachine.CodeAddress, Rax = Bcd(left), Rbx = Bcd(right) };
                machine.Write(TestMachine.CodeAddress, [0x28, 0xD8, 0x2F]); // sub al, bl; das
                _ = machine.Step();
                _ = machine.Step();
                Assert.Equal(Bcd((left - right + 100) % 100), machine.Registers.Rax);
                Assert.Equal(left < right, (machine.Registers.Rflags & Rflags.Cf) != 0);
            }
        }
    }

    [Fact]
    public void Multiplication_adjustment_by_zero_is_a_divide_error()
    {
        using var machine = new TestMachine(CpuMode.Bits32);
        machine.Registers = machine.Registers with { Rax = 57 };
        Assert.Equal(new StepResult(StepKind.Fault, X64.Vector.DivideError), machine.Step([0xD4, 0]));
        Assert.Equal(StepKind.Completed, machine.Step([0xD4, 10]).Kind);
        Assert.Equal(0x0507UL, machine.Registers.Rax);
        Assert.Equal(StepKind.Completed, machine.Step([0xD5, 10]).Kind);
        Assert.Equal(57UL, machine.Registers.Rax);
    }

    [Theory]
    [InlineData(CpuMode.Bits16)]
    [InlineData(CpuMode.Bits32)]
    public void Pusha_and_popa_are_inverse_but_for_the_stack_pointer(CpuMode mode)
    {
        using var machine = new TestMachine(mode);
        var given = new KvmRegs { Rax = 1, Rcx = 2, Rdx = 3, Rbx = 4, Rsp = 0x8000, Rbp = 5, Rsi = 6, Rdi = 7, Rflags = 2, Rip = machine.Registers.Rip };
        machine.Registers = given;
        Assert.Equal(StepKind.Completed, machine.Step([0x60]).Kind);
        int size = mode == CpuMode.Bits16 ? 2 : 4;
        Assert.Equal(0x8000UL - (8 * (ulong)size), machine.Registers.Rsp);
        byte[] stack = machine.Read(machine.Registers.Rsp, 8 * size);
        Assert.Equal([7, 6, 5, 0, 4, 3, 2, 1], Enumerable.Range(0, 8).Select(index => (int)stack[index * size]));
        machine.Registers = new KvmRegs { Rsp = machine.Registers.Rsp, Rflags = 2, Rip = machine.Registers.Rip };
        Assert.Equal(StepKind.Completed, machine.Step([0x61]).Kind);
        Assert.Equal(given with { Rip = machine.Registers.Rip }, machine.Registers);
    }

    [Theory]
    [InlineData(5, true)]
    [InlineData(10, true)]
    [InlineData(4, false)]
    [InlineData(11, false)]
    [InlineData(-1, false)]
    public void Bound_accepts_both_limits_and_nothing_outside(int index, bool isInside)
    {
        using var machine = new TestMachine(CpuMode.Bits32);
        machine.Write(0x40_0000, [5, 0, 0, 0, 10, 0, 0, 0]);
        machine.Registers = machine.Registers with { Rax = (uint)index, Rbx = 0x40_0000 };
        StepResult expected = isInside ? new StepResult(StepKind.Completed) : new StepResult(StepKind.Fault, X64.Vector.BoundRange);
        Assert.Equal(expected, machine.Step([0x62, 0x03]));
    }

    [Fact]
    public void Salc_spreads_the_carry()
    {
        using var machine = new TestMachine(CpuMode.Bits32);
        machine.Registers = machine.Registers with { Rax = 0x1234, Rflags = 3 };
        _ = machine.Step([0xD6]);
        Assert.Equal(0x12FFUL, machine.Registers.Rax);
    }

    [Theory]
    [InlineData(0x06)]
    [InlineData(0x27)]
    [InlineData(0x2F)]
    [InlineData(0x37)]
    [InlineData(0x3F)]
    [InlineData(0x60)]
    [InlineData(0x61)]
    [InlineData(0x62)]
    [InlineData(0x82)]
    [InlineData(0xD4)]
    [InlineData(0xD5)]
    [InlineData(0xD6)]
    public void Legacy_opcodes_are_undefined_in_64_bit_code(int opcode)
    {
        using var machine = new TestMachine();
        Assert.Equal(new StepResult(StepKind.Fault, X64.Vector.InvalidOpcode), machine.Step([(byte)opcode, 0, 0, 0, 0, 0]));
    }

    [Fact]
    public void A_16_bit_address_wraps_in_the_segment()
    {
        using var machine = new TestMachine(CpuMode.Bits16);
        machine.Write(0x0010, [0x77]);
        machine.Registers = machine.Registers with { Rbx = 0xFFF0, Rsi = 0x20 };
        Assert.Equal(StepKind.Completed, machine.Step([0x8A, 0x00]).Kind); // mov al, [bx+si]
        Assert.Equal(0x77UL, machine.Registers.Rax);
    }

    [Fact]
    public void A_word_at_the_last_byte_of_a_segment_faults()
    {
        using var machine = new TestMachine(CpuMode.Bits16);
        machine.Registers = machine.Registers with { Rbx = 0xFFFF, Rbp = 0xFFFF };
        Assert.Equal(X64.Vector.GeneralProtection, machine.Step([0x8B, 0x07]).Vector); // mov ax, [bx]
        Assert.Equal(X64.Vector.StackFault, machine.Step([0x8B, 0x46, 0x00]).Vector); // mov ax, [bp+0]
    }

    [Fact]
    public void Index_registers_wrap_at_the_address_size()
    {
        using var machine = new TestMachine(CpuMode.Bits16);
        machine.Registers = machine.Registers with { Rsi = 0xABCD_FFFF, Rdi = 0x1234_FFFF, Rcx = 0x9999_0003 };
        machine.Write(0xFFFF, [1]);
        machine.Write(0, [2, 3]);
        machine.Vcpu.State->Ds.Base = machine.Vcpu.State->SegmentBase[(int)SegmentIndex.Ds] = 0;
        ulong start = machine.Registers.Rip;
        machine.Write(TestMachine.CodeAddress, [0xF3, 0xA4]);
        while (machine.Registers.Rip == start)
            Assert.Equal(StepKind.Completed, machine.Step().Kind);
        Assert.Equal(0xABCD_0002UL, machine.Registers.Rsi);
        Assert.Equal(0x1234_0002UL, machine.Registers.Rdi);
        Assert.Equal(0x9999_0000UL, machine.Registers.Rcx);
    }

    [Fact]
    public void A_segment_override_moves_the_source_of_a_string_and_not_its_destination()
    {
        using var machine = new TestMachine(CpuMode.Bits16);
        machine.Vcpu.State->Fs.Base = machine.Vcpu.State->SegmentBase[(int)SegmentIndex.Fs] = 0x4_0000;
        machine.Write(0x4_0100, [0x5A]);
        machine.Registers = machine.Registers with { Rsi = 0x100, Rdi = 0x200 };
        Assert.Equal(StepKind.Completed, machine.Step([0x64, 0xA4]).Kind);
        Assert.Equal(0x5A, machine.Read(0x200, 1)[0]);
    }

    [Fact]
    public void A_read_only_segment_refuses_writes_in_protected_mode()
    {
        using var machine = new TestMachine(CpuMode.Bits32);
        machine.Vcpu.State->Ds.Type = 1;
        machine.Registers = machine.Registers with { Rbx = 0x40_0000 };
        Assert.Equal(StepKind.Completed, machine.Step([0x8B, 0x03]).Kind);
        Assert.Equal(X64.Vector.GeneralProtection, machine.Step([0x89, 0x03]).Vector);
    }

    [Theory]
    [InlineData(CpuMode.Bits16)]
    [InlineData(CpuMode.Bits32)]
    [InlineData(CpuMode.Bits64)]
    public void Enter_and_leave_restore_the_frame(CpuMode mode)
    {
        using var machine = new TestMachine(mode);
        KvmRegs before = machine.Registers with { Rsp = 0x8000, Rbp = 0x9000 };
        machine.Registers = before;
        Assert.Equal(StepKind.Completed, machine.Step([0xC8, 0x20, 0, 3]).Kind);
        ulong size = mode switch { CpuMode.Bits16 => 2, CpuMode.Bits32 => 4, _ => 8 };
        Assert.Equal(0x8000 - size, machine.Registers.Rbp);
        Assert.Equal(0x8000 - (4 * size) - 0x20, machine.Registers.Rsp);
        Assert.Equal(StepKind.Completed, machine.Step([0xC9]).Kind);
        Assert.Equal((before.Rsp, before.Rbp), (machine.Registers.Rsp, machine.Registers.Rbp));
    }

    // The whole arithmetic in 32-bit code must be what it is in 64-bit code: the rows are the same.
    [Fact]
    public void The_one_byte_increments_keep_the_carry()
    {
        using var machine = new TestMachine(CpuMode.Bits32);
        machine.Registers = machine.Registers with { Rcx = 0xFFFF_FFFF, Rflags = 3 };
        _ = machine.Step([0x41]);
        Assert.Equal((0UL, Rflags.Cf | Rflags.Zf), (machine.Registers.Rcx, machine.Registers.Rflags & (Rflags.Cf | Rflags.Zf)));
        _ = machine.Step([0x49]);
        Assert.Equal((0xFFFF_FFFFUL, Rflags.Cf | Rflags.Sf), (machine.Registers.Rcx, machine.Registers.Rflags & (Rflags.Cf | Rflags.Sf)));
    }

    private static uint Bcd(int value) => (uint)(((value / 10) << 4) | (value % 10));
}
