using System.Diagnostics;

namespace Hyperscope.Kvmi;

/// <summary>Stands in until the first message says what the peer speaks.</summary>
/// <remarks>Every tool starts with GET_VERSION without a payload: id 1 in v9, id 2 in libkvmi's dialect. Anything else is taken for v9,
/// which refuses it. Source: kvmi-dialect-libkvmi.md 9.</remarks>
internal sealed class AutoDialect : Dialect
{
    private const ushort LibkvmiGetVersion = 2;

    public override string Name => "auto";

    public override bool IsSettled => false;

    public override ushort EventMessageId => V9.EventMessageId;

    public override ushort EventReplyMessageId => V9.EventReplyMessageId;

    public override Dialect Settle(ushort wireId, int payloadSize) => wireId == LibkvmiGetVersion && payloadSize == 0 ? Libkvmi : V9;

    public override bool TryGetMessage(ushort wireId, out MessageId id) => throw new UnreachableException();

    public override bool TryGetWireId(MessageId id, out ushort wireId) => throw new UnreachableException();

    public override bool TryGetEvent(ushort wireId, out EventId id) => throw new UnreachableException();

    public override bool TryGetWireId(EventId id, out ushort wireId) => throw new UnreachableException();

    public override int CommandToCore(MessageId id, ReadOnlySpan<byte> wire, Span<byte> core) => throw new UnreachableException();

    public override int ReplyToWire(MessageId id, ReadOnlySpan<byte> core, Span<byte> wire) => throw new UnreachableException();

    public override int EventToWire(EventId id, ReadOnlySpan<byte> core, Span<byte> wire, ushort view = 0) => throw new UnreachableException();

    public override int EventReplyDataLimit(EventId id) => throw new UnreachableException();
}
