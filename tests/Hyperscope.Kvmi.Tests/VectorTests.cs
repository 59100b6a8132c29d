using System.Runtime.CompilerServices;

namespace Hyperscope.Kvmi.Tests;

public sealed class VectorTests
{
    public static TheoryData<string> Names => [.. Vector.All.Keys];

    // Bad messages cannot be built from public constructors, on purpose, and a reply that stops short is nothing we send.
    public static TheoryData<string> Buildable =>
        [.. Vector.All.Values.Where(vector => !vector.IsBad && vector.Name != "evrpl.msr.short").Select(vector => vector.Name)];

    public static TheoryData<string> Padded =>
        [.. Vector.All.Values.Where(vector => !vector.IsBad && PaddingOf(vector).Count > 0).Select(vector => vector.Name)];

    [Fact]
    public void All_106_vectors_are_here() => Assert.Equal(106, Vector.All.Count);

    [Theory]
    [MemberData(nameof(Names))]
    public void Fields_written_through_the_structs_give_the_bytes(string name)
    {
        Vector vector = Vector.All[name];
        byte[] message = new byte[vector.Bytes.Length];
        int covered = 0;
        foreach ((string path, byte[] value) in vector.Fields)
        {
            (int offset, int size) = WireParts.Locate(vector, path);
            Assert.Equal(vector.Offsets[path], (offset, size));
            Assert.Equal(size, value.Length);
            value.CopyTo(message.AsSpan(offset));
            covered += size;
        }

        Assert.Equal(vector.Bytes.Length, covered); // no byte without a meaning, and none with two
        Assert.Equal(Convert.ToHexString(vector.Bytes), Convert.ToHexString(message));
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Bytes_read_through_the_structs_give_the_fields(string name)
    {
        Vector vector = Vector.All[name];
        foreach (WirePart part in WireParts.Of(vector).Where(part => part.Repeat == 1 && part.Type != typeof(WireParts.CpuidReplyFields)))
        {
            foreach ((string leaf, int offset, int size) in WireLayout.Leaves(part.Type))
            {
                int start = part.Offset + offset;
                if (start + size > vector.Bytes.Length)
                    continue;
                Assert.Contains(vector.Offsets.Values, field => start >= field.Offset && start + size <= field.Offset + field.Size
                    || field.Offset >= start && field.Offset + field.Size <= start + size);
                _ = leaf;
            }
        }

        foreach ((string path, byte[] value) in vector.Fields)
        {
            (int offset, int size) = WireParts.Locate(vector, path);
            Assert.Equal(Convert.ToHexString(value), Convert.ToHexString(vector.Bytes, offset, size));
        }
    }

    [Theory]
    [MemberData(nameof(Buildable))]
    public void What_the_public_constructors_build_is_what_the_vector_shows(string name)
    {
        Vector vector = Vector.All[name];
        byte[] buffer = new byte[KvmiConstants.MaxMessageSize];
        int length = VectorBuilder.Build(vector, buffer);
        Assert.Equal(Convert.ToHexString(vector.Bytes), Convert.ToHexString(buffer, 0, length));
    }

    [Fact]
    public void Every_message_and_event_has_a_vector()
    {
        List<string> missing = [];
        MessageId[] messages = [.. Enum.GetValues<MessageId>().Where(id => (int)id < KvmiConstants.FirstExtensionId)];
        foreach (MessageId id in messages.Where(id => id != MessageId.Event))
        {
            if (!Vector.All.Values.Any(vector => vector.Name.StartsWith("req.", StringComparison.Ordinal) && vector.Header.MessageId == id))
                missing.Add($"request {id}");
            if (!Vector.All.Values.Any(vector => vector.Kind == "reply" && vector.Header.MessageId == id))
                missing.Add($"reply {id}");
            if (!WireParts.Commands.ContainsKey(id) || !CommandCatalog.TryGet(id, out CommandInfo info) || info.Id != id)
                missing.Add($"row {id}");
        }

        EventId[] core = [.. Enum.GetValues<EventId>().Where(id => (int)id < KvmiConstants.FirstExtensionId)];
        foreach (EventId id in core)
        {
            if (!Vector.All.Values.Any(vector => vector.Kind == "event" && Message.EventHeaderIn(vector.Payload).Event == id))
                missing.Add($"event {id}");
            if (!EventCatalog.TryGet(id, out EventInfo info) || info.Id != id)
                missing.Add($"row {id}");
            else if (info.Accepts != EventActions.None && !Vector.All.Values.Any(vector => vector.Kind == "event-reply"
                && !vector.IsBad && Message.Read<EventReply>(vector.Payload[8..]).Event == (byte)id))
                missing.Add($"event reply {id}");
        }

        Assert.Empty(missing);
        Assert.Equal(KvmiConstants.MessageCount, messages.Length);
        Assert.Equal(KvmiConstants.EventCount, core.Length);
    }

    [Fact]
    public void Every_struct_of_the_assembly_that_is_a_command_or_event_has_a_row()
    {
        Type[] structs = [.. typeof(GetVersion).Assembly.GetTypes().Where(type => type.IsValueType)];
        string[] commands = [.. structs.Where(type => Implements(type, typeof(ICommand<>))).Select(type => type.Name).Order()];
        string[] events = [.. structs.Where(type => Implements(type, typeof(IEvent<>))).Select(type => type.Name).Order()];
        IEnumerable<string> rows = WireParts.Commands.Values.Select(pair => pair.Request.Name)
            .Concat(CommandCatalog.Extensions.ToArray().Select(row => row.Id.ToString()));
        Assert.Equal(rows.Order(), commands);
        Assert.Equal(WireParts.Events.Values.Select(pair => pair.Data.Name).Order(), events);

        static bool Implements(Type type, Type open) =>
            type.GetInterfaces().Any(one => one.IsGenericType && one.GetGenericTypeDefinition() == open);
    }

    [Theory]
    [MemberData(nameof(Padded))]
    public void Each_padding_byte_when_dirty_is_refused(string name)
    {
        Vector vector = Vector.All[name];
        Assert.True(WellFormed.Check(vector, vector.Bytes), $"{name} as it is");
        foreach ((string path, (int offset, int size)) in PaddingOf(vector))
        {
            for (int bit = 0; bit < size * 8; bit++)
            {
                byte[] dirty = [.. vector.Bytes];
                dirty[offset + (bit / 8)] ^= (byte)(1 << (bit % 8));
                bool isExtensionByte = path == "ev.padding" && bit == 7; // high byte of an extension's event id
                Assert.True(isExtensionByte == WellFormed.Check(vector, dirty), $"{name}: {path}, bit {bit}");
            }
        }
    }

    [Theory]
    [InlineData("req.vcpu_pause", "req.wait")]
    [InlineData("req.vm_control_events", "req.enable")]
    [InlineData("req.vcpu_control_events", "req.enable")]
    [InlineData("req.vm_control_cleanup", "req.enable")]
    [InlineData("req.vcpu_control_cr", "req.enable")]
    [InlineData("req.vcpu_control_msr", "req.enable")]
    [InlineData("req.vcpu_control_singlestep", "req.enable")]
    [InlineData("req.vm_set_page_access", "req.entries[0].visible")]
    [InlineData("ev.descriptor", "desc.write")]
    [InlineData("ev.singlestep", "singlestep.failed")]
    [InlineData("rpl.get_version", "rpl.features.singlestep")]
    public void A_flag_above_one_is_refused(string name, string path)
    {
        Vector vector = Vector.All[name];
        for (int value = 0; value < 256; value++)
        {
            byte[] bytes = [.. vector.Bytes];
            bytes[vector.Offsets[path].Offset] = (byte)value;
            Assert.Equal(value <= 1, WellFormed.Check(vector, bytes));
        }
    }

    [Fact]
    public void Bad_vectors_are_seen_through()
    {
        Assert.False(WellFormed.Check(Vector.All["bad.check_command.padding"], Vector.All["bad.check_command.padding"].Bytes));
        Assert.False(CommandCatalog.TryGet(Vector.All["bad.unknown_id"].Header.MessageId, out _));
        Assert.False(Vector.All["bad.oversize_header"].Header.IsAcceptable);
        Assert.True(IsShort<VmWritePhysical>(Vector.All["bad.write_physical.truncated"]));
        Assert.True(IsShort<VmSetPageAccess>(Vector.All["bad.set_page_access.truncated"]));
        Assert.False(Message.Read<EventReply>(Vector.All["bad.event_reply.padding"].Payload[8..]).IsWellFormed);
        Assert.NotEqual(0x100Au, Vector.All["bad.event_reply.seq"].Header.Seq);
        Assert.True(Vector.All["bad.event_reply.too_long"].Header.Size > KvmiConstants.EventReplySize);
        Assert.True(Vector.All["bad.event_reply.too_short"].Header.Size < KvmiConstants.EventReplySize);
        Assert.True(VmWritePhysical.ShortTailCloses);
        Assert.False(VmSetPageAccess.ShortTailCloses);
        Assert.Equal(10, Vector.All.Values.Count(vector => vector.IsBad));

        static bool IsShort<T>(Vector vector)
            where T : unmanaged, ITailedCommand<T> =>
            vector.Payload.Length < Unsafe.SizeOf<T>() + Message.Read<T>(vector.Payload).TailSize;
    }

    // The register blocks are KVM's own; their padding is not a matter of this protocol.
    private static List<KeyValuePair<string, (int Offset, int Size)>> PaddingOf(Vector vector) => [.. vector.Offsets
        .Where(pair => pair.Key.Contains("padding", StringComparison.Ordinal) && !pair.Key.Contains("regs.", StringComparison.Ordinal))];
}
