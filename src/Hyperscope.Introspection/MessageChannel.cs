using Hyperscope.LinuxHost;

namespace Hyperscope.Introspection;

/// <summary>One connection as whole messages. Sending never blocks; one thread at a time receives.</summary>
/// <remarks>
/// <para>A message is written with one send call under one lock. What a peer that does not read leaves no room for waits in a
/// backlog, in order, and goes out from a thread of its own, so that nobody who answers a command can be held up by the tool. A
/// backlog above its bound ends the connection.</para>
/// <para>Receiving fills a buffer and hands messages out in place: a span is good until the next <see cref="Fill"/>.</para>
/// </remarks>
internal sealed class MessageChannel(StreamSocket socket, int maxBacklog)
{
    private const int Capacity = 8 * KvmiConstants.MaxMessageSize;

    private readonly Lock _sendGate = new();
    private readonly byte[] _in = new byte[Capacity];
    private int _start;
    private int _end;
    private byte[] _backlog = [];
    private int _backlogStart;
    private int _backlogEnd;
    private bool _flushing;
    private uint _eventSeq;

    /// <summary>For epoll.</summary>
    public FileDescriptorHandle Handle => socket.Handle;

    /// <summary>Sends one message; false if the connection is gone or given up.</summary>
    public bool Send(ReadOnlySpan<byte> message)
    {
        lock (_sendGate)
            return SendLocked(message);
    }

    /// <summary>Numbers an event and sends it, so that numbers are contiguous in the stream.</summary>
    /// <param name="message">The event; its sequence number is filled in.</param>
    /// <param name="expected">Receives the number before the peer can see the event.</param>
    /// <param name="vcpu">Asked whether its event is still due while nothing else can be sent, so that an event never follows the reply to
    /// the command that made it pointless. Null: it is.</param>
    /// <param name="isSent">False if the event was not due: nothing was sent.</param>
    public bool SendEvent(Span<byte> message, ref uint expected, IntrospectedVcpu? vcpu, out bool isSent)
    {
        lock (_sendGate)
        {
            isSent = vcpu is null || vcpu.IsEventDue;
            if (!isSent)
                return true;
            uint seq = ++_eventSeq;
            Volatile.Write(ref expected, seq);
            BitConverter.TryWriteBytes(message[4..], seq);
            return SendLocked(message);
        }
    }

    /// <summary>Takes the next complete message out of the buffer. Only the thread that holds the reader's role.</summary>
    /// <exception cref="ProtocolException">The header announces too much.</exception>
    public bool TryTake(out MessageHeader header, out ReadOnlySpan<byte> payload)
    {
        payload = default;
        ReadOnlySpan<byte> available = _in.AsSpan(_start, _end - _start);
        if (!Message.TryReadHeader(available, out header))
            return false;
        if (!header.IsAcceptable)
        {
            throw new ProtocolException(
                $"message {header.Id} announces a payload of {header.Size} bytes, above the bound of {KvmiConstants.MaxPayloadSize}");
        }

        if (available.Length < header.MessageSize)
            return false;
        payload = available[KvmiConstants.HeaderSize..header.MessageSize];
        _start += header.MessageSize;
        return true;
    }

    /// <summary>Receives more. Only the thread that holds the reader's role; spans handed out before become invalid.</summary>
    /// <param name="block">Wait until there is something.</param>
    /// <returns>Bytes received; 0 when the connection is gone; -1 when nothing is there and <paramref name="block"/> is false.</returns>
    public int Fill(bool block)
    {
        if (_start == _end)
        {
            _start = _end = 0;
        }
        else if (Capacity - _start < KvmiConstants.MaxMessageSize)
        {
            _in.AsSpan(_start, _end - _start).CopyTo(_in);
            _end -= _start;
            _start = 0;
        }

        Span<byte> room = _in.AsSpan(_end);
        int received = block ? socket.Receive(room) : socket.TryReceive(room);
        if (received > 0)
            _end += received;
        return received;
    }

    /// <summary>Waits until there is something to receive; false when the time is up.</summary>
    public bool WaitReadable(int timeoutMilliseconds) => socket.WaitReadable(timeoutMilliseconds) != WaitOutcome.TimedOut;

    /// <summary>Ends the conversation in both directions; wakes whoever blocks on it.</summary>
    public void Shutdown() => socket.Shutdown();

    /// <summary>Closes the descriptor, once nobody uses it any more.</summary>
    public void Close() => socket.Dispose();

    private bool SendLocked(ReadOnlySpan<byte> message)
    {
        int sent = 0;
        if (_backlogStart == _backlogEnd && !socket.TrySend(message, out sent))
            return false;
        return sent == message.Length || Postpone(message[sent..]);
    }

    private bool Postpone(ReadOnlySpan<byte> rest)
    {
        IntrospectionMetrics.Backlogged.Add(1);
        int waiting = _backlogEnd - _backlogStart;
        if (waiting > maxBacklog - rest.Length)
            return false;
        if (_backlog.Length - _backlogEnd < rest.Length)
        {
            byte[] target = waiting + rest.Length <= _backlog.Length / 2
                ? _backlog
                : new byte[Math.Max(4 * KvmiConstants.MaxMessageSize, 2 * (waiting + rest.Length))];
            _backlog.AsSpan(_backlogStart, waiting).CopyTo(target);
            _backlog = target;
            _backlogStart = 0;
            _backlogEnd = waiting;
        }

        rest.CopyTo(_backlog.AsSpan(_backlogEnd));
        _backlogEnd += rest.Length;
        if (!_flushing)
        {
            _flushing = true;
            new Thread(Flush) { Name = "kvmi flush", IsBackground = true }.Start();
        }

        return true;
    }

    private void Flush()
    {
        try
        {
            while (true)
            {
                socket.WaitWritable(-1);
                lock (_sendGate)
                {
                    bool isConnected = socket.TrySend(_backlog.AsSpan(_backlogStart, _backlogEnd - _backlogStart), out int sent);
                    _backlogStart += sent;
                    if (isConnected && _backlogStart < _backlogEnd)
                        continue;
                    if (isConnected)
                        _backlogStart = _backlogEnd = 0;
                    _flushing = false;
                    return;
                }
            }
        }
        catch (Exception failure) when (failure is LinuxException or ObjectDisposedException)
        {
            socket.Shutdown(); // the reader finds the connection gone and says so
        }
    }
}
