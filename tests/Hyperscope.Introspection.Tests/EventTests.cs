namespace Hyperscope.Introspection.Tests;

/// <summary>The events: kvmi-abi.md 2.6, 4.5, 4.6 and 5.</summary>
public sealed class EventTests
{
    private static readonly VcpuIndex V0 = Bench.V0;

    private static IVcpuEvents Events(Bench bench) => bench.Vm.Events!;

    [Fact]
    public async Task Nothing_is_sent_until_it_is_enabled()
    {
        using var bench = new Bench();
        bench.Restrict(0x3000, PageAccess.None);
        await bench.Vcpu.Execute(vcpu =>
        {
            ulong value = 5;
            Assert.Equal(InstructionVerdict.Proceed, Events(bench).OnBreakpoint(vcpu, null, 1));
            Assert.Equal(InstructionVerdict.Proceed, Events(bench).OnControlRegisterWrite(vcpu, 4, 1, ref value));
            Assert.Equal(InstructionVerdict.Proceed, Events(bench).OnMsrWrite(vcpu, 0x140, 1, ref value));
            Assert.Equal(InstructionVerdict.Proceed, Events(bench).OnDescriptorAccess(vcpu, DescriptorTable.Gdtr, true));
            Assert.Equal(InstructionVerdict.Proceed, Events(bench).OnCpuid(vcpu, 0, 0, 2));
            Events(bench).OnXsetbv(vcpu, 0, 1, 3);
            Events(bench).OnSingleStep(vcpu, false);
            vcpu.Registers = new KvmRegs { Rax = 34, Rdi = 24 };
            Assert.False(Events(bench).OnHypercall(vcpu, out ulong result));
            Assert.Equal(unchecked((ulong)-1000), result);
            Assert.Equal(5ul, value);
            return 0;
        }).Soon();
        Assert.Equal([PageTrackVerdict.Allow], await bench.Vcpu.Access(0x3000, PageAccess.Read).Soon());
        Assert.Equal(KvmError.None, bench.Tool.Error(default(GetVersion))); // the first thing the tool hears
    }

    [Fact]
    public async Task An_event_carries_the_state_of_the_vcpu()
    {
        using var bench = new Bench(vcpus: 2);
        bench.Enable(EventId.PageFault, vcpu: 1);
        bench.Restrict(0x3000, PageAccess.Read);
        await bench.Vm[1].Execute(static vcpu =>
        {
            for (int i = 0; i < KvmRegs.Count; i++)
                KvmRegs.AsSpan(ref vcpu.Registers)[i] = 0xA000UL + (ulong)i;
            vcpu.Sregs.Cr3 = 0x7000;
            vcpu.Sregs.Efer = 0xD01;
            vcpu.Sregs.Cs.Selector = 0x33;
            return 0;
        }).Soon();
        Task<List<PageTrackVerdict>> access = bench.Vm[1].Access(0x3123, PageAccess.Write, 0xFFFF0123);
        Event fault = bench.Tool.ReceiveEvent(EventId.PageFault);
        Assert.Equal(1u, fault.Seq);
        EventHeader header = fault.Header;
        Assert.Equal((544, 1, CpuMode.Bits64), (header.Size, header.Vcpu.Value, header.Arch.Mode));
        Assert.Equal(Enumerable.Range(0, 18).Select(static i => 0xA000UL + (ulong)i), KvmRegs.AsSpan(ref header.Arch.Regs).ToArray());
        Assert.Equal((0x7000ul, (ushort)0x33), (header.Arch.Sregs.Cr3, header.Arch.Sregs.Cs.Selector));
        EventMsrs msrs = header.Arch.Msrs;
        Assert.Equal(
            new ulong[] { 0x1174, 0x1175, 0x1176, 0xD01, 0xC0001081, 0xC0001082, 0xC0001083, 0x1277, 0xC0001102 },
            new[] { msrs.SysenterCs, msrs.SysenterEsp, msrs.SysenterEip, msrs.Efer, msrs.Star, msrs.Lstar, msrs.Cstar, msrs.Pat, msrs.ShadowGs });
        var data = fault.As<PageFaultEvent>();
        Assert.Equal((0xFFFF0123ul, 0x3123ul, PageAccess.Write), (data.Gva.Value, data.Gpa.Value, data.Access));
        bench.Tool.Answer(fault, EventAction.Continue);
        Assert.Equal([PageTrackVerdict.Allow], await access.Soon());
    }

