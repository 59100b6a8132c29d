using Hyperscope.TestKit;
using Hyperscope.Vm;
using Bench = Hyperscope.X64.Tests.SystemMode.LongModeBench;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>Far transfers in long mode: call gates of 16 bytes, far returns to outer levels, what is gone (tasks, 16-bit gates).</summary>
public sealed class LongModeGateTests : IDisposable
{
    private const ushort Gate = 0x40, GateSelector = Gate | 3, AbsentCode = 0x50, AbsentStack = 0x58, LastSlot = 0x60;
    private const ulong Target = 0x6_0000, Pointer = Bench.UserCode + 0x800;

    private readonly LongModeBench _bench = new();

    public LongModeGateTests()
    {
        _bench.Vcpu.GetSpecialRegisters(out KvmSregs sregs);
        sregs.Gdt.Limit = LastSlot + 7;
        _bench.Vcpu.SetSpecialRegisters(sregs);
        _bench.Machine.Write64(Bench.Gdt + AbsentCode, 0x00AF_7B00_0000_FFFF);
        _bench.Machine.Write64(Bench.Gdt + AbsentStack, 0x00CF_7300_0000_FFFF);
        _bench.Machine.Write(Target, [0xF4]);
        SetGate();
    }

    private KvmSregs Special
    {
        get
        {
            _bench.Vcpu.GetSpecialRegisters(out KvmSregs sregs);
            return sregs;
        }
    }

