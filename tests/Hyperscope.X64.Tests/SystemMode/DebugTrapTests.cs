using Hyperscope.TestKit;
using Hyperscope.Vm;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>When #DB comes, with which DR6, and where it returns to.</summary>
public sealed unsafe class DebugTrapTests : IDisposable
{
    private const ulong Code = TestMachine.CodeAddress, Breakpoint0 = 1, SingleStep = 1 << 14, SystemCall = 0x3_8000;

    private readonly LongModeBench _bench = new();

    private ulong Dr6Value => _bench.Vcpu.State->Dr[6] & ~Dr6.Fixed;

    public void Dispose() => _bench.Dispose();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void INT1_needs_no_privilege_and_leaves_DR6_alone(bool isUser)
    {
        ulong code = isUser ? LongModeBench.UserCode : Code;
        if (isUser)
            _bench.EnterUser();
        _bench.Machine.Write(code, [0xF1]);
        Assert.Equal(1, _bench.RunToHandler());
        Assert.Equal((0UL, code + 1), (Dr6Value, _bench.Stack(1)[0]));
    }

    [Fact]
    public void TF_loaded_by_POPF_traps_behind_the_next_instruction()
    {
        _bench.Machine.Write64(TestMachine.StackTop - 8, 0x102);
        _bench.Machine.Registers = _bench.Machine.Registers with { Rsp = TestMachine.StackTop - 8 };
        AssertTrap([0x9D, 0x90, 0x90], returnOffset: 2); // popfq; nop
    }

    [Fact]
    public void TF_cleared_by_POPF_traps_once_more()
    {
        _bench.Machine.Write64(TestMachine.StackTop - 8, 2);
        _bench.Machine.Registers = _bench.Machine.Registers with { Rsp = TestMachine.StackTop - 8, Rflags = 0x102 };
        AssertTrap([0x9D, 0x90], returnOffset: 1);
    }

    [Fact]
    public void MOV_SS_holds_the_trap_off_for_one_instruction()
    {
        _bench.Machine.Registers = _bench.Machine.Registers with { Rax = LongModeBench.Data, Rflags = 0x102 };
        AssertTrap([0x8E, 0xD0, 0x90, 0x90], returnOffset: 3); // mov ss, eax; nop
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void SYSCALL_traps_at_its_target_unless_it_clears_TF(bool isMasked)
    {
        Assert.True(_bench.Vcpu.SetMsr(MsrIndex.Efer, 0xD01));
        Assert.True(_bench.Vcpu.SetMsr(MsrIndex.Star, 0x001B_0008UL << 32));
        Assert.True(_bench.Vcpu.SetMsr(MsrIndex.Lstar, SystemCall));
        Assert.True(_bench.Vcpu.SetMsr(MsrIndex.Sfmask, isMasked ? Rflags.Tf : 0));
        _bench.EnterUser();
        _bench.Machine.Registers = _bench.Machine.Registers with { Rflags = 0x302 };
        _bench.Machine.Write(LongModeBench.UserCode, [0x0F, 0x05]);
        _bench.Machine.Write(SystemCall, [0x0F, 0x0B]);
        _bench.Machine.Registers = _bench.Machine.Registers with { Rsp = LongModeBench.KernelStack };
        Assert.Equal(isMasked ? 6 : 1, _bench.RunToHandler());
        Assert.Equal(isMasked ? 0UL : SingleStep, Dr6Value);
        Assert.Equal(SystemCall, _bench.Stack(1)[0]);
    }

    [Theory]
    [InlineData(new byte[] { 0xE6, 0x42 }, 0x42, 0)]                    // out 42h, al
    [InlineData(new byte[] { 0xE7, 0x40 }, 0x42, 1)]                    // out 40h, eax over the word at 42h
    [InlineData(new byte[] { 0xE4, 0x42 }, 0x42, 0)]                    // in al, 42h
    [InlineData(new byte[] { 0xEE }, 0x1234, 0)]                        // out dx, al
    [InlineData(new byte[] { 0x6E }, 0x1234, 0)]                        // outsb
    [InlineData(new byte[] { 0x6C }, 0x1234, 0)]                        // insb
    public void A_port_breakpoint_traps_behind_the_access_under_DE(byte[] code, int port, int length)
    {
        foreach (bool hasDe in (bool[])[true, false])
        {
            using var self = new DebugTrapTests();
            CpuState* c = self._bench.Vcpu.State;
            c->Cr4 |= hasDe ? Cr4.De : 0;
            c->Dr[0] = (ulong)port;
            self._bench.Vcpu.WriteDebug(7, 1 | (2UL << 16) | ((ulong)length << 18));
            self._bench.Machine.Registers = self._bench.Machine.Registers with { Rdx = 0x1234, Rsi = 0x6_0000, Rdi = 0x6_0000 };
            self._bench.Machine.Write(Code, [.. code, 0x0F, 0x0B]);
            Assert.Equal(hasDe ? 1 : 6, self._bench.RunToHandler());
            Assert.Equal(hasDe ? Breakpoint0 : 0, self.Dr6Value);
            Assert.Equal(Code + (ulong)code.Length, self._bench.Stack(1)[0]);
        }
    }

    [Fact]
    public void A_port_breakpoint_elsewhere_is_not_met()
    {
        _bench.Vcpu.State->Cr4 |= Cr4.De;
        _bench.Vcpu.State->Dr[0] = 0x43;
        _bench.Vcpu.WriteDebug(7, 1 | (2UL << 16));
        _bench.Machine.Write(Code, [0xE6, 0x42, 0x0F, 0x0B]);
        Assert.Equal(6, _bench.RunToHandler());
    }

    [Fact]
    public void A_data_breakpoint_in_a_repeated_move_traps_with_exact_registers()
    {
        const ulong Source = 0x6_0000, Destination = 0x6_1000, Count = 64, Watched = Destination + 9;
        _bench.Vcpu.State->Dr[0] = Watched;
        _bench.Vcpu.WriteDebug(7, 1 | (1UL << 16));
        _bench.Machine.Write(Source, [.. Enumerable.Repeat((byte)0x5A, (int)Count)]);
        _bench.Machine.Registers = _bench.Machine.Registers with { Rsi = Source, Rdi = Destination, Rcx = Count };
        _bench.Machine.Write(Code, [0xF3, 0xA4, 0x0F, 0x0B]);
        Assert.Equal(1, _bench.RunToHandler());
        KvmRegs registers = _bench.Machine.Registers;
        ulong done = registers.Rdi - Destination;
        Assert.InRange(done, Watched - Destination + 1, Count);
        Assert.Equal((done, Count - done), (registers.Rsi - Source, registers.Rcx));
        Assert.Equal(registers.Rcx == 0 ? Code + 2 : Code, _bench.Stack(1)[0]);
        Assert.Equal(Breakpoint0, Dr6Value);
        byte[] moved = _bench.Machine.Read(Destination, (int)Count);
        Assert.Equal((int)done, moved.Count(static value => value == 0x5A));
    }

    private void AssertTrap(byte[] code, int returnOffset)
    {
        _bench.Machine.Write(Code, code);
        Assert.Equal(1, _bench.RunToHandler());
        Assert.Equal((SingleStep, Code + (ulong)returnOffset), (Dr6Value, _bench.Stack(1)[0]));
    }
}
