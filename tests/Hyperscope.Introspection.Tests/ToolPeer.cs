using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;

namespace Hyperscope.Introspection.Tests;

/// <summary>The tool's end of a connection, as raw as a test needs it. Every wait is bounded.</summary>
internal sealed class ToolPeer(StreamSocket socket) : IDisposable
{
    private const int Timeout = 30_000;

    private readonly byte[] _out = new byte[KvmiConstants.MaxMessageSize];
    private uint _seq = 0x4000;

    public StreamSocket Socket => socket;

    public uint LastSeq => _seq;

    /// <summary>Sends a command, returns its reply; events that come first are an error.</summary>
    public Reply Call<T>(in T command, ReadOnlySpan<byte> tail = default)
        where T : unmanaged, ICommand<T>
    {
        Post(command, tail);
        return ReceiveReply(T.Id, _seq);
    }

    /// <summary>Sends a command and returns the error of its reply.</summary>
    public KvmError Error<T>(in T command, ReadOnlySpan<byte> tail = default)
        where T : unmanaged, ICommand<T> => Call(command, tail).Error;

    /// <summary>Sends a command with the byte at <paramref name="offset"/> of its payload replaced, and returns the error.</summary>
    public KvmError Dirty<T>(in T command, int offset, byte value = 1)
        where T : unmanaged, ICommand<T>
    {
        int length = Message.WriteCommand(_out, ++_seq, command);
        _out[KvmiConstants.HeaderSize + offset] = value;
        SendRaw(_out.AsSpan(0, length));
        return ReceiveReply(T.Id, _seq).Error;
    }

    /// <summary>Sends a command without waiting; <see cref="LastSeq"/> is its number.</summary>
    public void Post<T>(in T command, ReadOnlySpan<byte> tail = default)
        where T : unmanaged, ICommand<T> => SendRaw(_out.AsSpan(0, Message.WriteCommand(_out, ++_seq, command, tail)));

    /// <summary>Sends a payload under any id.</summary>
    public void PostRaw(ushort id, ReadOnlySpan<byte> payload) => PostRaw(id, ++_seq, payload);

    public void PostRaw(ushort id, uint seq, ReadOnlySpan<byte> payload)
    {
        byte[] message = new byte[8 + payload.Length];
        MemoryMarshal.Write(message, new MessageHeader(id, (ushort)payload.Length, seq));
        payload.CopyTo(message.AsSpan(8));
        SendRaw(message);
    }

    public void SendRaw(ReadOnlySpan<byte> bytes) => Assert.True(socket.Send(bytes));

    public void Answer(in Event @event, EventAction action, ReadOnlySpan<byte> data = default) =>
        SendRaw(_out.AsSpan(0, Message.WriteEventReply(_out, @event.Seq, @event.Header.Vcpu, @event.Header.Event, action, data)));

    public void Answer(in Event @event, EventAction action, ulong newValue) => Answer(@event, action, BitConverter.GetBytes(newValue));

    public Reply ReceiveReply(MessageId id, uint seq)
    {
        (MessageHeader header, byte[] payload) = Receive();
        Assert.Equal((id, seq), (header.MessageId, header.Seq));
        Assert.True(Message.TryReadReply(payload, out KvmError error, out ReadOnlySpan<byte> data));
        if (error != KvmError.None)
            Assert.Equal(8, payload.Length);
        return new Reply(error, data.ToArray());
    }

    public Event ReceiveEvent(EventId id)
    {
        (MessageHeader header, byte[] payload) = Receive();
        Event @event = AsEvent(header, payload);
        Assert.Equal(id, @event.Header.Event);
        return @event;
    }

    public static Event AsEvent(in MessageHeader header, byte[] payload)
    {
        Assert.Equal(MessageId.Event, header.MessageId);
        Assert.True(Message.TryReadEvent(payload, out ReadOnlySpan<byte> data));
        EventHeader common = Message.EventHeaderIn(payload);
        Assert.True(common.IsWellFormed);
        Assert.True(EventCatalog.TryGet(common.Event, out EventInfo info));
        Assert.Equal(info.PayloadSize, payload.Length);
        return new Event(header.Seq, common, data.ToArray());
    }

    public (MessageHeader Header, byte[] Payload) Receive()
    {
        byte[] header = Exactly(8) ?? throw new Xunit.Sdk.XunitException("the connection is closed");
        Assert.True(Message.TryReadHeader(header, out MessageHeader message));
        Assert.True(message.IsAcceptable);
        return (message, Exactly(message.Size) ?? throw new Xunit.Sdk.XunitException("the connection closed inside a message"));
    }

    /// <summary>Nothing but the end of the stream is left.</summary>
    public void AssertClosed() => Assert.Null(Exactly(1));

    /// <summary>Like <see cref="Receive"/>, null at the end of the stream.</summary>
    public (MessageHeader Header, byte[] Payload)? TryReceive()
    {
        if (Exactly(8) is not { } header)
            return null;
        Message.TryReadHeader(header, out MessageHeader message);
        return Exactly(message.Size) is { } payload ? (message, payload) : null;
    }

    public void Dispose() => socket.Dispose();

    [SuppressMessage("Performance", "CA1859", Justification = "null says closed")]
    private byte[]? Exactly(int count)
    {
        byte[] bytes = new byte[count];
        for (int done = 0; done < count;)
        {
            Assert.Equal(WaitOutcome.Ready, socket.WaitReadable(Timeout));
            int received = socket.Receive(bytes.AsSpan(done));
            if (received == 0)
                return null;
            done += received;
        }

        return bytes;
    }
}

/// <summary>A command reply.</summary>
internal readonly record struct Reply(KvmError Error, byte[] Data)
{
    public T As<T>()
        where T : unmanaged
    {
        Assert.Equal(KvmError.None, Error);
        return Message.Read<T>(Data);
    }
}

/// <summary>An event.</summary>
internal readonly record struct Event(uint Seq, EventHeader Header, byte[] Data)
{
    public T As<T>()
        where T : unmanaged, IEvent<T>
    {
        Assert.Equal(T.Id, Header.Event);
        var value = Message.Read<T>(Data);
        Assert.True(value.IsWellFormed);
        return value;
    }
}
