using System.Runtime.InteropServices;

namespace Hyperscope.Client.Tests;

/// <summary>Events in every shape, and their answers.</summary>
public sealed class EventTests
{
    private static readonly PageFaultEvent Write = new(new Gva(0xFFFF800000001234), new Gpa(0x1234), PageAccess.Write);

    [Fact]
    public async Task A_handler_sees_the_event_and_its_answer_leaves()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        var seen = new TaskCompletionSource<(ulong, ulong, PageAccess, ulong, int, uint)>(
            TaskCreationOptions.RunContinuationsAsynchronously);
        hooked.Vm.On<PageFaultEvent>(e =>
        {
            seen.SetResult((e.Gva.Value, e.Gpa.Value, e.Access, e.Registers.Rip, e.Vcpu.Index.Value, e.Sequence));
            e.Retry();
        });

        hooked.Hypervisor.SendEvent(Write, vcpu: 1, rip: 0x400);

        Assert.Equal((0xFFFF800000001234ul, 0x1234ul, PageAccess.Write, 0x400ul, 1, 1u), await seen.Task.WaitAsync(Hooked.Cancel));
        (uint seq, int vcpu, EventAction action, byte[] data) = hooked.Hypervisor.ExpectAnswer();
        Assert.Equal((1u, 1, EventAction.Retry, 0), (seq, vcpu, action, data.Length));
    }

    [Fact]
    public async Task Each_kind_is_answered_with_each_action_it_accepts()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        int step = 0;
        hooked.Vm.On<PageFaultEvent>(e => Pick(() => e.Continue(), () => e.Retry(), () => e.Crash()));
        hooked.Vm.On<BreakpointEvent>(e => Pick(() => e.Continue(), () => e.Retry(), () => e.Crash()));
        hooked.Vm.On<DescriptorEvent>(e => Pick(() => e.Continue(), () => e.Retry(), () => e.Crash()));
        hooked.Vm.On<XsetbvEvent>(e => Pick(() => e.Continue(), null, () => e.Crash()));
        hooked.Vm.On<TrapEvent>(e => Pick(() => e.Continue(), null, () => e.Crash()));
        hooked.Vm.On<SinglestepEvent>(e => Pick(() => e.Continue(), null, () => e.Crash()));
        hooked.Vm.On<PauseVcpuEvent>(e => Pick(() => e.Continue(), null, () => e.Crash()));
        hooked.Vm.On<HypercallEvent>(e => Pick(() => e.Continue(), null, () => e.Crash()));

        Try(Write, true);
        Try(new BreakpointEvent(new Gpa(5), 1), true);
        Try(new DescriptorEvent(DescriptorTable.Gdtr, true), true);
        Try(new XsetbvEvent(0, 1, 3), false);
        Try(new TrapEvent(14, 6, 0xDEAD), false);
        Try(new SinglestepEvent(false), false);
        Try(default(PauseVcpuEvent), false);
        Try(default(HypercallEvent), false);

        void Pick(Action proceed, Action? retry, Action crash)
        {
            Action?[] actions = [proceed, retry, crash];
            actions[step]!();
        }

        void Try<T>(T data, bool retries)
            where T : unmanaged, IEvent<T>
        {
            EventAction[] actions = retries
                ? [EventAction.Continue, EventAction.Retry, EventAction.Crash]
                : [EventAction.Continue, EventAction.Crash];
            foreach (EventAction action in actions)
            {
                step = (int)action;
                uint seq = hooked.Hypervisor.SendEvent(data);
                Assert.Equal((seq, action), (hooked.Hypervisor.ExpectAnswer() is var answer ? answer.Seq : 0, answer.Action));
            }
        }
    }

    [Fact]
    public async Task A_register_write_is_allowed_blocked_or_replaced()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        int step = 0;
        hooked.Vm.On<CrEvent>(e => Pick(step, () => e.Continue(), () => e.Block(), () => e.Continue(0x99), () => e.Crash()));
        hooked.Vm.On<MsrEvent>(e => Pick(step, () => e.Continue(), () => e.Block(), () => e.Continue(0x99), () => e.Crash()));

        (ulong Value, EventAction Action)[] expected =
            [(0x22, EventAction.Continue), (0x11, EventAction.Continue), (0x99, EventAction.Continue), (0x22, EventAction.Crash)];
        for (step = 0; step < expected.Length; step++)
        {
            hooked.Hypervisor.SendEvent(new CrEvent(4, 0x11, 0x22));
            Check(expected[step]);
            hooked.Hypervisor.SendEvent(new MsrEvent(0x140, 0x11, 0x22));
            Check(expected[step]);
        }

        static void Pick(int step, params Action[] actions) => actions[step]();

        void Check((ulong Value, EventAction Action) want)
        {
            (_, _, EventAction action, byte[] data) = hooked.Hypervisor.ExpectAnswer();
            Assert.Equal(want, (BitConverter.ToUInt64(data), action));
        }
    }

    [Fact]
    public async Task An_async_handler_sends_commands_before_it_answers()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        hooked.Vm.OnAsync<BreakpointEvent>(async e =>
        {
            KvmRegs registers = e.Registers;
            registers.Rip += e.InstructionLength;
            await e.Vcpu.SetRegistersAsync(registers, Hooked.Cancel);
            e.Retry();
        });

        hooked.Hypervisor.SendEvent(new BreakpointEvent(new Gpa(1), 1), rip: 0x100);
        var set = hooked.Hypervisor.Expect(MessageId.VcpuSetRegisters);
        Assert.Equal(0x101ul, set.As<VcpuSetRegisters>().Regs.Rip);
        hooked.Hypervisor.Reply(set);
        Assert.Equal(EventAction.Retry, hooked.Hypervisor.ExpectAnswer().Action);
    }

    [Fact]
    public async Task A_split_handler_deals_with_the_common_case_at_once_and_leaves_the_rest_to_the_pool()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        int rest = 0;
        hooked.Vm.OnSplit<BreakpointEvent>(
            e =>
            {
                if (hooked.Vm.Send(new VcpuGetXcr(e.Vcpu.Index)).Value != 0)
                    return false;
                e.Retry();
                return true;
            },
            async e =>
            {
                await e.Vcpu.SetRegistersAsync(e.Registers, Hooked.Cancel);
                rest++;
                e.Continue();
            });

        hooked.Hypervisor.SendEvent(new BreakpointEvent(new Gpa(1), 1), rip: 0x100);
        hooked.Hypervisor.Reply(hooked.Hypervisor.Expect(MessageId.VcpuGetXcr), 0ul);
        Assert.Equal(EventAction.Retry, hooked.Hypervisor.ExpectAnswer().Action);
        Assert.Equal(0, rest);

        hooked.Hypervisor.SendEvent(new BreakpointEvent(new Gpa(1), 1), rip: 0x200);
        hooked.Hypervisor.Reply(hooked.Hypervisor.Expect(MessageId.VcpuGetXcr), 1ul);
        var set = hooked.Hypervisor.Expect(MessageId.VcpuSetRegisters);
        Assert.Equal(0x200ul, set.As<VcpuSetRegisters>().Regs.Rip);
        hooked.Hypervisor.Reply(set);
        Assert.Equal(EventAction.Continue, hooked.Hypervisor.ExpectAnswer().Action);
        Assert.Equal(1, rest);
    }

    [Fact]
    public async Task A_handler_that_sends_a_command_gets_its_reply_while_other_events_wait_their_turn()
    {
        await using Hooked hooked = await Hooked.StartAsync(vcpus: 3);
        List<string> order = [];
        hooked.Vm.On<PageFaultEvent>(e =>
        {
            order.Add($"begin {e.Vcpu.Index}");
            ulong value = hooked.Vm.Send(new VcpuGetXcr(e.Vcpu.Index)).Value;
            order.Add($"end {e.Vcpu.Index} {value}");
            e.Continue();
        });

        hooked.Hypervisor.SendEvent(Write, vcpu: 0);
        var first = hooked.Hypervisor.Expect(MessageId.VcpuGetXcr);
        hooked.Hypervisor.SendEvent(Write, vcpu: 1);
        hooked.Hypervisor.SendEvent(Write, vcpu: 2);
        hooked.Hypervisor.Reply(first, new VcpuGetXcrReply(7));
        Assert.Equal((1u, 0), (hooked.Hypervisor.ExpectAnswer() is var a ? a.Seq : 0, a.Vcpu));
        for (int vcpu = 1; vcpu <= 2; vcpu++)
        {
            hooked.Hypervisor.Reply(hooked.Hypervisor.Expect(MessageId.VcpuGetXcr), new VcpuGetXcrReply(7));
            Assert.Equal(vcpu, hooked.Hypervisor.ExpectAnswer().Vcpu);
        }

        Assert.Equal(["begin 0", "end 0 7", "begin 1", "end 1 7", "begin 2", "end 2 7"], order);
    }

    [Fact]
    public async Task A_vcpu_whose_event_was_answered_early_may_send_the_next_while_its_handler_still_runs()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        List<uint> sequences = [];
        hooked.Vm.On<PageFaultEvent>(e =>
        {
            e.Continue();
            if (e.Sequence == 1)
                hooked.Vm.Send(new VcpuGetXcr(e.Vcpu.Index));
            sequences.Add(e.Untyped.Slot.Seq); // still this event, not the next one
        });

        hooked.Hypervisor.SendEvent(Write);
        hooked.Hypervisor.ExpectAnswer();
        var command = hooked.Hypervisor.Expect(MessageId.VcpuGetXcr);
        hooked.Hypervisor.SendEvent(Write);
        hooked.Hypervisor.Reply(command, new VcpuGetXcrReply(7));
        Assert.Equal(2u, hooked.Hypervisor.ExpectAnswer().Seq);
        await hooked.Vm.DisposeAsync();
        Assert.Equal([1u, 2u], sequences);
    }

    [Fact]
    public async Task A_loop_reads_the_events_that_no_handler_takes()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        hooked.Vm.On<PageFaultEvent>(static e => e.Retry());
        IAsyncEnumerable<VmEvent> events = hooked.Vm.Events(Hooked.Cancel); // collects from here on
        hooked.Hypervisor.SendEvent(Write, vcpu: 0);
        hooked.Hypervisor.SendEvent(new CrEvent(3, 1, 2), vcpu: 1);
        Assert.Equal(EventAction.Retry, hooked.Hypervisor.ExpectAnswer().Action);

        await foreach (VmEvent e in events)
        {
            Assert.False(e.Is<PageFaultEvent>(out _));
            Assert.True(e.Is(out VmEvent<CrEvent> cr));
            Assert.Equal((3, 2ul), (cr.Cr, cr.NewValue));
            cr.Block();
            hooked.Hypervisor.ExpectAnswer();
            hooked.Hypervisor.Dispose(); // ends the loop without an exception
        }

        await hooked.Vm.Completion.WaitAsync(Hooked.Cancel);
    }

    [Fact]
    public async Task A_typed_loop_gets_its_kind_and_leaves_the_rest_to_the_default()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        IAsyncEnumerable<VmEvent<PageFaultEvent>> faults = hooked.Vm.Events<PageFaultEvent>(Hooked.Cancel);
        hooked.Hypervisor.SendEvent(new MsrEvent(1, 0x11, 0x22), vcpu: 1);
        (_, _, EventAction action, byte[] data) = hooked.Hypervisor.ExpectAnswer();
        Assert.Equal((EventAction.Continue, 0x22ul), (action, BitConverter.ToUInt64(data)));
        Assert.Equal(1, hooked.Vm.Statistics.UnhandledEvents);

        hooked.Hypervisor.SendEvent(Write);
        await foreach (VmEvent<PageFaultEvent> fault in faults)
        {
            fault.Continue();
            Assert.Equal(new Gpa(0x1234), fault.Gpa); // stays readable in a loop
            break;
        }

        Assert.Equal(EventAction.Continue, hooked.Hypervisor.ExpectAnswer().Action);
    }

    [Theory]
    [InlineData(EventAction.Crash, EventAction.Crash)]
    [InlineData(EventAction.Retry, EventAction.Continue)] // PAUSE_VCPU does not accept it
    public async Task Unhandled_events_get_the_default_answer_that_fits(EventAction wanted, EventAction given)
    {
        await using Hooked hooked = await Hooked.StartAsync(new IntrospectionOptions { DefaultAnswer = wanted });
        hooked.Hypervisor.SendEvent(default(PauseVcpuEvent));
        Assert.Equal(given, hooked.Hypervisor.ExpectAnswer().Action);
    }

    [Fact]
    public async Task A_handler_that_is_taken_off_leaves_events_to_the_default()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        using (hooked.Vm.On<PageFaultEvent>(static e => e.Retry()))
        {
            Assert.Throws<InvalidOperationException>(() => hooked.Vm.On<PageFaultEvent>(static e => e.Retry()));
            Assert.Throws<InvalidOperationException>(() => hooked.Vm.Events<PageFaultEvent>(Hooked.Cancel));
        }

        hooked.Hypervisor.SendEvent(Write);
        Assert.Equal(EventAction.Continue, hooked.Hypervisor.ExpectAnswer().Action);
    }

    [Fact]
    public async Task An_unhook_reaches_its_handler_and_needs_no_answer()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        var unhooking = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        hooked.Vm.On<UnhookEvent>(e => unhooking.SetResult(e.ToString()));
        hooked.Hypervisor.SendEvent(default(UnhookEvent));
        Assert.StartsWith("Unhook event 1", await unhooking.Task.WaitAsync(Hooked.Cancel), StringComparison.Ordinal);
        Assert.True(hooked.Vm.IsUnhooking);
        Assert.False(hooked.Vm.Completion.IsCompleted);
    }

    [Fact]
    public async Task An_unhook_that_nobody_handles_ends_the_connection()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        hooked.Hypervisor.SendEvent(default(UnhookEvent));
        Assert.True(hooked.Hypervisor.SeesEnd());
        await hooked.Vm.Completion.WaitAsync(Hooked.Cancel);
    }

    [Fact]
    public async Task An_extension_event_can_be_read_and_answered_without_a_struct()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        IAsyncEnumerable<VmEvent> events = hooked.Vm.Events(Hooked.Cancel);
        byte[] message = new byte[8192];
        int size = Message.WriteEvent(message, 1, new EventHeader(default, (EventId)0x8765), default(TrapEvent));
        hooked.Hypervisor.SendRaw(message.AsSpan(0, size));

        await foreach (VmEvent e in events)
        {
            Assert.Equal((EventId)0x8765, e.Id);
            e.Answer(EventAction.Retry);
            break;
        }

        Assert.Equal(EventAction.Retry, hooked.Hypervisor.ExpectAnswer().Action);
    }

    [Fact]
    public async Task An_event_with_a_longer_common_part_is_read_by_its_size()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        var seen = new TaskCompletionSource<Gpa>(TaskCreationOptions.RunContinuationsAsynchronously);
        hooked.Vm.On<PageFaultEvent>(e =>
        {
            seen.SetResult(e.Gpa);
            e.Continue();
        });
        byte[] message = new byte[8 + 552 + 24];
        MemoryMarshal.Write(message, new MessageHeader(MessageId.Event, 552 + 24, 1));
        var header = new EventHeader(default, EventId.PageFault) { Size = 552 };
        MemoryMarshal.Write(message.AsSpan(8), header);
        MemoryMarshal.Write(message.AsSpan(8 + 552), Write);
        hooked.Hypervisor.SendRaw(message);

        Assert.Equal(new Gpa(0x1234), await seen.Task.WaitAsync(Hooked.Cancel));
    }

    [Fact]
    public async Task Handling_events_allocates_nothing()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        long before = 0, after = 0;
        hooked.Vm.On<PageFaultEvent>(e =>
        {
            if (e.Sequence == 500)
                before = GC.GetAllocatedBytesForCurrentThread();
            if (e.Sequence == 1500)
                after = GC.GetAllocatedBytesForCurrentThread();
            if (e.Access == PageAccess.Write && e.Registers.Rip != 0)
                e.Retry();
            else
                e.Continue();
        });
        for (int i = 0; i < 1500; i++)
        {
            hooked.Hypervisor.SendEvent(Write, rip: 5);
            Assert.Equal(EventAction.Retry, hooked.Hypervisor.ExpectAnswer().Action);
        }

        Assert.NotEqual(0, before);
        Assert.Equal(before, after);
    }
}
