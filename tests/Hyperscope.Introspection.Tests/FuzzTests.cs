using System.Runtime.InteropServices;

namespace Hyperscope.Introspection.Tests;

/// <summary>Random messages: each ends in a reply or a closed connection, and no vCPU is left behind.</summary>
public sealed class FuzzTests(ITestOutputHelper output)
{
    private const int VcpuCount = 2;

    [Theory]
    [InlineData(1, 25_000)]
    [InlineData(2, 25_000)]
    public async Task Any_message_ends_in_a_reply_or_a_close(int seed, int messages)
    {
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        using var bench = new Bench(VcpuCount);
        Arm(bench);
        List<Task> guest = [];
        int events = 0;
        int closes = 0;
        int replies = 0;
        for (int i = 0; i < messages; i++)
        {
            if (guest.Count < 64 && random.Next(8) == 0)
                guest.Add(RandomGuest(bench, random));
            if (!Exchange(bench, random, ref replies, ref events))
            {
                closes++;
                await Rehook(bench, guest);
            }
        }

        output.WriteLine($"{messages} messages, {replies} replies, {events} events, {closes} closed connections");
        Assert.InRange(closes, 100, messages);
        Assert.InRange(replies, messages / 3, messages);
        Assert.InRange(events, messages / 20, int.MaxValue);
        await Rehook(bench, guest);
        Assert.Equal(KvmError.None, bench.Tool.Error(default(GetVersion)));
    }

    private static async Task Rehook(Bench bench, List<Task> guest)
    {
        bench.Introspector.Unhook();
        await Task.WhenAll(guest).Soon();
        guest.Clear();
        for (int vcpu = 0; vcpu < VcpuCount; vcpu++)
            await bench.Vm[vcpu].Execute(static _ => 0).Soon(); // not stuck, and clean-up passed
        bench.Tool.Dispose();
        bench.Hook();
        Arm(bench);
    }

    private static void Arm(Bench bench)
    {
        for (ulong page = 0; page < 8; page++)
            bench.Restrict(page << 12, PageAccess.None);
        for (ushort vcpu = 0; vcpu < VcpuCount; vcpu++)
        {
            foreach (EventInfo info in EventCatalog.All)
            {
                if (info.IsVcpuEvent)
                    bench.Enable(info.Id, vcpu);
            }

            bench.Tool.Error(new VcpuControlCr(new VcpuIndex(vcpu), 4, enable: true));
            bench.Tool.Error(new VcpuControlMsr(new VcpuIndex(vcpu), 0x140, enable: true));
        }
    }

    private static Task RandomGuest(Bench bench, Random random)
    {
        FakeVcpu target = bench.Vm[random.Next(VcpuCount)];
        IVcpuEvents events = bench.Vm.Events!;
        var gpa = new Gpa((ulong)random.Next(16) << 12);
        return random.Next(6) switch
        {
            0 => target.Execute(vcpu => events.OnBreakpoint(vcpu, new Gpa(0x42), 1)),
            1 => target.Execute(vcpu =>
            {
                ulong value = 1;
                return events.OnControlRegisterWrite(vcpu, 4, 0, ref value);
            }),
            2 => target.Execute(vcpu =>
            {
                ulong value = 1;
                return events.OnMsrWrite(vcpu, 0x140, 0, ref value);
            }),
            3 => target.Execute(vcpu => events.OnDescriptorAccess(vcpu, DescriptorTable.Idtr, isWrite: false)),
            _ => target.Execute(vcpu => bench.Vm.Memory.PageTracker.BeforeAccess(
                vcpu, new PageTrackAccess(Gva.Unknown, gpa, PageAccess.Write, 1, []))),
        };
    }