    [Theory]
    [InlineData(PageAccess.None, PageAccess.Read, true)]
    [InlineData(PageAccess.None, PageAccess.Write, true)]
    [InlineData(PageAccess.None, PageAccess.Execute, true)]
    [InlineData(PageAccess.Read, PageAccess.Read, false)]
    [InlineData(PageAccess.Read, PageAccess.Execute, true)]
    [InlineData(PageAccess.Write, PageAccess.Read, true)]
    [InlineData(PageAccess.Write, PageAccess.Write, false)]
    [InlineData(PageAccess.Execute, PageAccess.Execute, false)]
    [InlineData(PageAccess.All, PageAccess.Write, false)]
    public async Task A_page_fault_tells_of_cleared_bits_only(PageAccess rights, PageAccess kind, bool isSent)
    {
        using var bench = new Bench();
        bench.Enable(EventId.PageFault);
        bench.Restrict(0x3000, rights);

        // Straight to the subscriber: a back end may ask about a page whose rights changed under it.
        Task<PageTrackVerdict> access = bench.Vcpu.Execute(vcpu => bench.Vm.Memory.PageTracker.BeforeAccess(
            vcpu, new PageTrackAccess(Gva.Unknown, new Gpa(0x3000), kind, 1, [])));
        if (isSent)
        {
            Event fault = bench.Tool.ReceiveEvent(EventId.PageFault);
            Assert.Equal((kind, ulong.MaxValue), (fault.As<PageFaultEvent>().Access, fault.As<PageFaultEvent>().Gva.Value));
            bench.Tool.Answer(fault, EventAction.Continue);
        }

        // Not approved but attempted again: by then the page may be restricted once more.
        Assert.Equal(isSent ? PageTrackVerdict.Allow : PageTrackVerdict.Retry, await access.Soon());
        Assert.Equal(KvmError.None, bench.Tool.Error(default(GetVersion)));
    }

    [Fact]
    public async Task Retry_fires_again_until_the_page_is_opened()
    {
        using var bench = new Bench();
        bench.Enable(EventId.PageFault);
        bench.Restrict(0x3000, PageAccess.Read);
        Task<List<PageTrackVerdict>> access = bench.Vcpu.Access(0x3000, PageAccess.Write);
        for (uint seq = 1; seq <= 3; seq++)
        {
            Event fault = bench.Tool.ReceiveEvent(EventId.PageFault);
            Assert.Equal(seq, fault.Seq);
            if (seq == 3)
                bench.Restrict(0x3000, PageAccess.Read | PageAccess.Write);
            bench.Tool.Answer(fault, EventAction.Retry);
        }

        Assert.Equal(
            [PageTrackVerdict.Retry, PageTrackVerdict.Retry, PageTrackVerdict.Retry, PageTrackVerdict.Allow], await access.Soon());
    }

