using System.Globalization;
using Hyperscope.Kvmi;
using Hyperscope.LinuxHost;
using Hyperscope.Vm;

namespace Hyperscope.TestKit;

/// <summary>A message that a <see cref="ScriptedHypervisor"/> received.</summary>
/// <param name="Header">Its header.</param>
/// <param name="Payload">Its payload.</param>
public sealed record ReceivedMessage(MessageHeader Header, byte[] Payload)
{
    /// <summary>Its id.</summary>
    public MessageId Id => Header.MessageId;

    /// <summary>Its sequence number.</summary>
    public uint Seq => Header.Seq;

    /// <summary>Reads its fixed part.</summary>
    public T As<T>()
        where T : unmanaged => Message.Read<T>(Payload);
}

/// <summary>The hypervisor's end of a KVMI connection, played by a test step by step: it says exactly what it is told to, right or wrong.
/// All calls block, with a generous limit.</summary>
public sealed class ScriptedHypervisor(StreamSocket socket) : IDisposable
{
    private const int LimitMilliseconds = 60_000;

    private readonly byte[] _buffer = new byte[KvmiConstants.MaxMessageSize];
    private uint _eventSeq;

    /// <summary>The socket, for what no method here does.</summary>
    public StreamSocket Socket => socket;

    /// <summary>The last event's number; set it to fake a gap.</summary>
    public uint EventSeq
    {
        get => _eventSeq;
        set => _eventSeq = value;
    }

    /// <summary>Makes a connection: the tool's socket and its scripted hypervisor.</summary>
    public static (StreamSocket Tool, ScriptedHypervisor Hypervisor) Create()
    {
        (StreamSocket tool, StreamSocket hypervisor) = StreamSocket.CreatePair();
        return (tool, new ScriptedHypervisor(hypervisor));
    }

    /// <summary>Answers the two questions that a client starts with.</summary>
    public void Greet(uint vcpus = 2)
    {
        Reply(Expect(MessageId.GetVersion), new GetVersionReply(KvmiConstants.Version, new Features(singlestep: true)));
        Reply(Expect(MessageId.VmGetInfo), new VmGetInfoReply(vcpus));
    }

    /// <summary>Receives the next message.</summary>
    public ReceivedMessage Receive()
    {
        byte[] header = ReceiveExactly(KvmiConstants.HeaderSize);
        Message.TryReadHeader(header, out MessageHeader parsed);
        return new ReceivedMessage(parsed, ReceiveExactly(parsed.Size));
    }

    /// <summary>Receives the next message, which must be this.</summary>
    public ReceivedMessage Expect(MessageId id)
    {
        ReceivedMessage message = Receive();
        return message.Id == id ? message : throw new InvalidOperationException($"expected {id}, received {message.Id}");
    }

    /// <summary>Receives the next message, which must answer an event.</summary>
    /// <returns>Sequence number, vCPU, action and specific data.</returns>
    public (uint Seq, int Vcpu, EventAction Action, byte[] Data) ExpectAnswer()
    {
        ReceivedMessage message = Expect(MessageId.Event);
        EventReply reply = Message.Read<EventReply>(message.Payload.AsSpan(8));
        return (message.Seq, message.As<VcpuHeader>().Index.Value, reply.Action, message.Payload[KvmiConstants.EventReplySize..]);
    }

    /// <summary>Answers a command with success.</summary>
    public void Reply(ReceivedMessage command) => Send(Message.WriteReply(_buffer, command.Id, command.Seq));

    /// <summary>Answers a command with success and bytes.</summary>
    public void Reply(ReceivedMessage command, ReadOnlySpan<byte> data) =>
        Send(Message.WriteReply(_buffer, command.Id, command.Seq, data));

    /// <summary>Answers a command with success and a structure.</summary>
    public void Reply<T>(ReceivedMessage command, in T data)
        where T : unmanaged => Send(Message.WriteReply(_buffer, command.Id, command.Seq, data));

    /// <summary>Refuses a command.</summary>
    public void Refuse(ReceivedMessage command, KvmError error) => Send(Message.WriteError(_buffer, command.Id, command.Seq, error));

    /// <summary>Sends an event with the next number.</summary>
    public uint SendEvent<T>(in T data, int vcpu = 0, ulong rip = 0)
        where T : unmanaged, IEvent<T>
    {
        var header = new EventHeader(new VcpuIndex((ushort)vcpu), T.Id);
        header.Arch.Mode = CpuMode.Bits64;
        header.Arch.Regs.Rip = rip;
        _eventSeq++;
        Send(Message.WriteEvent(_buffer, _eventSeq, header, data));
        return _eventSeq;
    }

    /// <summary>Sends bytes, well-formed or not.</summary>
    public void SendRaw(ReadOnlySpan<byte> bytes)
    {
        if (!socket.Send(bytes))
            throw new InvalidOperationException("the tool has closed the connection");
    }

    /// <summary>Sends bytes written as hex digits, spaces ignored.</summary>
    public void SendHex(string hex) => SendRaw(Convert.FromHexString(hex.Replace(" ", "", StringComparison.Ordinal)));

    /// <summary>Whether the tool closes the connection; what it says before is ignored.</summary>
    public bool SeesEnd()
    {
        while (socket.WaitReadable(LimitMilliseconds) == WaitOutcome.Ready)
        {
            if (socket.Receive(_buffer) == 0)
                return true;
        }

        return false;
    }

    /// <summary>Whether a message waits to be received.</summary>
    public bool HasMessage => socket.WaitReadable(0) == WaitOutcome.Ready;

    /// <inheritdoc/>
    public void Dispose() => socket.Dispose();

    private void Send(int size) => SendRaw(_buffer.AsSpan(0, size));

    private byte[] ReceiveExactly(int size)
    {
        byte[] bytes = new byte[size];
        for (int done = 0; done < size;)
        {
            if (socket.WaitReadable(LimitMilliseconds) != WaitOutcome.Ready)
                throw new TimeoutException(string.Create(CultureInfo.InvariantCulture, $"received {done} of {size} bytes"));
            int received = socket.Receive(bytes.AsSpan(done));
            if (received == 0)
                throw new EndOfStreamException($"the tool closed the connection after {done} of {size} bytes");
            done += received;
        }

        return bytes;
    }
}