    /// <summary>Sends one random message and a harmless one behind it, and waits for the answers. False: the connection closed.</summary>
    private static bool Exchange(Bench bench, Random random, ref int replies, ref int events)
    {
        byte[] message = RandomMessage(random, out bool breaksFraming);
        if (!bench.Tool.Socket.Send(message))
            return false;
        if (breaksFraming)
        {
            bench.Tool.Socket.Shutdown(); // what is missing will never come
            return false;
        }

        Message.TryReadHeader(message, out MessageHeader sent);
        bool expectsReply = sent.MessageId != MessageId.Event;
        byte[] barrier = new byte[8];
        Message.WriteCommand(barrier, 0xB0B0B0B0, default(GetVersion));
        if (!bench.Tool.Socket.Send(barrier))
            return false;
        bool hasReply = !expectsReply;
        bool hasBarrier = false;
        while (!hasReply || !hasBarrier)
        {
            if (bench.Tool.TryReceive() is not { } received)
                return false;
            if (received.Header.MessageId == MessageId.Event && received.Payload.Length > 8)
            {
                events++;
                Event @event = ToolPeer.AsEvent(received.Header, received.Payload);
                if (@event.Header.Event != EventId.Unhook && !Answer(bench, random, @event))
                    return false;
                continue;
            }

            if (received.Header.Seq == 0xB0B0B0B0)
            {
                hasBarrier = true;
            }
            else if (expectsReply)
            {
                Assert.Equal((sent.Id, sent.Seq), (received.Header.Id, received.Header.Seq));
                Assert.True(Message.TryReadReply(received.Payload, out KvmError error, out _));
                Assert.True(Enum.IsDefined(error), $"error {error}");
                hasReply = true;
                replies++;
            }
            else
            {
                Assert.Equal(MessageId.Event, received.Header.MessageId); // a refused event reply
            }
        }

        return true;
    }

    private static bool Answer(Bench bench, Random random, in Event @event)
    {
        byte[] reply = new byte[24 + random.Next(random.Next(40) == 0 ? 12 : 1)];
        uint seq = random.Next(200) == 0 ? @event.Seq + 1 : @event.Seq;
        EventAction action = random.Next(50) == 0 ? (EventAction)random.Next(256) : EventAction.Continue;
        Message.WriteEventReply(reply, seq, @event.Header.Vcpu, @event.Header.Event, action, reply.AsSpan(24));
        return bench.Tool.Socket.Send(reply);
    }

    private static byte[] RandomMessage(Random random, out bool breaksFraming)
    {
        breaksFraming = false;
        int id = random.Next(20) switch
        {
            0 => random.Next(65536),
            1 => 0,
            _ => random.Next(1, 26),
        };
        CommandCatalog.TryGet((MessageId)id, out CommandInfo info);
        int size = random.Next(16) switch
        {
            0 => random.Next(64),
            1 => random.Next(8185),
            _ => info.RequestSize + (info.HasTail ? random.Next(128) : 0),
        };
        byte[] message = new byte[8 + size];
        Span<byte> payload = message.AsSpan(8);
        if (random.Next(4) == 0)
            random.NextBytes(payload);
        else
            RandomFields(random, payload);
        if (info.HasVcpu && random.Next(16) != 0 && size >= 8)
        {
            payload[..8].Clear();
            payload[0] = (byte)random.Next(VcpuCount);
        }

        if (random.Next(400) == 0)
        {
            breaksFraming = true; // announces more than it sends, or more than it may
            size = random.Next(size, 65536);
        }

        MemoryMarshal.Write(message, new MessageHeader((ushort)id, (ushort)size, (uint)random.Next(1 << 30)));
        return message;
    }

    /// <summary>Mostly small numbers and zeros, so that many messages get past the first check.</summary>
    private static void RandomFields(Random random, Span<byte> payload)
    {
        payload.Clear();
        for (int i = random.Next(6); i > 0 && payload.Length > 0; i--)
            payload[random.Next(Math.Min(payload.Length, 24))] = (byte)random.Next(random.Next(3) == 0 ? 256 : 5);
    }
}