    [Fact]
    public async Task Registers_set_during_an_event_apply_with_the_reply_and_not_before()
    {
        using var bench = new Bench();
        bench.Enable(EventId.Breakpoint);
        Task<(InstructionVerdict, KvmRegs)> breakpoint = bench.Vcpu.Execute(vcpu =>
        {
            vcpu.Registers.Rip = 0x100;
            return (Events(bench).OnBreakpoint(vcpu, new Gpa(0x42100), 1), vcpu.Registers);
        });
        Event @event = bench.Tool.ReceiveEvent(EventId.Breakpoint);
        Assert.Equal((new Gpa(0x42100), (byte)1), (@event.As<BreakpointEvent>().Gpa, @event.As<BreakpointEvent>().InstructionLength));
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuSetRegisters(V0, new KvmRegs { Rip = 1 })));
        var wanted = new KvmRegs { Rip = 0x101, Rax = 7, R15 = 9, Rflags = 2 };
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuSetRegisters(V0, wanted))); // the last one counts
        Assert.Equal(0x100ul, bench.Tool.Call(new VcpuGetRegisters(V0)).As<VcpuGetRegistersReply>().Regs.Rip);
        bench.Tool.Answer(@event, EventAction.Retry);
        Assert.Equal((InstructionVerdict.Restart, wanted), await breakpoint.Soon());
        Assert.Equal(KvmError.NotSupported, bench.Tool.Error(new VcpuSetRegisters(V0, default)));
    }

    [Fact]
    public async Task Registers_set_before_the_connection_broke_are_dropped()
    {
        using var bench = new Bench();
        bench.Enable(EventId.Breakpoint);
        Task<(InstructionVerdict, ulong)> breakpoint = bench.Vcpu.Execute(vcpu =>
        {
            vcpu.Registers.Rip = 0x100;
            return (Events(bench).OnBreakpoint(vcpu, null, 1), vcpu.Registers.Rip);
        });
        Event @event = bench.Tool.ReceiveEvent(EventId.Breakpoint);
        Assert.Null(@event.As<BreakpointEvent>().Gpa);
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuSetRegisters(V0, new KvmRegs { Rip = 1 })));
        bench.Tool.Dispose();
        Assert.Equal((InstructionVerdict.Proceed, 0x100ul), await breakpoint.Soon());
    }

    [Theory]
    [InlineData(EventAction.Continue, InstructionVerdict.Proceed)]
    [InlineData(EventAction.Retry, InstructionVerdict.Restart)]
    [InlineData(EventAction.Crash, InstructionVerdict.Restart)]
    public async Task Breakpoint_and_descriptor_verdicts(EventAction action, InstructionVerdict expected)
    {
        using var bench = new Bench();
        bench.Enable(EventId.Breakpoint);
        bench.Enable(EventId.Descriptor);
        Task<InstructionVerdict> breakpoint = bench.Vcpu.Execute(vcpu => Events(bench).OnBreakpoint(vcpu, null, 1));
        bench.Tool.Answer(bench.Tool.ReceiveEvent(EventId.Breakpoint), action);
        Assert.Equal(expected, await breakpoint.Soon());
        if (action == EventAction.Crash)
            return;
        Task<InstructionVerdict> descriptor = bench.Vcpu.Execute(
            vcpu => Events(bench).OnDescriptorAccess(vcpu, DescriptorTable.Ldtr, isWrite: true));
        Event @event = bench.Tool.ReceiveEvent(EventId.Descriptor);
        Assert.Equal((DescriptorTable.Ldtr, true), (@event.As<DescriptorEvent>().Table, @event.As<DescriptorEvent>().IsWrite));
        bench.Tool.Answer(@event, action);
        Assert.Equal(expected, await descriptor.Soon());
    }

    [Fact]
    public async Task A_control_register_takes_the_value_of_the_reply()
    {
        using var bench = new Bench();
        bench.Enable(EventId.Cr);
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuControlCr(V0, 4, true)));
        Task<(InstructionVerdict, ulong)> write = WriteCr(3, 1, 2); // not selected
        Assert.Equal((InstructionVerdict.Proceed, 2ul), await write.Soon());
        Assert.Equal((InstructionVerdict.Proceed, 2ul), await WriteCr(4, 2, 2).Soon()); // does not change
        write = WriteCr(4, 0x10, 0x30);
        Event @event = bench.Tool.ReceiveEvent(EventId.Cr);
        var data = @event.As<CrEvent>();
        Assert.Equal((4, 0x10ul, 0x30ul), (data.Cr, data.OldValue, data.NewValue));
        bench.Tool.Answer(@event, EventAction.Continue, 0x1122334455667788);
        Assert.Equal((InstructionVerdict.Proceed, 0x1122334455667788ul), await write.Soon());
        write = WriteCr(4, 0x10, 0x30);
        bench.Tool.Answer(bench.Tool.ReceiveEvent(EventId.Cr), EventAction.Continue, [0x44, 0x33]); // short: completed with zeros
        Assert.Equal((InstructionVerdict.Proceed, 0x3344ul), await write.Soon());
        write = WriteCr(4, 0x10, 0x30);
        bench.Tool.Answer(bench.Tool.ReceiveEvent(EventId.Cr), EventAction.Continue);
        Assert.Equal((InstructionVerdict.Proceed, 0ul), await write.Soon());

        Task<(InstructionVerdict, ulong)> WriteCr(byte register, ulong old, ulong value) => bench.Vcpu.Execute(
            vcpu => (Events(bench).OnControlRegisterWrite(vcpu, register, old, ref value), value));
    }

    [Fact]
    public async Task An_msr_takes_the_value_of_the_reply()
    {
        using var bench = new Bench();
        bench.Enable(EventId.Msr);
        Assert.Equal((InstructionVerdict.Proceed, 2ul), await WriteMsr(0x140, 1, 2).Soon()); // not selected
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuControlMsr(V0, 0x140, true)));
        Assert.Equal((InstructionVerdict.Proceed, 2ul), await WriteMsr(0x140, 2, 2).Soon());
        Task<(InstructionVerdict, ulong)> write = WriteMsr(0x140, 1, 2);
        Event @event = bench.Tool.ReceiveEvent(EventId.Msr);
        Assert.Equal((0x140u, 1ul, 2ul), (@event.As<MsrEvent>().Msr, @event.As<MsrEvent>().OldValue, @event.As<MsrEvent>().NewValue));
        bench.Tool.Answer(@event, EventAction.Continue, 1ul);
        Assert.Equal((InstructionVerdict.Proceed, 1ul), await write.Soon());

        Task<(InstructionVerdict, ulong)> WriteMsr(uint index, ulong old, ulong value) => bench.Vcpu.Execute(
            vcpu => (Events(bench).OnMsrWrite(vcpu, index, old, ref value), value));
    }

    [Theory]
    [InlineData(EventId.Cr)]
    [InlineData(EventId.Msr)]
    public async Task A_refused_write_is_a_fault_and_a_lost_one_goes_through(EventId id)
    {
        foreach (EventAction? action in new EventAction?[] { EventAction.Retry, EventAction.Crash, (EventAction)7, null })
        {
            using var bench = new Bench();
            bench.Enable(id);
            bench.Tool.Error(new VcpuControlMsr(V0, 0x140, true));
            bench.Tool.Error(new VcpuControlCr(V0, 0, true));
            Task<(InstructionVerdict, ulong)> write = bench.Vcpu.Execute(vcpu =>
            {
                ulong value = 2;
                return (id == EventId.Cr
                    ? Events(bench).OnControlRegisterWrite(vcpu, 0, 1, ref value)
                    : Events(bench).OnMsrWrite(vcpu, 0x140, 1, ref value), value);
            });
            Event @event = bench.Tool.ReceiveEvent(id);
            if (action is null)
                bench.Tool.Dispose();
            else
                bench.Tool.Answer(@event, action.Value, 9ul);
            InstructionVerdict expected = action is null ? InstructionVerdict.Proceed : InstructionVerdict.Refuse;
            Assert.Equal((expected, 2ul), await write.Soon());
            Assert.Equal(action == EventAction.Crash, bench.Vm.Terminated.IsCompleted);
            await bench.Disconnected.Soon(); // whether by crash, bad action or by leaving
        }
    }

    [Fact]
    public async Task Xsetbv_is_a_notification()
    {
        using var bench = new Bench();
        bench.Enable(EventId.Xsetbv);
        Task<int> same = bench.Vcpu.Execute(vcpu =>
        {
            Events(bench).OnXsetbv(vcpu, 0, 3, 3);
            return 0;
        });
        await same.Soon();
        Task<int> write = bench.Vcpu.Execute(vcpu =>
        {
            Events(bench).OnXsetbv(vcpu, 0, 3, 7);
            return 0;
        });
        Event @event = bench.Tool.ReceiveEvent(EventId.Xsetbv);
        Assert.Equal((3ul, 7ul), (@event.As<XsetbvEvent>().OldValue, @event.As<XsetbvEvent>().NewValue));
        bench.Tool.Answer(@event, EventAction.Continue);
        await write.Soon();
    }

    [Theory]
    [InlineData(CpuMode.Bits64, 34, 0, 0, 24, 0, true)]
    [InlineData(CpuMode.Bits64, 35, 0, 0, 24, 0, false)]
    [InlineData(CpuMode.Bits64, 34, 24, 0, 0, 0, false)]
    [InlineData(CpuMode.Bits64, 34, 0, 0, 24, 1, false)]
    [InlineData(CpuMode.Bits64, 34, 0, 0, 0x100000018, 0, false)]
    [InlineData(CpuMode.Bits32, 34, 24, 0, 99, 99, true)]
    [InlineData(CpuMode.Bits32, 0x700000022, 0x500000018, 0x900000000, 99, 99, true)]
    [InlineData(CpuMode.Bits16, 34, 24, 1, 0, 0, false)]
    [InlineData(CpuMode.Bits16, 34, 24, 0, 0, 0, true)]
    public async Task The_hypercall_is_known_by_its_registers(CpuMode mode, long rax, long rbx, long rcx, long rdi, long rsi, bool isOurs)
    {
        using var bench = new Bench();
        bench.Enable(EventId.Hypercall);
        Task<(bool, ulong)> call = bench.Vcpu.Execute(vcpu =>
        {
            vcpu.Mode = mode;
            vcpu.Registers = new KvmRegs { Rax = (ulong)rax, Rbx = (ulong)rbx, Rcx = (ulong)rcx, Rdi = (ulong)rdi, Rsi = (ulong)rsi };
            return (Events(bench).OnHypercall(vcpu, out ulong result), result);
        });
        if (isOurs)
            bench.Tool.Answer(bench.Tool.ReceiveEvent(EventId.Hypercall), EventAction.Continue);
        Assert.Equal((isOurs, isOurs ? 0ul : unchecked((ulong)-1000)), await call.Soon());
    }

    [Fact]
    public async Task Single_step_events_stop_with_the_command()
    {
        using var bench = new Bench();
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuControlSinglestep(V0, true)));
        Task<bool> step = bench.Vcpu.Execute(vcpu =>
        {
            Events(bench).OnSingleStep(vcpu, failed: true);
            Events(bench).OnSingleStep(vcpu, failed: false);
            return vcpu.IsSingleStepping;
        });
        Event failed = bench.Tool.ReceiveEvent(EventId.Singlestep);
        Assert.True(failed.As<SinglestepEvent>().Failed);
        bench.Tool.Answer(failed, EventAction.Continue);
        Event done = bench.Tool.ReceiveEvent(EventId.Singlestep);
        Assert.False(done.As<SinglestepEvent>().Failed);
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuControlSinglestep(V0, false)));
        bench.Tool.Answer(done, EventAction.Continue);
        Assert.False(await step.Soon());
        await bench.Vcpu.Execute(vcpu =>
        {
            Events(bench).OnSingleStep(vcpu, failed: false);
            return 0;
        }).Soon();
    }

    [Fact]
    public async Task A_tool_that_leaves_ends_single_step_pauses_and_injection()
    {
        using var bench = new Bench();
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuControlSinglestep(V0, true)));
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuInjectException(V0, 6)));
        Pause(bench); // the vCPU waits for its reply
        for (int i = 0; i < 2; i++)
            bench.Tool.Post(new VcpuPause(V0, false));
        bench.Tool.Dispose();
        await bench.Disconnected.Soon();
        Assert.Equal((false, 0), await bench.Vcpu.Execute(static vcpu => (vcpu.IsSingleStepping, vcpu.Delivered.Count)).Soon());
    }

    [Fact]
    public async Task Crash_stops_the_vm_and_lets_every_vcpu_go()
    {
        using var bench = new Bench(vcpus: 2);
        bench.Enable(EventId.PageFault, 0);
        bench.Enable(EventId.PageFault, 1);
        bench.Restrict(0x3000, PageAccess.None);
        Task<List<PageTrackVerdict>> first = bench.Vm[0].Access(0x3000, PageAccess.Read);
        Event fault = bench.Tool.ReceiveEvent(EventId.PageFault);
        Task<List<PageTrackVerdict>> second = bench.Vm[1].Access(0x3000, PageAccess.Read);
        bench.Tool.ReceiveEvent(EventId.PageFault);
        bench.Tool.Answer(fault, EventAction.Crash);
        Assert.Equal([PageTrackVerdict.Stop], await first.Soon());
        Assert.Equal([PageTrackVerdict.Allow], await second.Soon());
        Assert.Contains("CRASH", await bench.Vm.Terminated.Soon(), StringComparison.Ordinal);
        bench.Tool.AssertClosed();
    }

    [Theory]
    [InlineData(EventAction.Retry, false)] // PAUSE_VCPU does not accept it
    [InlineData((EventAction)3, false)]
    [InlineData((EventAction)255, true)]
    public async Task An_action_that_is_not_accepted_closes_the_connection(EventAction action, bool isPageFault)
    {
        using var bench = new Bench();
        if (isPageFault)
        {
            bench.Enable(EventId.PageFault);
            bench.Restrict(0x3000, PageAccess.None);
            Task<List<PageTrackVerdict>> access = bench.Vcpu.Access(0x3000, PageAccess.Read);
            bench.Tool.Answer(bench.Tool.ReceiveEvent(EventId.PageFault), action);
            Assert.Equal([PageTrackVerdict.Retry, PageTrackVerdict.Allow], await access.Soon());
        }
        else
        {
            bench.Tool.Answer(Pause(bench), action);
        }

        bench.Tool.AssertClosed();
        Assert.Contains("does not accept", (await bench.Disconnected.Soon()).CloseReason, StringComparison.Ordinal);
        await bench.Vcpu.Execute(static _ => 0).Soon();
    }

    [Fact]
    public async Task Events_of_several_vcpus_are_numbered_together_and_answered_in_any_order()
    {
        const int Count = 4;
        using var bench = new Bench(Count);
        bench.Restrict(0x3000, PageAccess.None);
        for (int vcpu = 0; vcpu < Count; vcpu++)
            bench.Enable(EventId.PageFault, vcpu);
        Task<List<PageTrackVerdict>>[] accesses =
            [.. Enumerable.Range(0, Count).Select(vcpu => bench.Vm[vcpu].Access(0x3000, PageAccess.Read))];
        List<Event> events = [];
        for (uint seq = 1; seq <= Count; seq++)
        {
            events.Add(bench.Tool.ReceiveEvent(EventId.PageFault));
            Assert.Equal(seq, events[^1].Seq);
        }

        // Each waiting vCPU still runs commands, whoever of them reads the socket.
        foreach (Event @event in events)
            Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuSetRegisters(@event.Header.Vcpu, @event.Header.Arch.Regs)));
        foreach (int index in new[] { 2, 0, 3, 1 })
        {
            bench.Tool.Answer(events[index], EventAction.Continue);
            Assert.Equal([PageTrackVerdict.Allow], await accesses[events[index].Header.Vcpu.Value].Soon());
        }
    }

    [Fact]
    public async Task A_vm_command_during_an_event_is_answered_though_nobody_else_runs()
    {
        using var bench = new Bench();
        bench.Enable(EventId.PageFault);
        bench.Restrict(0x3000, PageAccess.None);
        Task<List<PageTrackVerdict>> access = bench.Vcpu.Access(0x3000, PageAccess.Read);
        Event fault = bench.Tool.ReceiveEvent(EventId.PageFault);
        Assert.Equal(KvmError.None, bench.Tool.Error(default(VmGetInfo)));
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuPause(V0, wait: true))); // it is outside the guest already
        Assert.Equal(4096, bench.Tool.Call(new VmReadPhysical(new Gpa(0x3000), 4096)).Data.Length);
        bench.Tool.Answer(fault, EventAction.Continue);
        Assert.Equal([PageTrackVerdict.Allow], await access.Soon());
        bench.Tool.Answer(bench.Tool.ReceiveEvent(EventId.PauseVcpu), EventAction.Continue);
        await bench.Vcpu.Execute(static _ => 0).Soon();
    }

    [Fact]
    public async Task What_is_queued_behind_the_reply_no_longer_counts_as_during_the_event()
    {
        using var bench = new Bench();
        bench.Enable(EventId.PageFault);
        bench.Restrict(0x3000, PageAccess.None);
        Task<List<PageTrackVerdict>> access = bench.Vcpu.Access(0x3000, PageAccess.Read);
        Event fault = bench.Tool.ReceiveEvent(EventId.PageFault);
        byte[] both = new byte[24 + 160];
        Message.WriteEventReply(both, fault.Seq, V0, EventId.PageFault, EventAction.Continue);
        Message.WriteCommand(both.AsSpan(24), 77, new VcpuSetRegisters(V0, default));
        bench.Tool.SendRaw(both);
        Assert.Equal(KvmError.NotSupported, bench.Tool.ReceiveReply(MessageId.VcpuSetRegisters, 77).Error);
        Assert.Equal([PageTrackVerdict.Allow], await access.Soon());
    }

    /// <summary>Pauses. The reply to the command and the event come from different threads, in either order.</summary>
    private static Event Pause(Bench bench)
    {
        bench.Tool.Post(new VcpuPause(V0, false));
        (MessageHeader first, byte[] payload) = bench.Tool.Receive();
        (MessageHeader second, byte[] otherPayload) = bench.Tool.Receive();
        return first.MessageId == MessageId.Event ? ToolPeer.AsEvent(first, payload) : ToolPeer.AsEvent(second, otherPayload);
    }
}
