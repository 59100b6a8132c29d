using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CsCheck;

namespace Hyperscope.Kvmi.Tests;

public sealed class MessageTests
{
    [Fact]
    public void Structures_have_the_sizes_of_the_protocol()
    {
        Assert.Equal(8, Unsafe.SizeOf<MessageHeader>());
        Assert.Equal(8, Unsafe.SizeOf<ErrorCode>());
        Assert.Equal(8, Unsafe.SizeOf<VcpuHeader>());
        Assert.Equal(8, Unsafe.SizeOf<EventReply>());
        Assert.Equal(544, Unsafe.SizeOf<EventHeader>());
        Assert.Equal(536, Unsafe.SizeOf<EventArch>());
        Assert.Equal(144, Unsafe.SizeOf<KvmRegs>());
        Assert.Equal(312, Unsafe.SizeOf<KvmSregs>());
        Assert.Equal(24, Unsafe.SizeOf<KvmSegment>());
        Assert.Equal(16, Unsafe.SizeOf<KvmDtable>());
        Assert.Equal(16, Unsafe.SizeOf<KvmMsrEntry>());
        Assert.Equal(16, Unsafe.SizeOf<PageAccessEntry>());
        Assert.Equal(472, Unsafe.SizeOf<VcpuGetRegistersReply>());
        Assert.Equal(24, Unsafe.SizeOf<IntrospectionHook>());
        Assert.Equal(8, Unsafe.SizeOf<IntrospectionFeature>());
    }

    [Theory]
    [InlineData(1, 0, 16)]
    [InlineData(2, 8, 0)]
    [InlineData(3, 8, 0)]
    [InlineData(4, 0, 16)]
    [InlineData(5, 8, 0)]
    [InlineData(6, 16, 0)]
    [InlineData(7, 16, 0)]
    [InlineData(8, 8, 8)]
    [InlineData(9, 16, 0)]
    [InlineData(10, 16, 0)]
    [InlineData(11, 16, 472)]
    [InlineData(12, 152, 0)]
    [InlineData(13, 16, 16)]
    [InlineData(14, 8, 0)]
    [InlineData(15, 16, 0)]
    [InlineData(16, 24, 0)]
    [InlineData(17, 0, 8)]
    [InlineData(18, 16, 8)]
    [InlineData(19, 8, 0)]
    [InlineData(20, 8, 0)]
    [InlineData(21, 16, 8)]
    [InlineData(22, 16, 0)]
    [InlineData(23, 8, 0)]
    [InlineData(24, 16, 0)]
    [InlineData(25, 16, 8)]
    public void Commands_have_the_sizes_of_the_protocol(int id, int request, int reply)
    {
        Assert.True(CommandCatalog.TryGet((MessageId)id, out CommandInfo info));
        Assert.Equal((request, reply), (info.RequestSize, info.ReplyDataSize));
    }

    [Theory]
    [InlineData(0, 544, 0, EventActions.None)]
    [InlineData(1, 544, 0, EventActions.Continue | EventActions.Crash)]
    [InlineData(2, 544, 0, EventActions.Continue | EventActions.Crash)]
    [InlineData(3, 560, 0, EventActions.Continue | EventActions.Retry | EventActions.Crash)]
    [InlineData(4, 568, 8, EventActions.Continue | EventActions.Crash)]
    [InlineData(5, 560, 0, EventActions.Continue | EventActions.Crash)]
    [InlineData(6, 568, 0, EventActions.Continue | EventActions.Crash)]
    [InlineData(7, 552, 0, EventActions.Continue | EventActions.Retry | EventActions.Crash)]
    [InlineData(8, 568, 8, EventActions.Continue | EventActions.Crash)]
    [InlineData(9, 568, 0, EventActions.Continue | EventActions.Retry | EventActions.Crash)]
    [InlineData(10, 552, 0, EventActions.Continue | EventActions.Crash)]
    public void Events_have_the_sizes_and_actions_of_the_protocol(int id, int payload, int replyData, EventActions accepts)
    {
        Assert.True(EventCatalog.TryGet((EventId)id, out EventInfo info));
        Assert.Equal((payload, replyData, accepts), (info.PayloadSize, info.ReplyDataSize, info.Accepts));
        Assert.Equal(replyData, Dialect.V9.EventReplyDataLimit((EventId)id));
    }

