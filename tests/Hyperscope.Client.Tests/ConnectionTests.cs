using Hyperscope.TestKit;

namespace Hyperscope.Client.Tests;

/// <summary>Greeting, cancellation, time-outs, loss, slow and broken peers.</summary>
public sealed class ConnectionTests
{
    private static readonly PageFaultEvent Write = new(Gva.Unknown, new Gpa(0x1000), PageAccess.Write);

    [Fact]
    public async Task The_greeting_tells_version_and_vcpus()
    {
        await using Hooked hooked = await Hooked.StartAsync(vcpus: 4);
        Assert.Equal(KvmiConstants.Version, hooked.Vm.Version.Version);
        Assert.Equal([0, 1, 2, 3], hooked.Vm.Vcpus.Select(static vcpu => (int)vcpu.Index.Value));
        Assert.Same(hooked.Vm.Vcpus[2], hooked.Vm.GetVcpu(2));
        Assert.Throws<ArgumentOutOfRangeException>(() => hooked.Vm.GetVcpu(4));
    }

    [Fact]
    public async Task A_vm_that_keeps_its_vcpus_to_itself_can_be_introspected()
    {
        (StreamSocket tool, ScriptedHypervisor hypervisor) = ScriptedHypervisor.Create();
        using (hypervisor)
        {
            Task<IntrospectedVm> starting = IntrospectedVm.StartAsync(tool, cancellation: Hooked.Cancel);
            hypervisor.Reply(hypervisor.Expect(MessageId.GetVersion), new GetVersionReply(1, default));
            hypervisor.Refuse(hypervisor.Expect(MessageId.VmGetInfo), KvmError.NotPermitted);
            await using IntrospectedVm vm = await starting;
            Assert.Empty(vm.Vcpus);
            Assert.Equal(5, vm.GetVcpu(5).Index.Value);
        }
    }

    [Fact]
    public async Task Another_version_is_turned_away()
    {
        (StreamSocket tool, ScriptedHypervisor hypervisor) = ScriptedHypervisor.Create();
        using (hypervisor)
        {
            Task<IntrospectedVm> starting = IntrospectedVm.StartAsync(tool, cancellation: Hooked.Cancel);
            hypervisor.Reply(hypervisor.Expect(MessageId.GetVersion), new GetVersionReply(2, default));
            ProtocolException other = await Assert.ThrowsAsync<ProtocolException>(() => starting);
            Assert.Contains("version 2, version 1 is needed", other.Message, StringComparison.Ordinal);
            Assert.True(hypervisor.SeesEnd());
        }
    }

