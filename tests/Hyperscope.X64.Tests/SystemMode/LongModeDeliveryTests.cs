using Hyperscope.TestKit;
using Hyperscope.Vm;

namespace Hyperscope.X64.Tests.SystemMode;

public sealed class LongModeDeliveryTests : IDisposable
{
    private readonly LongModeBench _bench = new();

    public void Dispose() => _bench.Dispose();

    [Fact]
    public void A_fault_pushes_six_values_with_rip_at_the_instruction_and_RF_set()
    {
        _bench.Machine.Write(TestMachine.CodeAddress, [0x90, 0x0F, 0x0B]); // nop; ud2
        Assert.Equal(6, _bench.RunToHandler());
        ulong[] stack = _bench.Stack(5);
        Assert.Equal(TestMachine.CodeAddress + 1, stack[0]);
        Assert.Equal(8UL, stack[1]);
        Assert.Equal(0x10002UL, stack[2]);
        Assert.Equal(TestMachine.StackTop, stack[3]);
        Assert.Equal(0x10UL, stack[4]);
    }

    [Fact]
    public void A_page_fault_loads_CR2_and_pushes_its_code()
    {
        _bench.Machine.Map(0x6_0000, 0, 0x1000, bits: 0);
        _bench.Machine.Assemble(a => a.mov(Iced.Intel.AssemblerRegisters.__[0x6_0123], Iced.Intel.AssemblerRegisters.eax));
        Assert.Equal(14, _bench.RunToHandler());
        Assert.Equal(2UL, _bench.Stack(1)[0]);
        _bench.Vcpu.GetSpecialRegisters(out KvmSregs sregs);
        Assert.Equal(0x6_0123UL, sregs.Cr2);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void From_user_code_the_stack_comes_from_the_TSS_and_SS_is_null(bool is32)
    {
        _bench.EnterUser(is32);
        _bench.SetGate(0x80, dpl: 3);
        _bench.Machine.Write(LongModeBench.UserCode, [0xCD, 0x80]);
        Assert.Equal(0x80, _bench.RunToHandler());
        ulong[] stack = _bench.Stack(5);
        Assert.Equal([LongModeBench.UserCode + 2, is32 ? 0x1BUL : 0x2B, 0x202, LongModeBench.UserStack, 0x23], stack);
        _bench.Vcpu.GetSpecialRegisters(out KvmSregs sregs);
        Assert.Equal((0, 1, (byte)0), (sregs.Ss.Selector, sregs.Ss.Unusable, sregs.Ss.Dpl));
        Assert.Equal(LongModeBench.KernelStack - 40, _bench.Machine.Registers.Rsp);
    }

    [Fact]
    public void INT_through_a_gate_of_an_inner_level_is_a_general_protection_fault_at_the_instruction()
    {
        _bench.EnterUser();
        _bench.Machine.Write(LongModeBench.UserCode, [0xCD, 0x80]);
        Assert.Equal(13, _bench.RunToHandler());
        Assert.Equal([0x80 * 8 + 2, LongModeBench.UserCode], _bench.Stack(2));
    }

    [Fact]
    public void An_interrupt_stack_table_entry_is_taken_and_aligned()
    {
        _bench.SetGate(3, ist: 1);
        _bench.Machine.Write64(LongModeBench.Tss + 0x24, LongModeBench.IstStack + 7);
        _bench.Machine.Write(TestMachine.CodeAddress, [0xCC]);
        Assert.Equal(3, _bench.RunToHandler());
        Assert.Equal(LongModeBench.IstStack - 40, _bench.Machine.Registers.Rsp);
        Assert.Equal(TestMachine.CodeAddress + 1, _bench.Stack(1)[0]);
    }

    [Theory]
    [InlineData(0xF, 0x202)]
    [InlineData(0xE, 0x2)]
    public void A_trap_gate_leaves_IF_alone_and_an_interrupt_gate_clears_it(int type, ulong flags)
    {
        _bench.SetGate(0x40, type: type);
        _bench.Machine.Write(TestMachine.CodeAddress, [0xFB, 0xCD, 0x40]);
        Assert.Equal(0x40, _bench.RunToHandler());
        Assert.Equal(flags, _bench.Machine.Registers.Rflags);
    }

    [Fact]
    public void IRET_returns_to_user_code_with_its_flags()
    {
        _bench.EnterUser();
        _bench.SetGate(0x80, dpl: 3);
        _bench.Machine.Write(LongModeBench.Handler(0x80), [0x48, 0xCF]);
        _bench.Machine.Write(LongModeBench.UserCode, [0xCD, 0x80, 0x0F, 0x0B]);
        Assert.Equal(6, _bench.RunToHandler());
        Assert.Equal([LongModeBench.UserCode + 2, 0x2B, 0x10202, LongModeBench.UserStack, 0x23], _bench.Stack(5));
    }

    [Theory]
    [InlineData(false, 0xE, (ushort)0x8, 11, 6 * 8 + 3)]    // gate not present
    [InlineData(true, 0x5, (ushort)0x8, 13, 6 * 8 + 3)]     // not an interrupt or trap gate
    [InlineData(true, 0xE, (ushort)0x0, 13, 1)]             // null selector
    [InlineData(true, 0xE, (ushort)0x10, 13, 0x11)]         // data segment
    [InlineData(true, 0xE, (ushort)0x100, 13, 0x101)]       // beyond the table
    [InlineData(true, 0xE, (ushort)0x18, 13, 0x19)]         // outer level
    public void A_bad_gate_of_a_benign_fault_gives_its_own_fault_with_EXT(bool present, int type, ushort selector, int vector, int code)
    {
        _bench.SetGate(6, type: type, selector: selector, present: present);
        _bench.Machine.Write(TestMachine.CodeAddress, [0x0F, 0x0B]);
        Assert.Equal(vector, _bench.RunToHandler());
        Assert.Equal([(ulong)code, TestMachine.CodeAddress], _bench.Stack(2));
    }

    [Fact]
    public void Two_contributory_faults_are_a_double_fault()
    {
        _bench.SetGate(13, present: false);
        _bench.EnterUser();
        _bench.Machine.Write(LongModeBench.UserCode, [0xF4]); // hlt in user code
        Assert.Equal(8, _bench.RunToHandler());
        Assert.Equal([0, LongModeBench.UserCode], _bench.Stack(2));
    }

    [Fact]
    public void A_fault_while_delivering_a_double_fault_shuts_the_processor_down()
    {
        _bench.SetGate(13, present: false);
        _bench.SetGate(8, present: false);
        _bench.EnterUser();
        _bench.Machine.Write(LongModeBench.UserCode, [0xF4]);
        Assert.Equal(RunOutcome.Shutdown, _bench.Vcpu.Run(1000, returnOnHalt: true));
        Assert.Equal(RunOutcome.Shutdown, _bench.Vcpu.Run(1000, returnOnHalt: true));
        _bench.Vcpu.Reset();
        _bench.Vcpu.GetSpecialRegisters(out KvmSregs sregs);
        Assert.Equal((0xFFFF_0000UL, 0x6000_0010UL), (sregs.Cs.Base, sregs.Cr0));
        Assert.Equal(0xFFF0UL, _bench.Machine.Registers.Rip);
    }

    [Fact]
    public void A_page_fault_while_pushing_a_page_fault_is_a_double_fault_that_can_switch_stacks()
    {
        _bench.SetGate(8, ist: 1);
        KvmRegs registers = _bench.Machine.Registers;
        registers.Rsp = 0x6_1000;
        _bench.Machine.Registers = registers;
        _bench.Machine.Map(0x6_0000, 0, 0x1000, bits: 0);
        _bench.Machine.Write(TestMachine.CodeAddress, [0x50]); // push rax
        Assert.Equal(8, _bench.RunToHandler());
        Assert.Equal([0UL, TestMachine.CodeAddress], _bench.Stack(2));
        _bench.Vcpu.GetSpecialRegisters(out KvmSregs sregs);
        Assert.Equal(0x6_0FF8UL, sregs.Cr2);
    }

    [Fact]
    public void TF_traps_behind_each_instruction()
    {
        KvmRegs registers = _bench.Machine.Registers;
        registers.Rflags |= Rflags.Tf;
        _bench.Machine.Registers = registers;
        _bench.Machine.Write(TestMachine.CodeAddress, [0x90, 0x90]);
        Assert.Equal(1, _bench.RunToHandler());
        Assert.Equal([TestMachine.CodeAddress + 1, 8, 0x102], _bench.Stack(3));
    }

    [Fact]
    public void A_data_breakpoint_traps_behind_the_store()
    {
        _bench.Machine.Assemble(a =>
        {
            a.mov(Iced.Intel.AssemblerRegisters.eax, 0x6_0004);
            a.mov(Iced.Intel.AssemblerRegisters.dr0, Iced.Intel.AssemblerRegisters.rax);
            a.mov(Iced.Intel.AssemblerRegisters.eax, 0xD_0001);
            a.mov(Iced.Intel.AssemblerRegisters.dr7, Iced.Intel.AssemblerRegisters.rax);
            a.mov(Iced.Intel.AssemblerRegisters.__dword_ptr[0x6_0000], 1);
            a.mov(Iced.Intel.AssemblerRegisters.__dword_ptr[0x6_0006], 2);
            a.nop();
        });
        Assert.Equal(1, _bench.RunToHandler());
        Assert.Equal(2u, (uint)_bench.Machine.Read64(0x6_0006));
        Assert.Equal(0x90, _bench.Machine.Read(_bench.Stack(1)[0], 1)[0]);
    }

    [Fact]
    public void SYSCALL_and_SYSRET_go_there_and_back()
    {
        Assert.True(_bench.Vcpu.SetMsr(MsrIndex.Efer, 0xD01));
        Assert.True(_bench.Vcpu.SetMsr(MsrIndex.Star, 0x001B_0008UL << 32));
        Assert.True(_bench.Vcpu.SetMsr(MsrIndex.Lstar, 0x3_8000));
        Assert.True(_bench.Vcpu.SetMsr(MsrIndex.Sfmask, 0x200));
        _bench.Machine.Write(0x3_8000, [0x9C, 0x5B, 0x48, 0x0F, 0x07]); // pushf; pop rbx; sysret
        _bench.EnterUser();
        _bench.Machine.Write(LongModeBench.UserCode, [0x0F, 0x05, 0x0F, 0x0B]);
        Assert.Equal(6, _bench.RunToHandler());
        Assert.Equal([LongModeBench.UserCode + 2, 0x2B, 0x10202, LongModeBench.UserStack, 0x23], _bench.Stack(5));
        KvmRegs after = _bench.Machine.Registers;
        Assert.Equal((LongModeBench.UserCode + 2, 0x202UL, 2UL), (after.Rcx, after.R11, after.Rbx));
    }
}