    [Fact]
    public void Limits_follow_from_the_largest_payload()
    {
        Assert.Equal(8184, KvmiConstants.MaxPayloadSize);
        Assert.Equal(511, KvmiConstants.MaxPageAccessEntries);
        Assert.Equal(481, KvmiConstants.MaxRegisterMsrs);
        Assert.True(new MessageHeader(9, 8184, 0).IsAcceptable);
        Assert.False(new MessageHeader(9, 8185, 0).IsAcceptable);
        Assert.Equal(unchecked((ulong)-1000L), KvmiConstants.HypercallUnknown);
    }

    [Fact]
    public void A_header_needs_eight_bytes()
    {
        Assert.False(Message.TryReadHeader(new byte[7], out _));
        Assert.True(Message.TryReadHeader(new byte[8], out _));
    }

    [Fact]
    public void A_message_that_does_not_fit_is_the_callers_mistake()
    {
        byte[] buffer = new byte[KvmiConstants.MaxMessageSize + 100];
        Assert.Throws<ArgumentException>(() => Message.WriteReply(buffer, MessageId.VmReadPhysical, 1, new byte[8177]));
        Assert.Equal(8192, Message.WriteReply(buffer, MessageId.VmReadPhysical, 1, new byte[8176]));
        Assert.Throws<ArgumentException>(() => Message.WriteCommand(new byte[15], 1, default(VmCheckEvent)));
    }

    [Fact]
    public void Missing_bytes_of_a_structure_read_as_zero()
    {
        byte[] buffer = new byte[64];
        int length = Message.WriteCommand(buffer, 7, new VcpuInjectException(new VcpuIndex(3), 14, 0x11223344, 0x5566778899AABBCC));
        ReadOnlySpan<byte> payload = buffer.AsSpan(8, length - 8);
        for (int kept = 0; kept <= payload.Length; kept++)
        {
            byte[] padded = new byte[payload.Length];
            payload[..kept].CopyTo(padded);
            var read = Message.Read<VcpuInjectException>(payload[..kept]);
            Assert.Equal(padded, MemoryMarshal.AsBytes(new ReadOnlySpan<VcpuInjectException>(in read)).ToArray());
        }
    }

    [Theory]
    [InlineData(EventAction.Continue, true)]
    [InlineData(EventAction.Retry, false)]
    [InlineData(EventAction.Crash, true)]
    [InlineData((EventAction)3, false)]
    [InlineData((EventAction)32, false)]
    [InlineData((EventAction)255, false)]
    public void Only_listed_actions_are_allowed(EventAction action, bool allowed) =>
        Assert.Equal(allowed, CrEvent.Accepts.Allows(action));

    [Fact]
    public void An_event_is_found_behind_a_longer_header_and_refused_when_its_size_lies()
    {
        byte[] payload = new byte[600];
        payload[0] = 0x28; // 552: a header 8 bytes longer than ours
        payload[1] = 0x02;
        Assert.True(Message.TryReadEvent(payload, out ReadOnlySpan<byte> data));
        Assert.Equal(48, data.Length);
        foreach (ushort size in new ushort[] { 0, 8, 543, 601, 65535 })
        {
            BitConverter.TryWriteBytes(payload, size);
            Assert.False(Message.TryReadEvent(payload, out _));
        }

        Assert.False(Message.TryReadEvent(payload.AsSpan(0, 543), out _));
    }

    [Fact]
    public void Ids_of_extension_events_survive_the_header()
    {
        var header = new EventHeader(new VcpuIndex(1), (EventId)0x8003);
        Assert.Equal((EventId)0x8003, header.Event);
        Assert.True(header.IsWellFormed);
    }

    [Fact]
    public void The_reference_dialect_is_the_identity()
    {
        for (int id = 0; id <= ushort.MaxValue; id++)
        {
            Assert.True(Dialect.V9.TryGetMessage((ushort)id, out MessageId message) && (int)message == id);
            Assert.True(Dialect.V9.TryGetWireId((EventId)id, out ushort wire) && wire == id);
        }

        Assert.True(Dialect.V9.IsCore);
    }

    [Fact]
    public void Commands_survive_a_round_trip()
    {
        Round(Gen.Select(Gen.UShort, Gen.Bool, (vcpu, wait) => new VcpuPause(new VcpuIndex(vcpu), wait)));
        Round(Gen.Select(Gen.ULong, Gen.UShort, (gpa, size) => new VmReadPhysical(new Gpa(gpa), size)));
        Round(Gen.Select(Gen.UShort, Gen.Byte, Gen.UInt, Gen.ULong,
            (vcpu, vector, code, address) => new VcpuInjectException(new VcpuIndex(vcpu), vector, code, address)));
        Round(Gen.Select(Gen.UShort, Gen.UInt, Gen.Bool, (vcpu, msr, enable) => new VcpuControlMsr(new VcpuIndex(vcpu), msr, enable)));
        Round(Gen.Select(Gen.UShort, Gen.Byte, Gen.Bool, (vcpu, cr, enable) => new VcpuControlCr(new VcpuIndex(vcpu), cr, enable)));
        Round(Gen.Select(Gen.UShort, Gen.UShort, Gen.Bool,
            (vcpu, id, enable) => new VcpuControlEvents(new VcpuIndex(vcpu), (EventId)id, enable)));
    }

