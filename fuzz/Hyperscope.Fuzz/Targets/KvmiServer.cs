using Hyperscope.Introspection;
using Hyperscope.TestKit;

namespace Hyperscope.Fuzz.Targets;

/// <summary>A tool's bytes in the hypervisor half: each message is answered, or the connection closes; no vCPU stays behind.</summary>
public static class KvmiServer
{
    private const uint BarrierSeq = 0xF0F0F0F0;
    private const int TimeoutMilliseconds = 60_000;

    private static readonly FakeVirtualMachine Vm = new FakeVirtualMachine(KvmiStreams.VcpuCount).Start();
    private static readonly SemaphoreSlim Changed = new(0);
    private static readonly Introspector Introspector = Create();
    private static readonly byte[] Incoming = new byte[64 * 1024];
    private static long _replies, _refusals, _events, _closed;

    public static string Summary() => $"{_replies} replies ({_refusals} errors), {_events} events, {_closed} connections closed by the VM";

    public static void Run(ReadOnlySpan<byte> input)
    {
        byte[] stream = Complete(input, out int expected);
        using StreamSocket socket = Hook();
        if (!socket.Send(stream) || !ReadAnswers(socket, expected))
            _closed++;
        Introspector.Unhook();
        if (Vm.AccessMap.RestrictedFrames != 0)
            throw new InvalidOperationException($"{Vm.AccessMap.RestrictedFrames} frames are restricted after the unhook");
    }

    private static Introspector Create()
    {
        var introspector = new Introspector(Vm);
        introspector.CleanedUp += static () => Changed.Release();
        return introspector;
    }

    private static StreamSocket Hook()
    {
        (StreamSocket ours, StreamSocket tools) = StreamSocket.CreatePair();
        ControlError error;
        while ((error = Introspector.Hook(ours)) == ControlError.AlreadyHooked)
        {
            if (!Changed.Wait(TimeoutMilliseconds))
                throw new TimeoutException("a vCPU never cleaned up after the last tool");
        }

        if (error != ControlError.None)
            throw new InvalidOperationException($"hooking failed with {error}");
        _ = Introspector.SetCommandPermission(-1, 1);
        _ = Introspector.SetEventPermission(-1, 1);
        return tools;
    }

    /// <summary>Fills up the last message with zeros and adds one whose reply shows that all before it were read.</summary>
    private static byte[] Complete(ReadOnlySpan<byte> input, out int expected)
    {
        expected = 1;
        int at = 0;
        Span<byte> start = stackalloc byte[8];
        while (at < input.Length)
        {
            start.Clear();
            input[at..Math.Min(input.Length, at + 8)].CopyTo(start);
            _ = Message.TryReadHeader(start, out MessageHeader header);
            if (!header.IsAcceptable)
                return input.ToArray(); // it closes the connection
            expected += header.MessageId == MessageId.Event ? 0 : 1;
            at += header.MessageSize;
        }

        byte[] stream = new byte[at + 8];
        input.CopyTo(stream);
        Message.WriteCommand(stream.AsSpan(at), BarrierSeq, default(GetVersion));
        return stream;
    }

    /// <summary>False: the VM closed the connection.</summary>
    private static bool ReadAnswers(StreamSocket socket, int expected)
    {
        int end = 0;
        while (expected > 0)
        {
            if (socket.WaitReadable(TimeoutMilliseconds) == WaitOutcome.TimedOut)
                throw new TimeoutException($"{expected} messages got no answer and the connection is open");
            int received = socket.Receive(Incoming.AsSpan(end));
            if (received == 0)
                return false;
            end += received;
            int start = 0;
            while (Message.TryReadHeader(Incoming.AsSpan(start, end - start), out MessageHeader header) && end - start >= header.MessageSize)
            {
                ReadOnlySpan<byte> payload = Incoming.AsSpan(start + 8, header.Size);
                if (header.MessageId != MessageId.Event)
                {
                    expected--;
                    CountReply(header, payload);
                }
                else if (payload.Length > 8 && !Answer(socket, header.Seq, payload))
                {
                    return false;
                }

                start += header.MessageSize;
            }

            Incoming.AsSpan(start, end - start).CopyTo(Incoming);
            end -= start;
        }

        return true;
    }

    private static void CountReply(in MessageHeader header, ReadOnlySpan<byte> payload)
    {
        if (!Message.TryReadReply(payload, out KvmError error, out _) || !Enum.IsDefined(error))
            throw new InvalidOperationException($"a reply to {header.MessageId} of {payload.Length} bytes carries error {error}");
        _replies++;
        _refusals += error == KvmError.None ? 0 : 1;
    }

    private static bool Answer(StreamSocket socket, uint seq, ReadOnlySpan<byte> payload)
    {
        _events++;
        ref readonly EventHeader header = ref Message.EventHeaderIn(payload);
        if (header.Event == EventId.Unhook)
            return true;
        Span<byte> reply = stackalloc byte[KvmiConstants.HeaderSize + KvmiConstants.EventReplySize];
        Message.WriteEventReply(reply, seq, header.Vcpu, header.Event, EventAction.Continue);
        return socket.Send(reply);
    }
}
