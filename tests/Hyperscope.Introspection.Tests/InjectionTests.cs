namespace Hyperscope.Introspection.Tests;

/// <summary>The order of things before entry: kvmi-abi.md 4.4 and 4.7.</summary>
public sealed class InjectionTests
{
    private static readonly VcpuIndex V0 = Bench.V0;

    [Theory]
    [InlineData(6, 0x55u, 0u)]
    [InlineData(14, 0x55u, 0x55u)]
    [InlineData(13, 0x55u, 0x55u)]
    [InlineData(200, 0x55u, 0u)]
    public async Task An_injected_exception_is_delivered_and_reported(byte vector, uint code, uint expectedCode)
    {
        using var bench = new Bench();
        bench.Tool.Post(new VcpuInjectException(V0, vector, code, 0xDEAD000));
        bench.Tool.ReceiveReply(MessageId.VcpuInjectException, bench.Tool.LastSeq);
        Event trap = bench.Tool.ReceiveEvent(EventId.Trap);
        var data = trap.As<TrapEvent>();
        Assert.Equal((vector, expectedCode, vector == 14 ? 0xDEAD000ul : 0), (data.Vector, data.ErrorCode, data.Address));
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuInjectException(V0, 3))); // the first one is reported
        bench.Tool.Answer(trap, EventAction.Continue);
        Event second = bench.Tool.ReceiveEvent(EventId.Trap);
        Assert.Equal(3, second.As<TrapEvent>().Vector);
        bench.Tool.Answer(second, EventAction.Continue);
        Assert.Equal([vector, 3], await bench.Vcpu.Execute(static vcpu => vcpu.Delivered.ToArray()).Soon());
    }

    [Fact]
    public async Task What_is_pending_already_wins_and_the_injection_is_lost()
    {
        using var bench = new Bench();
        bench.Enable(EventId.Breakpoint);
        Task<InstructionVerdict> breakpoint = bench.Vcpu.Execute(vcpu =>
        {
            InstructionVerdict verdict = bench.Vm.Events!.OnBreakpoint(vcpu, null, 1);
            if (verdict == InstructionVerdict.Proceed)
                vcpu.PendingEvent = new PendingEvent(3, false, 0, false);
            return verdict;
        });
        Event @event = bench.Tool.ReceiveEvent(EventId.Breakpoint);
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuInjectException(V0, 6)));
        Assert.Equal(KvmError.Busy, bench.Tool.Error(new VcpuInjectException(V0, 6)));
        bench.Tool.Answer(@event, EventAction.Continue);
        Event trap = bench.Tool.ReceiveEvent(EventId.Trap);
        Assert.Equal(3, trap.As<TrapEvent>().Vector);
        bench.Tool.Answer(trap, EventAction.Continue);
        Assert.Equal(InstructionVerdict.Proceed, await breakpoint.Soon());
        Assert.Equal([3], await bench.Vcpu.Execute(static vcpu => vcpu.Delivered.ToArray()).Soon());
    }

    [Fact]
    public async Task Single_step_holds_an_injection_back()
    {
        using var bench = new Bench();
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuControlSinglestep(V0, true)));
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuInjectException(V0, 6)));
        Assert.Empty(await bench.Vcpu.Execute(static vcpu => vcpu.Delivered.ToArray()).Soon());
        bench.Tool.Post(new VcpuControlSinglestep(V0, false));
        bench.Tool.ReceiveReply(MessageId.VcpuControlSinglestep, bench.Tool.LastSeq);
        bench.Tool.Answer(bench.Tool.ReceiveEvent(EventId.Trap), EventAction.Continue);
        Assert.Equal([6], await bench.Vcpu.Execute(static vcpu => vcpu.Delivered.ToArray()).Soon());
    }

    [Fact]
    public async Task The_trap_comes_before_the_pause_and_pauses_come_one_by_one()
    {
        using var bench = new Bench(start: false);
        bench.Tool.Post(new VcpuInjectException(V0, 6));
        uint injection = bench.Tool.LastSeq;
        for (int i = 0; i < 2; i++)
            Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuPause(V0, false)));
        bench.Vm.Start();
        bench.Tool.ReceiveReply(MessageId.VcpuInjectException, injection); // jobs first

        // The injection happens just before entry, so pauses asked for before it come first; then its TRAP, before anything else.
        Event pause = bench.Tool.ReceiveEvent(EventId.PauseVcpu);
        Assert.Equal(KvmError.Busy, bench.Tool.Error(new VcpuInjectException(V0, 7)));
        bench.Tool.Answer(pause, EventAction.Continue);
        bench.Tool.Answer(bench.Tool.ReceiveEvent(EventId.PauseVcpu), EventAction.Continue);
        Event trap = bench.Tool.ReceiveEvent(EventId.Trap);
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuPause(V0, false)));
        bench.Tool.Answer(trap, EventAction.Continue);
        bench.Tool.Answer(bench.Tool.ReceiveEvent(EventId.PauseVcpu), EventAction.Continue);
        await bench.Vcpu.Execute(static _ => 0).Soon();
    }

    [Fact]
    public async Task Jobs_run_between_pauses()
    {
        using var bench = new Bench(start: false);
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuPause(V0, false)));
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuPause(V0, false)));
        bench.Vm.Start();
        Event first = bench.Tool.ReceiveEvent(EventId.PauseVcpu);
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuGetInfo(V0)));
        bench.Tool.Answer(first, EventAction.Continue);
        Event second = bench.Tool.ReceiveEvent(EventId.PauseVcpu);
        Assert.Equal(first.Seq + 1, second.Seq);
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuGetInfo(V0)));
        bench.Tool.Answer(second, EventAction.Continue);
        await bench.Vcpu.Execute(static _ => 0).Soon();
    }
}