    public void Dispose() => _bench.Dispose();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_gate_to_level_0_pushes_four_quadwords_on_the_stack_of_the_TSS_and_makes_SS_null(bool is32)
    {
        _bench.EnterUser(is32);
        int length = WriteCall(is32);
        RunToTarget();
        Assert.Equal([Bench.UserCode + (ulong)length, is32 ? 0x1BUL : 0x2B, Bench.UserStack, 0x23], _bench.Stack(4));
        Assert.Equal((Bench.KernelStack - 32, (ushort)8, (ushort)0, (byte)1), (_bench.Machine.Registers.Rsp, Special.Cs.Selector, Special.Ss.Selector, Special.Ss.Unusable));
        Assert.Equal(0x202UL, _bench.Machine.Registers.Rflags);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_far_return_goes_back_to_the_outer_level_its_stack_and_its_code_size(bool is32)
    {
        _bench.Machine.Write(Target, [0x48, 0xCB]); // retfq
        _bench.EnterUser(is32);
        int length = WriteCall(is32);
        _bench.Machine.Write(Bench.UserCode + (ulong)length, [0x0F, 0x0B]);
        Assert.Equal(6, _bench.RunToHandler());
        Assert.Equal([Bench.UserCode + (ulong)length, is32 ? 0x1BUL : 0x2B, 0x1_0202, Bench.UserStack, 0x23], _bench.Stack(5));
    }

    [Fact]
    public void A_gate_to_the_own_level_pushes_the_return_address_only()
    {
        _bench.Machine.Write64(Pointer, (ulong)Gate << 32);
        _bench.Machine.Write(TestMachine.CodeAddress, [0xFF, 0x1C, 0x25, .. BitConverter.GetBytes((uint)Pointer)]); // call far [pointer]
        RunToTarget();
        Assert.Equal([TestMachine.CodeAddress + 7, 8UL], _bench.Stack(2));
        Assert.Equal(TestMachine.StackTop - 16, _bench.Machine.Registers.Rsp);
    }

    [Theory]
    [InlineData(0x8CUL, Bench.Code, Target, 0UL, 13, 0x40)]                    // level 0 gate
    [InlineData(0x6CUL, Bench.Code, Target, 0UL, 11, 0x40)]                    // absent
    [InlineData(0xE4UL, Bench.Code, Target, 0UL, 13, 0x40)]                    // 16-bit call gate
    [InlineData(0xE5UL, Bench.TssSelector, Target, 0UL, 13, 0x40)]             // task gate
    [InlineData(0xE9UL, Bench.TssSelector, Target, 0UL, 13, 0x40)]             // task state segment
    [InlineData(0xECUL, Bench.Code, Target, 0x0C00UL, 13, 0x40)]               // a type in the upper half
    [InlineData(0xECUL, (ushort)0, Target, 0UL, 13, 0)]                        // null target
    [InlineData(0xECUL, Bench.Data, Target, 0UL, 13, 0x10)]                    // no code
    [InlineData(0xECUL, Bench.UserCode32Selector, Target, 0UL, 13, 0x18)]      // no 64-bit code
    [InlineData(0xECUL, (ushort)0x200, Target, 0UL, 13, 0x200)]                // behind the table
    [InlineData(0xECUL, AbsentCode, Target, 0UL, 11, 0x50)]
    [InlineData(0xECUL, Bench.Code, 0x0000_8000_0000_0000UL, 0UL, 13, 0)]      // target not canonical
    public void A_bad_gate_faults_with_the_selector_at_fault(ulong access, ushort selector, ulong target, ulong upper, int vector, int code)
    {
        SetGate(access, selector, target, upper);
        _bench.EnterUser();
        _ = WriteCall(is32: false);
        Assert.Equal(vector, _bench.RunToHandler());
        Assert.Equal([(ulong)code, Bench.UserCode], _bench.Stack(2));
    }

    [Fact]
    public void A_gate_whose_upper_half_is_behind_the_table_does_not_exist()
    {
        _bench.Machine.Write64(Bench.Gdt + LastSlot, _bench.Machine.Read64(Bench.Gdt + Gate));
        _bench.EnterUser();
        _ = WriteCall(is32: false, LastSlot | 3);
        Assert.Equal(13, _bench.RunToHandler());
        Assert.Equal((ulong)LastSlot, _bench.Stack(1)[0]);
    }

    [Fact]
    public void A_jump_through_a_gate_cannot_change_the_level()
    {
        _bench.EnterUser();
        _bench.Machine.Write64(Pointer, (ulong)GateSelector << 32);
        _bench.Machine.Write(Bench.UserCode, [0xFF, 0x2C, 0x25, .. BitConverter.GetBytes((uint)Pointer)]);
        Assert.Equal(13, _bench.RunToHandler());
        Assert.Equal(8UL, _bench.Stack(1)[0]);
    }

    [Fact]
    public void An_inner_stack_that_is_not_canonical_is_a_stack_fault()
    {
        _bench.SetGate(12, ist: 1);
        _bench.Machine.Write64(Bench.Tss + 4, 0x0000_8000_0000_1000);
        _bench.EnterUser();
        _ = WriteCall(is32: false);
        Assert.Equal(12, _bench.RunToHandler());
    }

    [Theory]
    [InlineData((ushort)0x2B, (ushort)0x23, -1, 0)]
    [InlineData((ushort)0x1B, (ushort)0x23, -1, 0)]
    [InlineData((ushort)0x2B, (ushort)0, 13, 0)]                    // level 3 has no null stack
    [InlineData((ushort)0x1B, (ushort)0, 13, 0)]
    [InlineData((ushort)0x2B, (ushort)0x20, 13, 0x20)]              // level of the selector
    [InlineData((ushort)0x2B, (ushort)0x13, 13, 0x10)]              // level of the segment
    [InlineData((ushort)0x2B, (ushort)0x2B, 13, 0x28)]              // code as stack
    [InlineData((ushort)0x2B, (ushort)(AbsentStack | 3), 12, 0x58)]
    [InlineData((ushort)0, (ushort)0x23, 13, 0)]
    [InlineData((ushort)0x23, (ushort)0x23, 13, 0x20)]              // data as code
    [InlineData((ushort)(AbsentCode | 3), (ushort)0x23, 11, 0x50)]
    [InlineData((ushort)0x203, (ushort)0x23, 13, 0x200)]
    [InlineData((ushort)0x0B, (ushort)0x23, 13, 0x08)]              // code of level 0 for level 3
    public void A_return_to_level_3_checks_what_it_pops(ushort code, ushort stack, int vector, int errorCode)
    {
        foreach (bool isInterrupt in (bool[])[false, true])
        {
            using var self = new LongModeGateTests();
            LongModeBench bench = self._bench;
            ulong[] frame = isInterrupt ? [Bench.UserCode, code, 0x202, Bench.UserStack, stack] : [Bench.UserCode, code, Bench.UserStack, stack];
            for (int index = 0; index < frame.Length; index++)
                bench.Machine.Write64(0x8000 + ((ulong)index * 8), frame[index]);
            bench.Machine.Registers = bench.Machine.Registers with { Rsp = 0x8000 };
            bench.Machine.Write(TestMachine.CodeAddress, [0x48, (byte)(isInterrupt ? 0xCF : 0xCB)]);
            bench.Machine.Write(Bench.UserCode, [0x0F, 0x0B]);
            Assert.Equal(vector < 0 ? 6 : vector, bench.RunToHandler());
            if (vector < 0)
                Assert.Equal([Bench.UserCode, code, Bench.UserStack, stack], bench.Stack(5) is var s ? [s[0], s[1], s[3], s[4]] : []);
            else
                Assert.Equal([(ulong)errorCode, TestMachine.CodeAddress], bench.Stack(2));
        }
    }

    [Fact]
    public void A_return_inward_is_refused()
    {
        _bench.EnterUser();
        _bench.Machine.Write64(Bench.UserStack, Target);
        _bench.Machine.Write64(Bench.UserStack + 8, 8);
        _bench.Machine.Write(Bench.UserCode, [0x48, 0xCB]);
        Assert.Equal(13, _bench.RunToHandler());
        Assert.Equal([8UL, Bench.UserCode], _bench.Stack(2));
    }

    [Fact]
    public void IRET_from_a_nested_task_does_not_exist_in_long_mode()
    {
        _bench.Machine.Registers = _bench.Machine.Registers with { Rflags = 0x4002 };
        _bench.Machine.Write(TestMachine.CodeAddress, [0x48, 0xCF]);
        Assert.Equal(13, _bench.RunToHandler());
        Assert.Equal([0UL, TestMachine.CodeAddress], _bench.Stack(2));
    }

    [Fact]
    public void An_interrupt_gate_to_a_task_does_not_exist_in_long_mode()
    {
        _bench.SetGate(0x40, type: 5, selector: Bench.TssSelector);
        _bench.Machine.Write(TestMachine.CodeAddress, [0xCD, 0x40]);
        Assert.Equal(13, _bench.RunToHandler());
        Assert.Equal((0x40UL * 8) + 2, _bench.Stack(1)[0]);
    }

    private void RunToTarget()
    {
        Assert.Equal(RunOutcome.Halted, _bench.Vcpu.Run(1000, returnOnHalt: true));
        Assert.Equal(Target + 1, _bench.Machine.Registers.Rip);
    }

    private int WriteCall(bool is32, ushort selector = GateSelector)
    {
        _bench.Machine.Write64(Pointer, (ulong)selector << 32);
        byte[] code = [0xFF, 0x1C, 0x25, .. BitConverter.GetBytes((uint)Pointer)];
        if (is32)
            code = [0x9A, 0, 0, 0, 0, (byte)selector, 0];
        _bench.Machine.Write(Bench.UserCode, code);
        return code.Length;
    }

    private void SetGate(ulong access = 0xEC, ushort selector = Bench.Code, ulong target = Target, ulong upper = 0)
    {
        _bench.Machine.Write64(Bench.Gdt + Gate, (target & 0xFFFF) | ((ulong)selector << 16) | (access << 40) | ((target & 0xFFFF_0000) << 32));
        _bench.Machine.Write64(Bench.Gdt + Gate + 8, (target >> 32) | (upper << 32));
    }
}
