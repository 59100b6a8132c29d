namespace Hyperscope.Kvmi;

/// <summary>The reference dialect: every mapping is the identity.</summary>
internal sealed class V9Dialect : Dialect
{
    public override string Name => "v9";

    public override bool IsCore => true;

    public override ushort EventMessageId => (ushort)MessageId.Event;

    public override ushort EventReplyMessageId => (ushort)MessageId.Event;

    public override bool TryGetMessage(ushort wireId, out MessageId id)
    {
        id = (MessageId)wireId;
        return true;
    }

    public override bool TryGetWireId(MessageId id, out ushort wireId)
    {
        wireId = (ushort)id;
        return true;
    }

    public override bool TryGetEvent(ushort wireId, out EventId id)
    {
        id = (EventId)wireId;
        return true;
    }

    public override bool TryGetWireId(EventId id, out ushort wireId)
    {
        wireId = (ushort)id;
        return true;
    }

    public override int CommandToCore(MessageId id, ReadOnlySpan<byte> wire, Span<byte> core) => Copy(wire, core);

    public override int ReplyToWire(MessageId id, ReadOnlySpan<byte> core, Span<byte> wire) => Copy(core, wire);

    public override int EventToWire(EventId id, ReadOnlySpan<byte> core, Span<byte> wire, ushort view = 0) => Copy(core, wire);

    public override int EventReplyDataLimit(EventId id) => EventCatalog.TryGet(id, out EventInfo info) ? info.ReplyDataSize : 0;

    private static int Copy(ReadOnlySpan<byte> from, Span<byte> to)
    {
        from.CopyTo(to);
        return from.Length;
    }
}