    [Fact]
    public void Events_survive_a_round_trip() => Gen.Select(Gen.ULong, Gen.ULong, Gen.Byte, Gen.ULong.Array[18], Gen.UInt).Sample(
        (gva, gpa, access, values, seq) =>
        {
            byte[] buffer = new byte[KvmiConstants.MaxMessageSize];
            var header = new EventHeader(new VcpuIndex(9), EventId.PageFault);
            values.CopyTo(KvmRegs.AsSpan(ref header.Arch.Regs));
            int length = Message.WriteEvent(buffer, seq, header, new PageFaultEvent(new Gva(gva), new Gpa(gpa), (PageAccess)access));
            return Message.TryReadHeader(buffer, out MessageHeader message) && message.Seq == seq && message.MessageSize == length
                && Message.TryReadEvent(buffer.AsSpan(8, length - 8), out ReadOnlySpan<byte> data)
                && Message.EventHeaderIn(buffer.AsSpan(8)).Arch.Regs == header.Arch.Regs
                && Message.Read<PageFaultEvent>(data) is { IsWellFormed: true } fault
                && fault.Gva.Value == gva && fault.Gpa.Value == gpa && fault.Access == (PageAccess)access;
        });

    [Fact]
    public void Replies_survive_a_round_trip() => Gen.Select(Gen.UShort, Gen.UInt, Gen.Int, Gen.Byte.Array[0, 200]).Sample(
        (id, seq, error, bytes) =>
        {
            byte[] buffer = new byte[KvmiConstants.MaxMessageSize];
            int length = Message.WriteError(buffer, (MessageId)id, seq, (KvmError)error);
            bool isError = Message.TryReadReply(buffer.AsSpan(8, length - 8), out KvmError read, out ReadOnlySpan<byte> none)
                && read == (KvmError)error && none.IsEmpty;
            length = Message.WriteReply(buffer, (MessageId)id, seq, bytes);
            return isError && Message.TryReadReply(buffer.AsSpan(8, length - 8), out read, out ReadOnlySpan<byte> data)
                && read == KvmError.None && data.SequenceEqual(bytes);
        });

    [Fact]
    public void Arbitrary_bytes_are_read_or_refused() => Gen.Byte.Array[0, 700].Sample(bytes =>
    {
        Message.TryReadHeader(bytes, out _);
        Message.TryReadReply(bytes, out _, out _);
        Message.TryReadEvent(bytes, out _);
        Message.Read<VmSetPageAccess>(bytes);
        Message.Tail(bytes, 16);
    });

    [Fact]
    public void Writing_and_reading_allocate_nothing()
    {
        byte[] buffer = new byte[KvmiConstants.MaxMessageSize];
        Once(buffer);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (uint seq = 0; seq < 1000; seq++)
            Once(buffer);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        static void Once(byte[] buffer)
        {
            Message.WriteCommand(buffer, 1, new VcpuPause(new VcpuIndex(1), true));
            Message.EventHeaderOf(buffer) = new EventHeader(new VcpuIndex(1), EventId.PageFault);
            int length = Message.CompleteEvent(buffer, 2, new PageFaultEvent(default, default, PageAccess.Read));
            Message.TryReadEvent(buffer.AsSpan(8, length - 8), out ReadOnlySpan<byte> data);
            Message.Read<PageFaultEvent>(data);
            Message.WriteEventReply(buffer, 2, default, EventId.Msr, EventAction.Continue, new NewValueReply(3));
        }
    }

    private static void Round<T>(Gen<T> gen)
        where T : unmanaged, ICommand<T> => Gen.Select(gen, Gen.UInt).Sample((command, seq) =>
    {
        byte[] buffer = new byte[KvmiConstants.MaxMessageSize];
        int length = Message.WriteCommand(buffer, seq, command);
        Assert.True(Message.TryReadHeader(buffer, out MessageHeader header));
        var read = Message.Read<T>(buffer.AsSpan(8, length - 8));
        return header.MessageId == T.Id && header.Seq == seq && header.MessageSize == length && read.IsWellFormed
            && MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in read)).SequenceEqual(MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in command)));
    });
}
