using Hyperscope.TestKit;
using Hyperscope.Vm;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>When interrupts and NMIs get in: IF, shadows, HLT, CR8.</summary>
public sealed class InterruptWindowTests : IDisposable
{
    private const ulong Code = TestMachine.CodeAddress;

    private readonly LongModeBench _bench = new();
    private readonly FakeInterrupts _controller = new();

    public InterruptWindowTests() => _bench.Vcpu.Interrupts = _controller;

    public void Dispose() => _bench.Dispose();

    [Fact]
    public void An_interrupt_waits_for_IF_and_one_more_instruction_behind_STI()
    {
        _controller.Raise(0x40);
        Assert.Equal(0x40, RunCode([0x90, 0x90, 0xFB, 0x90, 0x90]));
        Assert.Equal([Code + 4, 8, 0x202], _bench.Stack(3));
    }

    [Fact]
    public void STI_with_IF_set_already_holds_nothing_off()
    {
        SetFlags(0x202);
        _controller.Raise(0x40);
        Assert.Equal(0x40, RunCode([0x90, 0x90]));
        Assert.Equal(Code, _bench.Stack(1)[0]);
    }

    [Fact]
    public void STI_then_CLI_lets_nothing_in()
    {
        _controller.Raise(0x40);
        Assert.Equal(6, RunCode([0xFB, 0xFA, 0x90, 0x0F, 0x0B]));
        Assert.Equal(Code + 3, _bench.Stack(1)[0]);
    }

    [Fact]
    public void POPF_opens_the_window_at_once()
    {
        _controller.Raise(0x40);
        Assert.Equal(0x40, RunCode([0x68, 0x02, 0x02, 0, 0, 0x9D, 0x90, 0x90]));
        Assert.Equal(Code + 6, _bench.Stack(1)[0]);
    }

    [Fact]
    public void IRET_opens_the_window_at_once()
    {
        // push 10h; push StackTop; push 202h; push 8; push target; iretq
        _controller.Raise(0x40);
        Assert.Equal(0x40, RunCode([0x6A, 0x10, 0x68, 0, 0xF0, 0, 0, 0x68, 2, 2, 0, 0, 0x6A, 8, 0x68, 0, 0, 6, 0, 0x48, 0xCF]));
        Assert.Equal([0x6_0000UL, 8, 0x202, TestMachine.StackTop], _bench.Stack(4));
    }

    [Fact]
    public void MOV_SS_holds_interrupts_and_NMIs_off_for_one_instruction()
    {
        // The selector comes from device memory, and the device raises both while it is read.
        SetFlags(0x202);
        _bench.Machine.Map(0x6_0000, 0x8000_0000, 0x1000);
        _bench.Machine.Bus.MemoryInput = (_, _) =>
        {
            _controller.Raise(0x40);
            _controller.HasNmi = true;
            _bench.Vcpu.SignalInterrupt();
            return 0x10;
        };
        Assert.Equal(2, RunCode([0x8E, 0x14, 0x25, 0, 0, 6, 0, 0x90, 0x90])); // mov ss, [60000h]; nop; nop
        Assert.Equal(Code + 8, _bench.Stack(1)[0]);
    }

    [Fact]
    public void HLT_under_STI_is_reached_and_then_woken()
    {
        _controller.Raise(0x40);
        Assert.Equal(0x40, RunCode([0xFB, 0xF4, 0x90]));
        Assert.Equal(Code + 2, _bench.Stack(1)[0]);
    }

    [Fact]
    public void HLT_with_IF_clear_is_woken_by_an_NMI_only()
    {
        _controller.Raise(0x40);
        _bench.Machine.Write(Code, [0xF4, 0x90]);
        Assert.Equal(RunOutcome.Halted, _bench.Vcpu.Run(1000, returnOnHalt: true));
        Assert.Equal(Code + 1, _bench.Machine.Registers.Rip);
        _controller.HasNmi = true;
        Assert.Equal(2, _bench.RunToHandler());
        Assert.Equal(Code + 1, _bench.Stack(1)[0]);
    }

    [Fact]
    public void A_second_NMI_waits_for_IRET()
    {
        _bench.Machine.Write(LongModeBench.Handler(2), [0x40, 0xFE, 0xC3, 0xE4, 0x10, 0x48, 0xCF]); // inc bl; in al, 10h; iretq
        int reads = 0;
        _bench.Machine.Bus.PortInput = (_, _) =>
        {
            if (reads++ == 0)
            {
                _controller.HasNmi = true;
                _bench.Vcpu.SignalInterrupt();
            }

            return (uint)(_bench.Machine.Registers.Rbx & 0xFF);
        };
        _controller.HasNmi = true;
        Assert.Equal(6, RunCode([0x90, 0x0F, 0x0B]));
        Assert.Equal((2UL, 2), (_bench.Machine.Registers.Rbx, reads));
        Assert.Equal(Code + 1, _bench.Stack(1)[0]);
    }

