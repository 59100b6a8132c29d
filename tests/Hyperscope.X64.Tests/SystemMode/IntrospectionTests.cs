using Hyperscope.TestKit;
using Hyperscope.Vm;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>What an observer sees and can do: restricted pages, intercepts, steps, injections.</summary>
public sealed class IntrospectionTests : IDisposable
{
    private const ulong Page = 0x6_0000, Other = 0x7_0000;
    private const InstructionVerdict Restart = InstructionVerdict.Restart;

    private readonly LongModeBench _bench = new();
    private readonly FakePageObserver _pages = new();
    private readonly FakeEvents _events = new();

    public IntrospectionTests()
    {
        _bench.Machine.Memory.PageTracker.Subscribe(_pages);
        _bench.Vcpu.Events = _events;
    }

    public void Dispose() => _bench.Dispose();

    private KvmRegs Run(Action<Assembler> code)
    {
        Assert.Equal(RunOutcome.Stopped, _bench.Machine.RunProgram(code, 10_000));
        return _bench.Machine.Registers;
    }

    [Fact]
    public void A_store_that_is_allowed_once_is_asked_for_again_the_next_time()
    {
        _bench.Machine.Restrict(Page, PageAccess.Read);
        Run(a =>
        {
            a.mov(__dword_ptr[Page], 5);
            a.mov(__dword_ptr[Page + 4], 6);
        });
        Assert.Equal([(Page, PageAccess.Write, 4), (Page + 4, PageAccess.Write, 4)], _pages.Log.Select(a => (a.Gva, a.Kind, a.Length)));
        Assert.Equal(0x6_0000_0005UL, _bench.Machine.Read64(Page));
    }

    [Fact]
    public void Retry_runs_the_instruction_again_with_the_new_rights()
    {
        _bench.Machine.Restrict(Page, PageAccess.Read);
        _pages.Answer = (_, _) =>
        {
            _bench.Machine.Restrict(Page, PageAccess.All);
            return PageTrackVerdict.Retry;
        };
        Run(a => a.add(__dword_ptr[Page], 5));
        _ = Assert.Single(_pages.Log);
        Assert.Equal(5UL, _bench.Machine.Read64(Page));
    }

    [Fact]
    public void Retry_with_rip_moved_skips_the_instruction()
    {
        _bench.Machine.Restrict(Page, PageAccess.None);
        _pages.Answer = (vcpu, _) =>
        {
            vcpu.GetRegisters(out KvmRegs registers);
            registers.Rip += 1;
            vcpu.SetRegisters(registers);
            return PageTrackVerdict.Retry;
        };
        KvmRegs after = Run(a =>
        {
            a.mov(rsi, Page);
            a.mov(edi, 3);
            a.lodsb();
        });
        Assert.Equal((Page, 3UL), (after.Rsi, after.Rdi));
    }

    [Fact]
    public void A_read_modify_write_asks_for_the_read_and_the_write_and_happens_once()
    {
        _bench.Machine.Restrict(Page, PageAccess.None);
        Run(a =>
        {
            a.@lock.add(__dword_ptr[Page], 5);
            a.mov(eax, 5);
            a.mov(ecx, 9);
            a.@lock.cmpxchg(__dword_ptr[Page], ecx);
        });
        Assert.Equal([PageAccess.Read, PageAccess.Write, PageAccess.Read, PageAccess.Write], _pages.Log.Select(a => a.Kind));
        Assert.Equal(9UL, _bench.Machine.Read64(Page));
    }

    [Fact]
    public void Each_element_of_a_repeated_move_is_asked_for_with_exact_registers()
    {
        _bench.Machine.Restrict(Page, PageAccess.None);
        var counts = new List<ulong>();
        _pages.Answer = (vcpu, _) =>
        {
            vcpu.GetRegisters(out KvmRegs registers);
            counts.Add(registers.Rcx);
            return PageTrackVerdict.Allow;
        };
        _bench.Machine.Write(Page, [1, 2, 3]);
        KvmRegs after = Run(a =>
        {
            a.mov(rsi, Page);
            a.mov(rdi, Other);
            a.mov(ecx, 3);
            a.rep.movsb();
        });
        Assert.Equal([3, 2, 1], counts);
        Assert.Equal((Page + 3, Other + 3, 0UL), (after.Rsi, after.Rdi, after.Rcx));
        Assert.Equal([1, 2, 3], _bench.Machine.Read(Other, 3));
    }

    [Fact]
    public void A_store_across_two_pages_is_asked_for_page_by_page_and_written_whole()
    {
        _bench.Machine.Restrict(Page, PageAccess.Read);
        _bench.Machine.Restrict(Page + 0x1000, PageAccess.Read);
        Run(a =>
        {
            a.mov(rax, 0x1122334455667788);
            a.mov(__qword_ptr[Page + 0xFFD], rax);
        });
        Assert.Equal([(Page + 0xFFD, 3), (Page + 0x1000, 5)], _pages.Log.Select(a => (a.Gva, a.Length)));
        Assert.Equal(0x1122334455667788UL, _bench.Machine.Read64(Page + 0xFFD));
    }

