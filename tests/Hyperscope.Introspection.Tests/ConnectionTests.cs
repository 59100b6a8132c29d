using System.Runtime.InteropServices;

namespace Hyperscope.Introspection.Tests;

/// <summary>What closes the connection, what does not, and what becomes of vCPUs: kvmi-abi.md 1.3, 1.8 and 1.9.</summary>
public sealed class ConnectionTests
{
    private static readonly VcpuIndex V0 = Bench.V0;

    [Fact]
    public async Task A_header_that_announces_too_much_closes()
    {
        using var bench = new Bench();
        bench.Tool.SendRaw([9, 0, 0xF9, 0x1F, 1, 0, 0, 0]); // 8185
        bench.Tool.AssertClosed();
        Assert.Contains("8185", (await bench.Disconnected.Soon()).CloseReason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_largest_payload_is_read_in_whatever_pieces_it_comes()
    {
        using var bench = new Bench();
        byte[] message = new byte[8192];
        MemoryMarshal.Write(message, new MessageHeader(MessageId.VmGetInfo, 8184, 5));
        for (int at = 0; at < message.Length; at += 1021)
            bench.Tool.SendRaw(message.AsSpan(at, Math.Min(1021, message.Length - at)));
        Assert.Equal(KvmError.None, bench.Tool.ReceiveReply(MessageId.VmGetInfo, 5).Error);
        await Task.CompletedTask;
    }

    [Fact]
    public void Many_messages_in_one_send_are_all_answered()
    {
        using var bench = new Bench();
        byte[] burst = new byte[8 * 500];
        for (int i = 0; i < 500; i++)
            Message.WriteCommand(burst.AsSpan(8 * i), (uint)i, default(GetVersion));
        bench.Tool.SendRaw(burst);
        for (uint i = 0; i < 500; i++)
            Assert.Equal(KvmError.None, bench.Tool.ReceiveReply(MessageId.GetVersion, i).Error);
    }

    [Fact]
    public async Task A_stream_that_ends_inside_a_message_closes()
    {
        using var bench = new Bench();
        bench.Tool.SendRaw([1, 0, 4, 0, 1]);
        bench.Tool.Dispose();
        Assert.Contains("closed", (await bench.Disconnected.Soon()).CloseReason, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(MessageId.VmWritePhysical, 0)]
    [InlineData(MessageId.VmWritePhysical, 8)]
    [InlineData(MessageId.VmWritePhysical, 23)]
    [InlineData(MessageId.VcpuGetRegisters, 0)]
    [InlineData(MessageId.VcpuGetRegisters, 15)]
    [InlineData(MessageId.VcpuGetRegisters, 23)]
    [InlineData(MessageId.VcpuSetXsave, 0)]
    [InlineData(MessageId.VcpuSetXsave, 7)]
    public async Task A_payload_without_what_it_announces_closes(MessageId id, int length)
    {
        using var bench = new Bench();
        byte[] payload = new byte[24];
        payload[8] = id == MessageId.VcpuGetRegisters ? (byte)2 : (byte)8;
        bench.Tool.PostRaw((ushort)id, payload.AsSpan(0, length));
        bench.Tool.AssertClosed();
        Assert.Contains(id.ToString(), (await bench.Disconnected.Soon()).CloseReason, StringComparison.Ordinal);
        await bench.Vcpu.Execute(static _ => 0).Soon();
    }

    public static TheoryData<string, int, int, int, uint> BadReplies => new()
    {
        // name, payload length, offset to change (-1 none), value, added to the sequence number
        { "seq", 16, -1, 0, 1 },
        { "seq", 16, -1, 0, uint.MaxValue },
        { "below", 0, -1, 0, 0 },
        { "below", 8, -1, 0, 0 },
        { "below", 15, -1, 0, 0 },
        { "above", 17, -1, 0, 0 },
        { "above", 24, -1, 0, 0 },
        { "padding", 16, 10, 1, 0 },
        { "padding", 16, 11, 1, 0 },
        { "padding", 16, 12, 1, 0 },
        { "padding", 16, 15, 128, 0 },
    };

    [Theory]
    [MemberData(nameof(BadReplies))]
    public async Task A_bad_event_reply_closes_and_the_access_goes_through(string why, int length, int offset, int value, uint seqOffset)
    {
        using var bench = new Bench();
        bench.Enable(EventId.PageFault);
        bench.Restrict(0x3000, PageAccess.None);
        Task<List<PageTrackVerdict>> access = bench.Vcpu.Access(0x3000, PageAccess.Write);
        Event fault = bench.Tool.ReceiveEvent(EventId.PageFault);
        byte[] payload = new byte[length];
        if (offset >= 0)
            payload[offset] = (byte)value;
        bench.Tool.PostRaw(0, unchecked(fault.Seq + seqOffset), payload);
        bench.Tool.AssertClosed();
        Assert.Equal([PageTrackVerdict.Allow], await access.Soon());
        Assert.Contains(why == "seq" ? "is pending" : why, (await bench.Disconnected.Soon()).CloseReason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_longer_reply_than_cr_defines_closes()
    {
        using var bench = new Bench();
        bench.Enable(EventId.Cr);
        bench.Tool.Error(new VcpuControlCr(V0, 0, true));
        Task<InstructionVerdict> write = bench.Vcpu.Execute(vcpu =>
        {
            ulong value = 1;
            return bench.Vm.Events!.OnControlRegisterWrite(vcpu, 0, 0, ref value);
        });
        bench.Tool.Answer(bench.Tool.ReceiveEvent(EventId.Cr), EventAction.Continue, new byte[9]);
        bench.Tool.AssertClosed();
        Assert.Equal(InstructionVerdict.Proceed, await write.Soon());
    }

    [Fact]
    public async Task The_event_byte_of_a_reply_is_not_verified()
    {
        using var bench = new Bench();
        bench.Enable(EventId.PageFault);
        bench.Restrict(0x3000, PageAccess.None);
        Task<List<PageTrackVerdict>> access = bench.Vcpu.Access(0x3000, PageAccess.Write);
        Event fault = bench.Tool.ReceiveEvent(EventId.PageFault);
        byte[] payload = new byte[16];
        payload[9] = 0xEE;
        bench.Tool.PostRaw(0, fault.Seq, payload);
        Assert.Equal([PageTrackVerdict.Allow], await access.Soon());
        Assert.Equal(KvmError.None, bench.Tool.Error(default(GetVersion)));
    }

    [Fact]
    public async Task A_reply_with_a_bad_vcpu_block_is_answered_and_the_event_stays_pending()
    {
        using var bench = new Bench(vcpus: 2);
        bench.Vm[1].IsInitialized = false;
        bench.Enable(EventId.PageFault);
        bench.Restrict(0x3000, PageAccess.None);
        Task<List<PageTrackVerdict>> access = bench.Vcpu.Access(0x3000, PageAccess.Write);
        Event fault = bench.Tool.ReceiveEvent(EventId.PageFault);
        foreach ((int offset, byte value, KvmError expected) in new[]
        {
            (2, (byte)1, KvmError.InvalidArgument), (7, (byte)1, KvmError.InvalidArgument), (0, (byte)2, KvmError.InvalidArgument),
            (1, (byte)1, KvmError.InvalidArgument), (0, (byte)1, KvmError.TryAgain),
        })
        {
            byte[] payload = new byte[16];
            payload[offset] = value;
            bench.Tool.PostRaw(0, fault.Seq, payload);
            Assert.Equal(expected, bench.Tool.ReceiveReply(MessageId.Event, fault.Seq).Error);
        }

        bench.Tool.Answer(fault, EventAction.Continue);
        Assert.Equal([PageTrackVerdict.Allow], await access.Soon());
    }

    [Fact]
    public async Task Event_replies_are_not_subject_to_permissions()
    {
        using var bench = new Bench();
        bench.Enable(EventId.PageFault);
        bench.Restrict(0x3000, PageAccess.None);
        bench.Introspector.SetCommandPermission(-1, 0);
        bench.Introspector.SetEventPermission(-1, 0); // disallowing does not stop an event that is on
        Task<List<PageTrackVerdict>> access = bench.Vcpu.Access(0x3000, PageAccess.Write);
        bench.Tool.Answer(bench.Tool.ReceiveEvent(EventId.PageFault), EventAction.Continue);
        Assert.Equal([PageTrackVerdict.Allow], await access.Soon());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_reply_to_nothing_closes(bool isDuplicate)
    {
        using var bench = new Bench();
        uint seq = 1;
        if (isDuplicate)
        {
            bench.Enable(EventId.PageFault);
            bench.Restrict(0x3000, PageAccess.None);
            Task<List<PageTrackVerdict>> access = bench.Vcpu.Access(0x3000, PageAccess.Write);
            Event fault = bench.Tool.ReceiveEvent(EventId.PageFault);
            seq = fault.Seq;
            bench.Tool.Answer(fault, EventAction.Continue);
            await access.Soon();
        }

        bench.Tool.PostRaw(0, seq, new byte[16]);
        bench.Tool.AssertClosed();
        Assert.Contains("no event is pending", (await bench.Disconnected.Soon()).CloseReason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_reply_to_the_wrong_vcpu_closes()
    {
        using var bench = new Bench(vcpus: 2);
        bench.Enable(EventId.PageFault);
        bench.Restrict(0x3000, PageAccess.None);
        Task<List<PageTrackVerdict>> access = bench.Vcpu.Access(0x3000, PageAccess.Write);
        Event fault = bench.Tool.ReceiveEvent(EventId.PageFault);
        bench.Tool.PostRaw(0, fault.Seq, [1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0]);
        bench.Tool.AssertClosed();
        Assert.Equal([PageTrackVerdict.Allow], await access.Soon());
    }

    [Fact]
    public async Task Leaving_releases_every_vcpu_that_waits()
    {
        const int Count = 4;
        using var bench = new Bench(Count);
        bench.Restrict(0x3000, PageAccess.None);
        for (int vcpu = 0; vcpu < Count; vcpu++)
            bench.Enable(EventId.PageFault, vcpu);
        Task<List<PageTrackVerdict>>[] accesses =
            [.. Enumerable.Range(0, Count).Select(vcpu => bench.Vm[vcpu].Access(0x3000, PageAccess.Read))];
        for (int i = 0; i < Count; i++)
            bench.Tool.ReceiveEvent(EventId.PageFault);
        bench.Tool.Dispose();
        foreach (Task<List<PageTrackVerdict>> access in accesses)
            Assert.Equal([PageTrackVerdict.Allow], await access.Soon());
    }

    [Theory]
    [InlineData(FailurePolicy.Continue)]
    [InlineData(FailurePolicy.Pause)]
    public async Task Unhook_releases_a_vcpu_that_waits(FailurePolicy policy)
    {
        using var bench = new Bench(options: new HookOptions { FailurePolicy = policy });
        bench.Enable(EventId.PageFault);
        bench.Restrict(0x3000, PageAccess.None);
        Task<List<PageTrackVerdict>> access = bench.Vcpu.Access(0x3000, PageAccess.Read);
        bench.Tool.ReceiveEvent(EventId.PageFault);
        bench.Introspector.Unhook();
        Assert.Equal([PageTrackVerdict.Allow], await access.Soon());
    }

    [Fact]
    public async Task A_missed_deadline_gives_the_connection_up_and_lets_the_guest_go_on()
    {
        using var bench = new Bench(2, new HookOptions { ReplyDeadline = TimeSpan.FromMilliseconds(50) });
        bench.Enable(EventId.PageFault, 0);
        bench.Enable(EventId.PageFault, 1);
        bench.Restrict(0x3000, PageAccess.None);
        Task<List<PageTrackVerdict>> first = bench.Vm[0].Access(0x3000, PageAccess.Read);
        Task<List<PageTrackVerdict>> second = bench.Vm[1].Access(0x3000, PageAccess.Read); // one of them reads, the other waits
        Assert.Equal([PageTrackVerdict.Allow], await first.Soon());
        Assert.Equal([PageTrackVerdict.Allow], await second.Soon());
        Assert.Contains("within 50 ms", (await bench.Disconnected.Soon()).CloseReason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Fail_closed_holds_the_vcpu_until_it_is_unhooked()
    {
        using var bench = new Bench(options: new HookOptions
        {
            ReplyDeadline = TimeSpan.FromMilliseconds(50),
            FailurePolicy = FailurePolicy.Pause,
        });
        bench.Enable(EventId.PageFault);
        bench.Restrict(0x3000, PageAccess.None);
        Task<List<PageTrackVerdict>> access = bench.Vcpu.Access(0x3000, PageAccess.Read);
        await bench.Disconnected.Soon();
        Task<int> next = bench.Vcpu.Execute(static _ => 0);
        Assert.False(access.IsCompleted || next.IsCompleted);
        bench.Introspector.Unhook();
        Assert.Equal([PageTrackVerdict.Allow], await access.Soon());
        await next.Soon();
    }

    [Fact]
    public async Task A_tool_that_writes_without_reading_does_not_hold_up_the_vm()
    {
        using var bench = new Bench();
        bench.Enable(EventId.PageFault);
        bench.Restrict(0x3000, PageAccess.None);
        const int Commands = 1000; // 4 MiB of replies: far more than a socket holds
        var writer = Task.Run(
            () =>
            {
                for (int i = 0; i < Commands; i++)
                    bench.Tool.Post(new VmReadPhysical(new Gpa(0x4000), 4096));
                bench.Tool.PostRaw((ushort)MessageId.VmControlEvents, []);
            },
            TestContext.Current.CancellationToken);
        await writer.Soon(); // the commands are taken although no reply is
        Task<List<PageTrackVerdict>> access = bench.Vcpu.Access(0x3000, PageAccess.Read);
        bool hasEvent = false;
        int replies = 0;
        while (!hasEvent || replies < Commands + 1)
        {
            (MessageHeader header, byte[] payload) = bench.Tool.Receive();
            if (header.MessageId == MessageId.Event)
            {
                hasEvent = true;
                bench.Tool.Answer(ToolPeer.AsEvent(header, payload), EventAction.Continue);
            }
            else
            {
                replies++;
            }
        }

        Assert.Equal([PageTrackVerdict.Allow], await access.Soon());
    }

    [Fact]
    public async Task A_tool_that_never_reads_is_given_up_at_the_bound()
    {
        using var bench = new Bench(options: new HookOptions { MaxBacklogBytes = 1 << 20 });
        _ = Task.Run(() =>
        {
            byte[] message = new byte[64];
            int length = Message.WriteCommand(message, 1, new VmReadPhysical(new Gpa(0x4000), 4096));
            while (bench.Tool.Socket.Send(message.AsSpan(0, length)))
            {
            }
        }, TestContext.Current.CancellationToken);
        Assert.Contains("could not be written", (await bench.Disconnected.Soon()).CloseReason, StringComparison.Ordinal);
        await bench.Vcpu.Execute(static _ => 0).Soon();
    }

    [Fact]
    public async Task Commands_for_a_vcpu_that_does_not_run_are_bounded()
    {
        using var bench = new Bench(options: new HookOptions { MaxQueuedBytes = 1 << 16 }, start: false);
        for (int i = 0; i < (1 << 16) / 16; i++)
            bench.Tool.Post(new VcpuGetInfo(V0));
        Assert.Equal(KvmError.None, bench.Tool.Error(default(GetVersion)));
        bench.Tool.Post(new VcpuGetInfo(V0));
        bench.Tool.AssertClosed();
        Assert.Contains("65536", (await bench.Disconnected.Soon()).CloseReason, StringComparison.Ordinal);
        bench.Vm.Start();
        await bench.Vcpu.Execute(static _ => 0).Soon();
    }

    [Fact]
    public async Task Reconnecting_many_times_leaves_nothing_behind()
    {
        using var bench = new Bench();
        int before = Directory.GetFiles("/proc/self/fd").Length;
        for (int i = 0; i < 50; i++)
        {
            bench.Enable(EventId.PageFault);
            bench.Restrict(0x3000, PageAccess.None);
            Task<List<PageTrackVerdict>> access = bench.Vcpu.Access(0x3000, PageAccess.Read);
            bench.Tool.ReceiveEvent(EventId.PageFault);
            if (i % 2 == 0)
                bench.Tool.Dispose();
            bench.Introspector.Unhook();
            await access.Soon();
            bench.Tool.Dispose();
            await bench.Vcpu.Execute(static _ => 0).Soon(); // clean-up passed
            bench.Hook();
        }

        // Other test classes run beside this one, so only a leak of every round would show.
        Assert.InRange(Directory.GetFiles("/proc/self/fd").Length - before, int.MinValue, 49);
    }
}
