using System.Runtime.InteropServices;

namespace Hyperscope.Introspection;

// Connections whose wire is not the core: each message is rewritten on its way in and on its way out.
public sealed partial class IntrospectionSession
{
    private readonly byte[] _translated = new byte[KvmiConstants.MaxPayloadSize]; // of whoever holds the reader's role
    private bool _repliesAreOff;

    /// <summary>Rewrites an event in place.</summary>
    /// <returns>Its length on the wire.</returns>
    internal int TranslateEvent(Span<byte> message, int length, EventId id, ushort view)
    {
        Span<byte> payload = message[KvmiConstants.HeaderSize..length];
        int size = Dialect.EventToWire(id, payload, payload, view);
        MemoryMarshal.Write(message, new MessageHeader(Dialect.EventMessageId, (ushort)size, 0));
        return KvmiConstants.HeaderSize + size;
    }

    /// <summary>Handles one message of a foreign dialect. The caller holds the reader's role.</summary>
    /// <remarks>Whether a command is answered is settled here, when it is received, also for commands that a vCPU executes later.</remarks>
    /// <exception cref="ProtocolException">The connection must close.</exception>
    private void Translate(in MessageHeader wire, ReadOnlySpan<byte> payload, IntrospectedVcpu? reader, Span<byte> buffer)
    {
        if (!Dialect.IsSettled)
        {
            Dialect = Dialect.Settle(wire.Id, wire.Size);
            CleansUp = Dialect.CleansUpByDefault;
            _logger.DialectFound(ToolName, Dialect.Name);
            if (Dialect.IsCore)
            {
                Dispatch(wire, payload, reader, buffer, isSilent: false);
                return;
            }
        }

        bool isSilent = _repliesAreOff;
        if (Dialect.TryReadReplyControl(wire.Id, payload, out ReplyControl control))
        {
            _repliesAreOff = !control.Enable;
            if (control.IsAnswered(isSilent))
                Answer(wire, KvmError.None, buffer);
            return;
        }

        MessageId id = MessageId.Event;
        if (wire.Id != Dialect.EventReplyMessageId && !Dialect.TryGetMessage(wire.Id, out id))
        {
            RefuseUnknown(wire, buffer, isSilent);
            return;
        }

        int size = Dialect.CommandToCore(id, payload, _translated);
        var header = new MessageHeader(id, Math.Max(size, 0), wire.Seq);
        if (size < 0)
            Refuse(header, (KvmError)(-size), buffer, isSilent);
        else if (id == MessageId.Event)
            ToVcpu(header, _translated.AsSpan(0, size), reader, buffer, null, isSilent: true); // a tool awaits no error for it
        else
            Dispatch(header, _translated.AsSpan(0, size), reader, buffer, isSilent);
    }

    private void ReplyTranslated(in MessageHeader header, Span<byte> buffer, int dataSize, bool isSilent)
    {
        if (isSilent)
        {
            if (dataSize != 0)
                throw new ProtocolException($"command {header.MessageId} returns data and came while replies were off");
            return;
        }

        Span<byte> data = Message.ReplyDataOf(buffer);
        int size = Dialect.ReplyToWire(header.MessageId, data[..dataSize], data);
        int length = Message.CompleteReply(buffer, header.MessageId, header.Seq, size);
        WriteWireId(buffer, header.MessageId);
        Send(buffer[..length]);
    }

    private void WriteWireId(Span<byte> message, MessageId id)
    {
        if (Dialect.TryGetWireId(id, out ushort wireId))
            MemoryMarshal.Write(message, wireId);
    }

    /// <summary>Unknown or disallowed: a tool that has switched replies off would never know.</summary>
    private void RefuseOutright(in MessageHeader header, KvmError error, Span<byte> buffer, bool isSilent)
    {
        if (isSilent)
            throw new ProtocolException($"command {header.MessageId} was refused with {error} while replies were off");
        Refuse(header, error, buffer, isSilent);
    }

    private void RefuseUnknown(in MessageHeader wire, Span<byte> buffer, bool isSilent)
    {
        IntrospectionMetrics.Commands.Add(1);
        IntrospectionMetrics.Refusals.Add(1);
        KvmError error = Dialect.RefusalOf(wire.Id);
        if (isSilent)
            throw new ProtocolException($"message {wire.Id} was refused with {error} while replies were off");
        Answer(wire, error, buffer);
    }

    private void Answer(in MessageHeader wire, KvmError error, Span<byte> buffer) =>
        Send(buffer[..Message.WriteError(buffer, (MessageId)wire.Id, wire.Seq, error)]);
}