    [Fact]
    public void Execution_of_a_restricted_page_is_asked_for_at_each_instruction()
    {
        _bench.Machine.Assemble(a =>
        {
            a.nop();
            a.ret();
        }, Page);
        _bench.Machine.Restrict(Page, PageAccess.Read | PageAccess.Write);
        Run(a =>
        {
            a.mov(rax, Page);
            a.call(rax);
        });
        Assert.Equal([(Page, PageAccess.Execute), (Page + 1, PageAccess.Execute)], _pages.Log.Select(a => (a.Gva, a.Kind)));
    }

    [Fact]
    public void With_continue_what_the_instruction_writes_wins_and_the_rest_is_the_observers()
    {
        _bench.Machine.Restrict(Page, PageAccess.None);
        _bench.Machine.Write64(Page, 42);
        _pages.Answer = (vcpu, _) =>
        {
            vcpu.GetRegisters(out KvmRegs registers);
            registers.Rax = 1; // written by the instruction: lost
            registers.Rbx = 2; // its address: the instruction goes on with the old one, the new value stays
            registers.R15 = 3;
            registers.Rip = 0x1234; // lost
            vcpu.SetRegisters(registers);
            return PageTrackVerdict.Allow;
        };
        KvmRegs after = Run(a =>
        {
            a.mov(rbx, Page);
            a.mov(rax, __qword_ptr[rbx]);
        });
        Assert.Equal((42UL, 2UL, 3UL), (after.Rax, after.Rbx, after.R15));
        _ = Assert.Single(_pages.Log);
    }

    [Fact]
    public void A_push_during_event_delivery_is_asked_for_and_delivery_goes_on()
    {
        _bench.SetGate(6, ist: 1);
        _bench.Machine.Write64(LongModeBench.Tss + 0x24, Page + 0x1000);
        _bench.Machine.Restrict(Page, PageAccess.Read);
        _bench.Machine.Write(TestMachine.CodeAddress, [0x0F, 0x0B]);
        Assert.Equal(6, _bench.RunToHandler());
        (ulong gva, _, PageAccess kind, int length, ulong rip) = Assert.Single(_pages.Log);
        Assert.Equal((Page + 0x1000 - 40, PageAccess.Write, 40, TestMachine.CodeAddress), (gva, kind, length, rip));
        Assert.Equal([TestMachine.CodeAddress, 8], _bench.Stack(2));
    }