    [Fact]
    public async Task A_cancelled_command_fails_at_once_and_its_late_reply_is_ignored()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        using var cancel = new CancellationTokenSource();
        byte[] buffer = new byte[4];
        Task reading = hooked.Vm.ReadPhysicalAsync(default, buffer, cancel.Token).AsTask();
        ReceivedMessage read = hooked.Hypervisor.Expect(MessageId.VmReadPhysical);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => reading.WaitAsync(Hooked.Cancel));

        hooked.Hypervisor.Reply(read, [1, 2, 3, 4]);
        Task<Gfn> next = hooked.Vm.GetMaxGfnAsync(Hooked.Cancel).AsTask();
        hooked.Hypervisor.Reply(hooked.Hypervisor.Expect(MessageId.VmGetMaxGfn), new VmGetMaxGfnReply(new Gfn(9)));
        Assert.Equal(new Gfn(9), await next.WaitAsync(Hooked.Cancel));
        Assert.Equal([0, 0, 0, 0], buffer); // the caller may have reused it
    }

    [Fact]
    public async Task A_command_without_reply_times_out_and_the_connection_stays()
    {
        await using Hooked hooked = await Hooked.StartAsync(new IntrospectionOptions { CommandTimeout = TimeSpan.FromMilliseconds(50) });
        Task<ulong> asking = hooked.Vm.Vcpus[1].GetXcr0Async(Hooked.Cancel).AsTask();
        TimeoutException late = await Assert.ThrowsAsync<TimeoutException>(() => asking.WaitAsync(Hooked.Cancel));
        Assert.Equal("VcpuGetXcr (vCPU 1, XCR0) was not answered within 0.05 s", late.Message);

        hooked.Hypervisor.Reply(hooked.Hypervisor.Receive(), new VcpuGetXcrReply(7));
        hooked.Hypervisor.SendEvent(Write);
        Assert.Equal(EventAction.Continue, hooked.Hypervisor.ExpectAnswer().Action);
    }

    [Fact]
    public async Task A_blocking_command_in_a_handler_times_out()
    {
        await using Hooked hooked = await Hooked.StartAsync(new IntrospectionOptions { CommandTimeout = TimeSpan.FromMilliseconds(50) });
        var caught = new TaskCompletionSource<Exception>(TaskCreationOptions.RunContinuationsAsynchronously);
        hooked.Vm.On<PageFaultEvent>(e =>
        {
            caught.SetResult(Assert.Throws<TimeoutException>(() => hooked.Vm.Send(default(VmGetMaxGfn), Hooked.Cancel)));
            e.Continue();
        });
        hooked.Hypervisor.SendEvent(Write);
        await caught.Task.WaitAsync(Hooked.Cancel);
        hooked.Hypervisor.Expect(MessageId.VmGetMaxGfn);
        Assert.Equal(EventAction.Continue, hooked.Hypervisor.ExpectAnswer().Action);
    }

    [Fact]
    public async Task A_blocking_command_in_a_handler_can_be_cancelled()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        using var cancel = new CancellationTokenSource();
        hooked.Vm.On<PageFaultEvent>(e =>
        {
            Assert.ThrowsAny<OperationCanceledException>(() => hooked.Vm.Send(default(VmGetMaxGfn), cancel.Token));
            e.Retry();
        });
        hooked.Hypervisor.SendEvent(Write);
        hooked.Hypervisor.Expect(MessageId.VmGetMaxGfn);
        await cancel.CancelAsync();
        Assert.Equal(EventAction.Retry, hooked.Hypervisor.ExpectAnswer().Action);
    }

    [Fact]
    public async Task A_blocking_command_in_a_handler_ends_with_the_connection()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        var caught = new TaskCompletionSource<Exception>(TaskCreationOptions.RunContinuationsAsynchronously);
        hooked.Vm.On<PageFaultEvent>(_ =>
            caught.SetResult(Assert.Throws<ConnectionClosedException>(() => hooked.Vm.Send(default(VmGetMaxGfn), Hooked.Cancel))));
        hooked.Hypervisor.SendEvent(Write);
        hooked.Hypervisor.Expect(MessageId.VmGetMaxGfn);
        hooked.Hypervisor.Dispose();
        await caught.Task.WaitAsync(Hooked.Cancel);
        await hooked.Vm.Completion.WaitAsync(Hooked.Cancel);
    }

    [Fact]
    public async Task A_lost_connection_fails_waiting_commands_and_all_later_ones()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        Task<Gfn> waiting = hooked.Vm.GetMaxGfnAsync(Hooked.Cancel).AsTask();
        hooked.Hypervisor.Expect(MessageId.VmGetMaxGfn);
        hooked.Hypervisor.Dispose();

        await Assert.ThrowsAsync<ConnectionClosedException>(() => waiting.WaitAsync(Hooked.Cancel));
        await hooked.Vm.Completion.WaitAsync(Hooked.Cancel);
        await Assert.ThrowsAsync<ConnectionClosedException>(async () => await hooked.Vm.PauseAsync(Hooked.Cancel));
        await foreach (VmEvent e in hooked.Vm.Events(Hooked.Cancel))
            Assert.Fail("no event can come");
    }

    [Fact]
    public async Task Disposing_in_a_handler_does_not_wait_for_itself()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        hooked.Vm.On<PageFaultEvent>(e => hooked.Vm.DisposeAsync().AsTask().Wait(Hooked.Cancel));
        hooked.Hypervisor.SendEvent(Write);
        await hooked.Vm.Completion.WaitAsync(Hooked.Cancel);
        Assert.True(hooked.Hypervisor.SeesEnd());
    }

    [Fact]
    public async Task More_commands_than_the_window_wait_their_turn_and_all_complete()
    {
        await using Hooked hooked = await Hooked.StartAsync(new IntrospectionOptions { MaxCommandsInFlight = 4 });
        Task<ulong>[] asking = [.. Enumerable.Range(0, 20).Select(_ => hooked.Vm.Vcpus[0].GetXcr0Async(Hooked.Cancel).AsTask())];
        for (int i = 0; i < asking.Length; i++)
        {
            int burst = i == 0 ? 4 : 1;
            ReceivedMessage[] held = [.. Enumerable.Range(0, burst).Select(_ => hooked.Hypervisor.Receive())];
            if (i == 0)
                i = 3;
            foreach (ReceivedMessage command in held)
                hooked.Hypervisor.Reply(command, new VcpuGetXcrReply(7));
        }

        Assert.All(await Task.WhenAll(asking).WaitAsync(Hooked.Cancel), static value => Assert.Equal(7ul, value));
    }

    [Fact]
    public async Task A_peer_that_stops_reading_blocks_nobody_and_gets_everything_later()
    {
        await using Hooked hooked = await Hooked.StartAsync(new IntrospectionOptions { MaxCommandsInFlight = 256 });
        byte[] page = new byte[4096];
        var calls = new List<Task>();
        for (int i = 0; i < 200; i++) // 800 KiB: far more than the socket takes
            calls.Add(hooked.Vm.WritePhysicalAsync(new Gpa((ulong)i << 12), page, Hooked.Cancel).AsTask());
        hooked.Hypervisor.SendEvent(Write); // the reader answers although nothing can be sent
        Assert.All(calls, static call => Assert.False(call.IsCompleted));

        int writes = 0, answers = 0;
        while (writes < 200 || answers < 1)
        {
            ReceivedMessage message = hooked.Hypervisor.Receive();
            if (message.Id == MessageId.Event)
            {
                answers++;
                continue;
            }

            Assert.Equal((ulong)writes++ << 12, message.As<VmWritePhysical>().Gpa.Value);
            hooked.Hypervisor.Reply(message);
        }

        await Task.WhenAll(calls).WaitAsync(Hooked.Cancel);
    }

    [Fact]
    public async Task A_peer_that_never_reads_again_does_not_keep_the_tool_from_leaving()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        Task[] calls = [.. Enumerable.Range(0, 200).Select(
            i => hooked.Vm.WritePhysicalAsync(new Gpa((ulong)i << 12), new byte[4096], Hooked.Cancel).AsTask())];
        await hooked.Vm.DisposeAsync();
        foreach (Task call in calls)
            await Assert.ThrowsAsync<ConnectionClosedException>(() => call.WaitAsync(Hooked.Cancel));
    }

    [Theory]
    [InlineData("0100 F91F 01000000", "announces a payload of 8185 bytes, the bound is 8184")]
    [InlineData("0100 0400 03000000 00000000", "has 4 bytes, at least 8 are needed")]
    [InlineData("0100 0800 63000000 0000000000000000", "seq 99, which no unanswered command has")]
    [InlineData("0000 0800 01000000 EAFFFFFF00000000", "refused the answer to event 1 with InvalidArgument")]
    [InlineData("0000 0400 01000000 00000000", "payload of 4 bytes and does not fit")]
    public async Task A_broken_message_closes_the_connection_with_the_reason(string hex, string reason)
    {
        await using Hooked hooked = await Hooked.StartAsync();
        hooked.Hypervisor.SendHex(hex);
        ProtocolException broken = await Assert.ThrowsAsync<ProtocolException>(() => hooked.Vm.Completion.WaitAsync(Hooked.Cancel));
        Assert.Contains(reason, broken.Message, StringComparison.Ordinal);
        Assert.True(hooked.Hypervisor.SeesEnd());
    }

    [Fact]
    public async Task A_reply_to_another_command_closes_the_connection()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        Task<Gfn> asking = hooked.Vm.GetMaxGfnAsync(Hooked.Cancel).AsTask();
        ReceivedMessage command = hooked.Hypervisor.Receive();
        hooked.Hypervisor.Reply(new ReceivedMessage(new MessageHeader(MessageId.VmGetInfo, 0, command.Seq), []), new VmGetInfoReply(1));
        await Assert.ThrowsAsync<ConnectionClosedException>(() => asking.WaitAsync(Hooked.Cancel));
        ProtocolException broken = await Assert.ThrowsAsync<ProtocolException>(() => hooked.Vm.Completion);
        Assert.Contains("says VmGetInfo, the command was VmGetMaxGfn", broken.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_stream_that_ends_inside_a_message_is_a_broken_protocol()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        hooked.Hypervisor.SendHex("0100 1000 0100");
        hooked.Hypervisor.Socket.Shutdown();
        ProtocolException broken = await Assert.ThrowsAsync<ProtocolException>(() => hooked.Vm.Completion.WaitAsync(Hooked.Cancel));
        Assert.Contains("ended inside a message, after 6 bytes", broken.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_gap_in_the_numbers_of_events_closes_the_connection()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        hooked.Hypervisor.EventSeq = 1;
        hooked.Hypervisor.SendEvent(Write);
        ProtocolException gap = await Assert.ThrowsAsync<ProtocolException>(() => hooked.Vm.Completion.WaitAsync(Hooked.Cancel));
        Assert.Contains("event 2 follows event 0", gap.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_gap_is_counted_where_it_is_tolerated()
    {
        await using Hooked hooked = await Hooked.StartAsync(new IntrospectionOptions { TolerateSequenceGaps = true });
        hooked.Hypervisor.EventSeq = 4;
        hooked.Hypervisor.SendEvent(Write);
        Assert.Equal(5u, hooked.Hypervisor.ExpectAnswer().Seq);
        Assert.Equal(4, hooked.Vm.Statistics.MissedEvents);
    }

    [Fact]
    public async Task A_second_event_before_the_first_is_answered_closes_the_connection()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        IAsyncEnumerable<VmEvent> events = hooked.Vm.Events(Hooked.Cancel);
        hooked.Hypervisor.SendEvent(Write);
        hooked.Hypervisor.SendEvent(Write);
        ProtocolException twice = await Assert.ThrowsAsync<ProtocolException>(() => hooked.Vm.Completion.WaitAsync(Hooked.Cancel));
        Assert.Contains("vCPU 0 sent event 2 before event 1 was answered", twice.Message, StringComparison.Ordinal);
        ProtocolException inLoop = await Assert.ThrowsAsync<ProtocolException>(async () =>
        {
            await foreach (VmEvent e in events)
                Assert.Equal(1u, e.Sequence);
        });
        Assert.Same(twice, inLoop);
    }

    [Fact]
    public async Task An_event_of_a_vcpu_that_does_not_exist_closes_the_connection()
    {
        await using Hooked hooked = await Hooked.StartAsync(vcpus: 2);
        hooked.Hypervisor.SendEvent(Write, vcpu: 2);
        ProtocolException broken = await Assert.ThrowsAsync<ProtocolException>(() => hooked.Vm.Completion.WaitAsync(Hooked.Cancel));
        Assert.Contains("names vCPU 2, the VM has 2", broken.Message, StringComparison.Ordinal);
    }
}