    [Fact]
    public void CR8_holds_lower_priorities_off_until_it_is_lowered()
    {
        SetFlags(0x202);
        _controller.TaskPriority = 5;
        _controller.Raise(0x45);
        Assert.Equal(0x45, RunCode([0x44, 0x0F, 0x20, 0xC3, 0x31, 0xC0, 0x44, 0x0F, 0x22, 0xC0, 0x90])); // mov rbx, cr8; xor eax, eax; mov cr8, rax
        Assert.Equal((5UL, Code + 10), (_bench.Machine.Registers.Rbx, _bench.Stack(1)[0]));
    }

    [Fact]
    public void CR8_refuses_more_than_four_bits()
    {
        Assert.Equal(13, RunCode([0xB8, 0x10, 0, 0, 0, 0x44, 0x0F, 0x22, 0xC0]));
        Assert.Equal([0, Code + 5], _bench.Stack(2));
    }

    [Fact]
    public void An_interrupt_gets_in_between_two_parts_of_a_repeated_instruction()
    {
        SetFlags(0x202);
        KvmRegs registers = _bench.Machine.Registers;
        registers.Rcx = 0x100;
        registers.Rdi = 0x6_0000;
        registers.Rdx = 0x10;
        _bench.Machine.Registers = registers;
        int reads = 0;
        _bench.Machine.Bus.PortInput = (_, _) =>
        {
            if (++reads == 3)
            {
                _controller.Raise(0x40);
                _bench.Vcpu.SignalInterrupt();
            }

            return 0x55;
        };
        Assert.Equal(0x40, RunCode([0xF3, 0x6C]));
        Assert.Equal((0xFDUL, 0x6_0003UL, Code), (_bench.Machine.Registers.Rcx, _bench.Machine.Registers.Rdi, _bench.Stack(1)[0]));
    }

    [Theory]
    [InlineData(new byte[] { 0xF3, 0xAA })]
    [InlineData(new byte[] { 0xF3, 0xA4 })]
    [InlineData(new byte[] { 0xF3, 0xAC })]
    [InlineData(new byte[] { 0xF3, 0xA6 })]
    [InlineData(new byte[] { 0xF3, 0xAE })]
    public void An_instruction_limit_bounds_a_repeated_instruction(byte[] code)
    {
        KvmRegs registers = _bench.Machine.Registers;
        registers.Rcx = 1UL << 62;
        registers.Rsi = registers.Rdi = 0x60_0000;
        registers.Rax = 0;
        _bench.Machine.Registers = registers;
        _bench.Machine.Write(Code, code);
        Assert.Equal(RunOutcome.LimitReached, _bench.Vcpu.Run(300));
        KvmRegs after = _bench.Machine.Registers;
        Assert.Equal(Code, after.Rip);
        ulong done = (1UL << 62) - after.Rcx;
        Assert.InRange(done, 200UL, 400UL * 4096);
        Assert.Equal(0x60_0000 + done, code[1] == 0xAC ? after.Rsi : after.Rdi);
        Assert.Equal(0UL, _bench.Vcpu.InstructionsRetired);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void An_instruction_that_an_observer_let_through_comes_before_an_interrupt(bool isNmi)
    {
        var observer = new AnsweringObserver
        {
            Limit = 2,
            Answer = (in _) =>
            {
                _controller.HasNmi = isNmi;
                if (!isNmi)
                    _controller.Raise(0x40);
            },
        };
        _bench.Machine.Memory.PageTracker.Subscribe(observer);
        _bench.Machine.Watch(Code + 1, 1, PageAccess.Execute);
        SetFlags(0x202);
        Assert.Equal(isNmi ? 2 : 0x40, RunCode([0x90, 0x90, 0x90]));
        Assert.Equal(Code + 2, _bench.Stack(1)[0]);
        Assert.Equal(Code + 1, Assert.Single(observer.Log).Gpa);
    }

    private void SetFlags(ulong flags)
    {
        KvmRegs registers = _bench.Machine.Registers;
        registers.Rflags = flags;
        _bench.Machine.Registers = registers;
    }

    private int RunCode(byte[] code)
    {
        _bench.Machine.Write(Code, code);
        return _bench.RunToHandler();
    }
}