    [Fact]
    public void A_restricted_descriptor_table_is_asked_for_during_delivery_and_retry_tries_again()
    {
        _bench.Machine.Restrict(LongModeBench.Idt, PageAccess.None);
        int asked = 0;
        _pages.Answer = (_, _) =>
        {
            if (++asked == 3)
                _bench.Machine.Restrict(LongModeBench.Idt, PageAccess.All);
            return PageTrackVerdict.Retry;
        };
        _bench.Machine.Write(TestMachine.CodeAddress, [0x0F, 0x0B]);
        Assert.Equal(6, _bench.RunToHandler());
        Assert.Equal(3, asked);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_breakpoint_is_reported_before_it_is_raised(bool proceeds)
    {
        _bench.Vcpu.Intercepts = VcpuIntercepts.Breakpoint;
        _events.Answer = vcpu =>
        {
            if (proceeds)
                return InstructionVerdict.Proceed;
            vcpu.GetRegisters(out KvmRegs registers);
            registers.Rip++;
            vcpu.SetRegisters(registers);
            return Restart;
        };
        _bench.Machine.Write(TestMachine.CodeAddress, [0xCC, 0x0F, 0x0B]);
        Assert.Equal(proceeds ? 3 : 6, _bench.RunToHandler());
        Assert.Equal([$"{TestMachine.CodeAddress:x} breakpoint 0x10000 1"], _events.Log);
        Assert.Equal(TestMachine.CodeAddress + 1, _bench.Stack(1)[0]);
    }

    [Fact]
    public void A_control_register_write_is_reported_when_it_changes_and_can_be_replaced()
    {
        _bench.Vcpu.Intercepts = VcpuIntercepts.Cr4;
        _bench.Vcpu.GetSpecialRegisters(out KvmSregs before);
        _events.Replacement = before.Cr4;
        Run(a =>
        {
            a.mov(rax, cr4);
            a.mov(cr4, rax);
            a.or(eax, 0x40000);
            a.mov(cr4, rax);
        });
        _bench.Vcpu.GetSpecialRegisters(out KvmSregs after);
        Assert.Equal(before.Cr4, after.Cr4);
        Assert.EndsWith($"cr4 {before.Cr4:x} {before.Cr4 | 0x40000:x}", Assert.Single(_events.Log), StringComparison.Ordinal);
    }

    [Fact]
    public void A_refused_MSR_write_is_a_general_protection_fault_and_an_unchanged_one_is_not_reported()
    {
        _bench.Vcpu.InterceptMsr(0x140, true);
        _events.Answer = _ => InstructionVerdict.Refuse;
        _bench.Machine.Assemble(a =>
        {
            a.mov(ecx, 0x140);
            a.xor(eax, eax);
            a.xor(edx, edx);
            a.wrmsr();
            a.inc(eax);
            a.wrmsr();
        });
        Assert.Equal(13, _bench.RunToHandler());
        Assert.EndsWith("msr 140 0 1", Assert.Single(_events.Log), StringComparison.Ordinal);
        Assert.True(_bench.Vcpu.TryReadMsr(0x140, out ulong value) && value == 0);
    }

    [Fact]
    public void Descriptor_instructions_are_reported_with_their_direction()
    {
        _bench.Vcpu.Intercepts = VcpuIntercepts.Descriptor;
        Run(a =>
        {
            a.sgdt(__[Other]);
            a.lgdt(__[Other]);
            a.str(eax);
        });
        Assert.Equal(["Gdtr False", "Gdtr True", "Tr False"], _events.Log.Select(line => line[(line.IndexOf(' ', StringComparison.Ordinal) + 1)..]));
    }

    [Theory]
    [InlineData(true, 77L)]
    [InlineData(false, -1000L)]
    public void A_hypercall_is_answered_by_the_observer_or_not_at_all(bool isHandled, long answer)
    {
        _bench.Vcpu.Intercepts = VcpuIntercepts.Hypercall;
        _events.Answer = _ => isHandled ? InstructionVerdict.Proceed : InstructionVerdict.Refuse;
        Assert.Equal((ulong)answer, Run(a => a.vmcall()).Rax);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_vcpu_that_is_to_stand_still_does_not_finish_the_instruction_it_was_asked_about(bool isKicked)
    {
        _bench.Vcpu.Intercepts = VcpuIntercepts.Cpuid;
        ulong? seen = null;
        _events.Answer = vcpu =>
        {
            _events.Pause = one =>
            {
                Assert.False(((SoftwareVcpu)one).IsInGuestMode);
                one.GetRegisters(out KvmRegs registers);
                seen = registers.Rax;
            };
            if (isKicked)
                vcpu.Kick();
            return InstructionVerdict.Proceed;
        };
        KvmRegs after = Run(a =>
        {
            a.mov(eax, 1);
            a.cpuid();
        });
        Assert.NotEqual(1UL, after.Rax);
        Assert.Equal(isKicked ? 1UL : null, seen);
    }

    [Fact]
    public void Single_stepping_reports_each_instruction_at_the_next_one()
    {
        _bench.Vcpu.IsSingleStepping = true;
        _events.Step = vcpu => vcpu.IsSingleStepping = _events.Log.Count < 3;
        Run(a =>
        {
            a.nop();
            a.nop();
            a.nop();
            a.nop();
        });
        Assert.Equal(["10001 step False", "10002 step False", "10003 step False"], _events.Log);
    }

    [Fact]
    public void A_step_over_a_fault_ends_at_the_handler_and_an_injection_waits()
    {
        _bench.Vcpu.IsSingleStepping = true;
        Assert.True(_bench.Vcpu.TryQueueException(13, 0, 0));
        _events.Step = vcpu => vcpu.IsSingleStepping = false;
        _bench.Machine.Write(TestMachine.CodeAddress, [0x0F, 0x0B]);
        Assert.Equal(13, _bench.RunToHandler());
        Assert.Equal([$"{LongModeBench.Handler(6):x} step False"], _events.Log);
        Assert.Equal([0, LongModeBench.Handler(6)], _bench.Stack(2));
    }

    [Fact]
    public void An_injected_exception_goes_in_without_executing_the_handler()
    {
        Assert.True(_bench.Vcpu.TryQueueException(14, 2, 0x1234));
        Assert.False(_bench.Vcpu.TryQueueException(6, 0, 0));
        Assert.Equal(new PendingEvent(14, true, 2, false), _bench.Vcpu.PendingEvent);
        _bench.Vcpu.DeliverPendingEvent();
        Assert.Null(_bench.Vcpu.PendingEvent);
        Assert.Equal(LongModeBench.Handler(14), _bench.Machine.Registers.Rip);
        _bench.Vcpu.GetSpecialRegisters(out KvmSregs sregs);
        Assert.Equal(0x1234UL, sregs.Cr2);
    }
}
