using System.Buffers.Binary;
using System.Collections.Concurrent;
using Hyperscope.LinuxHost;

namespace Hyperscope.Conformance;

/// <summary>One command reply as it came.</summary>
/// <param name="Header">Its header.</param>
/// <param name="Payload">Everything behind the header.</param>
public sealed record RawReply(MessageHeader Header, byte[] Payload)
{
    /// <summary>The error block's number: 0, or a negated error.</summary>
    public int Error => Payload.Length >= 4 ? BinaryPrimitives.ReadInt32LittleEndian(Payload) : int.MinValue;

    /// <summary>What follows the error block.</summary>
    public ReadOnlySpan<byte> Data => Payload.AsSpan(Math.Min(8, Payload.Length));
}

/// <summary>One event as it came.</summary>
/// <param name="Header">The message header.</param>
/// <param name="Payload">Everything behind the header.</param>
public sealed record RawEvent(MessageHeader Header, byte[] Payload)
{
    /// <summary>The common part.</summary>
    public EventHeader Common => Message.EventHeaderIn(Payload);

    /// <summary>Which event.</summary>
    public EventId Id => Common.Event;

    /// <summary>The specific part.</summary>
    public T Data<T>()
        where T : unmanaged => Message.Read<T>(Payload.AsSpan(KvmiConstants.EventHeaderSize));
}

/// <summary>A KVMI v9 tool that can also be wrong on purpose: it sends whatever bytes it is given and hides nothing of what comes back.</summary>
/// <remarks>Independent of the client library, so that the suite does not share its mistakes. Calls block; one thread uses it.</remarks>
public sealed class RawPeer : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly StreamSocket _socket;
    private readonly Thread _reader;
    private readonly BlockingCollection<RawEvent> _events = [];
    private readonly ConcurrentDictionary<uint, BlockingCollection<RawReply>> _replies = new();
    private readonly BlockingCollection<RawReply> _refusals = [];
    private readonly ManualResetEventSlim _closed = new();
    private readonly Queue<RawEvent> _setAside = new();
    private uint _seq = 0x4000_0000;
    private uint _lastEvent;

    /// <summary>Takes over a connected socket.</summary>
    public RawPeer(StreamSocket socket)
    {
        _socket = socket;
        _reader = new Thread(Read) { IsBackground = true, Name = "conformance reader" };
        _reader.Start();
    }

    /// <summary>True once the other side has closed the connection.</summary>
    public bool IsClosed => _closed.IsSet;

    /// <summary>What went wrong in the stream itself, such as a gap in the sequence numbers of events; null: nothing.</summary>
    public string? StreamFault { get; private set; }

    /// <summary>Sends a command and waits for its reply.</summary>
    /// <exception cref="ConformanceException">No reply in time, a closed connection, or a reply of the wrong shape.</exception>
    public RawReply Call(MessageId id, ReadOnlySpan<byte> payload)
    {
        uint seq = Send(id, payload);
        return Await(seq, id);
    }

    /// <summary>Sends a command without waiting; gives its sequence number for <see cref="Await"/>.</summary>
    public uint Send(MessageId id, ReadOnlySpan<byte> payload)
    {
        uint seq = ++_seq;
        _replies[seq] = [];
        SendRaw(Frame((ushort)id, seq, payload));
        return seq;
    }

    /// <summary>Waits for the reply to a command.</summary>
    public RawReply Await(uint seq, MessageId id)
    {
        if (!TryTake(_replies[seq], out RawReply? reply))
            throw new ConformanceException(IsClosed ? $"connection closed instead of a reply to {id}" : $"no reply to {id} within {Patience.TotalSeconds} s");
        _replies.TryRemove(seq, out _);
        if (reply!.Header.MessageId != id)
            throw new ConformanceException($"reply to {id} has id {reply.Header.Id}");
        if (reply.Error != 0 && reply.Payload.Length != 8)
            throw new ConformanceException($"error reply to {id} has a payload of {reply.Payload.Length} bytes, not 8");
        return reply;
    }

    /// <summary>True if a reply to the command has come.</summary>
    public bool HasReply(uint seq) => _replies.TryGetValue(seq, out BlockingCollection<RawReply>? replies) && replies.Count > 0;

    /// <summary>Waits for the next event and checks its kind and exact length.</summary>
    public RawEvent WaitEvent(EventId expected, int payload)
    {
        RawEvent message = NextEvent($"event {expected}");
        if (message.Id != expected)
            throw new ConformanceException($"event {message.Id} instead of {expected}");
        if (message.Payload.Length != payload)
            throw new ConformanceException($"event {expected} has a payload of {message.Payload.Length} bytes, not {payload}");
        return message;
    }

    /// <summary>Waits for the next event of any kind.</summary>
    public RawEvent NextEvent(string awaited = "an event")
    {
        if (_setAside.TryDequeue(out RawEvent? first))
            return first;
        if (!TryTake(_events, out RawEvent? message))
            throw new ConformanceException(IsClosed ? $"connection closed instead of {awaited}" : $"no {awaited} within {Patience.TotalSeconds} s");
        return message!;
    }

    /// <summary>Takes an event if one is there.</summary>
    public bool TryNextEvent(out RawEvent? message) => _setAside.TryDequeue(out message) || _events.TryTake(out message);

    /// <summary>Waits for a refused event reply: an id-0 message with an error block only (kvmi-abi.md 1.8).</summary>
    public RawReply WaitRefusal() => TryTake(_refusals, out RawReply? reply) ? reply! : throw new ConformanceException("no refusal of the event reply");

    /// <summary>Answers an event.</summary>
    public void Answer(RawEvent message, EventAction action, ReadOnlySpan<byte> data = default)
    {
        byte[] buffer = new byte[64];
        int length = Message.WriteEventReply(buffer, message.Header.Seq, message.Common.Vcpu, message.Id, action, data);
        SendRaw(buffer.AsSpan(0, length));
    }

    /// <summary>Waits for the other side to close the connection.</summary>
    public void WaitClosed(string why)
    {
        if (!_closed.Wait(Patience))
            throw new ConformanceException($"connection still open although {why}");
    }

    /// <summary>Sends bytes as they are. A connection that is gone is not an error here: what follows will show it.</summary>
    public void SendRaw(ReadOnlySpan<byte> bytes) => _ = _socket.Send(bytes);

    /// <summary>Header and payload as one message.</summary>
    public static byte[] Frame(ushort id, uint seq, ReadOnlySpan<byte> payload)
    {
        byte[] message = new byte[8 + payload.Length];
        BinaryPrimitives.WriteUInt16LittleEndian(message, id);
        BinaryPrimitives.WriteUInt16LittleEndian(message.AsSpan(2), (ushort)payload.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(message.AsSpan(4), seq);
        payload.CopyTo(message.AsSpan(8));
        return message;
    }

    /// <summary>Closes the connection.</summary>
    public void Dispose()
    {
        _socket.Shutdown();
        _reader.Join();
        _socket.Dispose();
        _events.Dispose();
        _refusals.Dispose();
        _closed.Dispose();
    }

    private static bool TryTake<T>(BlockingCollection<T> queue, out T? item)
    {
        // A closed connection completes the queues, which ends the wait at once.
        return queue.TryTake(out item, Patience);
    }

    private void Read()
    {
        byte[] header = new byte[8];
        while (ReadExactly(header))
        {
            _ = Message.TryReadHeader(header, out MessageHeader parsed);
            byte[] payload = new byte[parsed.Size];
            if (!ReadExactly(payload))
                break;
            if (parsed.MessageId == MessageId.Event && payload.Length >= KvmiConstants.EventHeaderSize)
            {
                if (parsed.Seq != unchecked(_lastEvent + 1))
                    StreamFault ??= $"event with seq {parsed.Seq} after {_lastEvent}";
                _lastEvent = parsed.Seq;
                _events.Add(new RawEvent(parsed, payload));
            }
            else if (parsed.MessageId == MessageId.Event)
            {
                _refusals.Add(new RawReply(parsed, payload));
            }
            else if (_replies.TryGetValue(parsed.Seq, out BlockingCollection<RawReply>? replies))
            {
                replies.Add(new RawReply(parsed, payload));
            }
            else
            {
                StreamFault ??= $"reply with unknown seq 0x{parsed.Seq:x}";
            }
        }

        _events.CompleteAdding();
        _refusals.CompleteAdding();
        foreach (BlockingCollection<RawReply> replies in _replies.Values)
            replies.CompleteAdding();
        _closed.Set();
    }

    private bool ReadExactly(Span<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            int received = _socket.Receive(buffer);
            if (received <= 0)
                return false;
            buffer = buffer[received..];
        }

        return true;
    }
}
