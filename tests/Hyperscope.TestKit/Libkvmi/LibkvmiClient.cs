using System.Buffers.Binary;
using Hyperscope.LinuxHost;

namespace Hyperscope.TestKit.Libkvmi;

/// <summary>A limit of libkvmi (kvmi-dialect-libkvmi.md 3) was broken by the server: the real library would have lost the stream.</summary>
public sealed class LibkvmiLimitException(string limit, string what) : Exception($"{limit}: {what}")
{
    /// <summary>L1 to L11.</summary>
    public string Limit => limit;
}

/// <summary>A reply as the library hands it on.</summary>
/// <param name="Error">0, or a negative error number.</param>
/// <param name="Data">What follows the error block.</param>
public readonly record struct LibkvmiReply(int Error, byte[] Data);

/// <summary>An event, taken apart as the library does.</summary>
/// <param name="Seq">To be repeated in the answer.</param>
/// <param name="Id">The event's number in this dialect.</param>
/// <param name="Vcpu">The vCPU.</param>
/// <param name="Payload">Everything behind the message header.</param>
/// <param name="Data">What follows the common block.</param>
public sealed record LibkvmiEvent(uint Seq, int Id, ushort Vcpu, byte[] Payload, byte[] Data)
{
    public ulong Rip => BinaryPrimitives.ReadUInt64LittleEndian(Payload.AsSpan(16 + (16 * 8)));

    public ulong Register(int index) => BinaryPrimitives.ReadUInt64LittleEndian(Payload.AsSpan(16 + (index * 8)));
}

/// <summary>The tool's end of a connection, behaving as libkvmi does: it blocks and polls where the library does, for as long, and
/// fails where the library would lose the stream. Written from kvmi-dialect-libkvmi.md alone.</summary>
public sealed class LibkvmiClient(StreamSocket socket) : IDisposable
{
    public const int Continue = 0, Retry = 1, Crash = 2;
    public const int Unhook = 0, Cr = 1, Msr = 2, Xsetbv = 3, Breakpoint = 4, Hypercall = 5, PageFault = 6, Trap = 7, Descriptor = 8,
        CreateVcpu = 9, PauseVcpu = 10, Singlestep = 11, Cpuid = 13;

    private const int CommandTimeout = 15_000, BodyWhileWaiting = 150, MaxEvent = 8184, MaxQueue = 16384;

    private static readonly int[] EventSizes = [544, 568, 568, 544, 560, 544, 568, 560, 552, 544, 544, 552, -1, 560];
    private readonly Queue<LibkvmiEvent> _events = [];
    private uint _seq = 0xFFFF_FFF0; // wraps soon: nothing may depend on the order of numbers (L8)

    public StreamSocket Socket => socket;

    public byte[] Greeting { get; private set; } = [];

    /// <summary>Events waiting to be taken.</summary>
    public int QueuedEvents => _events.Count;

    /// <summary>Accepts the greeting and answers it, in as many pieces as told.</summary>
    public void Handshake(ReadOnlySpan<byte> cookie = default, int size = 24, bool inPieces = false)
    {
        byte[] head = Exactly(4, CommandTimeout, "greeting");
        int announced = BinaryPrimitives.ReadInt32LittleEndian(head);
        if (announced is < 32 or > 65536)
            throw new InvalidDataException($"greeting of {announced} bytes");
        Greeting = [.. head, .. Exactly(announced - 4, CommandTimeout, "greeting")];
        byte[] answer = new byte[size];
        BinaryPrimitives.WriteInt32LittleEndian(answer, size);
        cookie.CopyTo(answer.AsSpan(4));
        if (inPieces)
        {
            foreach (byte one in answer)
                Write([one]);
        }
        else
        {
            Write(answer);
        }
    }

    /// <summary>Sends a command and waits for its reply; events on the way are queued.</summary>
    public LibkvmiReply Command(ushort id, ReadOnlySpan<byte> payload = default)
    {
        uint seq = NextSeq();
        Write(Compose(id, seq, payload));
        return WaitReply(id, seq);
    }

    /// <summary>Sends without waiting; returns the number.</summary>
    public uint Post(ushort id, ReadOnlySpan<byte> payload = default)
    {
        uint seq = NextSeq();
        Write(Compose(id, seq, payload));
        return seq;
    }

    /// <summary>GET_REGISTERS with its exact size (L5).</summary>
    public byte[] GetRegisters(ushort vcpu, params uint[] msrs)
    {
        byte[] payload = new byte[16 + (4 * msrs.Length)];
        BinaryPrimitives.WriteUInt16LittleEndian(payload, vcpu);
        BinaryPrimitives.WriteUInt16LittleEndian(payload.AsSpan(8), (ushort)msrs.Length);
        for (int i = 0; i < msrs.Length; i++)
            BinaryPrimitives.WriteUInt32LittleEndian(payload.AsSpan(16 + (4 * i)), msrs[i]);
        LibkvmiReply reply = Command(13, payload);
        if (reply.Error != 0)
            throw new InvalidOperationException($"GET_REGISTERS failed with {reply.Error}");
        return reply.Data.Length == 472 + (16 * msrs.Length)
            ? reply.Data
            : throw new LibkvmiLimitException("L5", $"GET_REGISTERS of {msrs.Length} MSRs returned {reply.Data.Length} bytes");
    }

    /// <summary>Sends several messages in one write between CONTROL_CMD_RESPONSE(0,1) and a closing one.</summary>
    /// <param name="wait">Close with (1,1) and wait for that reply; false: close with (1,0).</param>
    /// <param name="messages">Id, payload and, for event answers, the event's number.</param>
    /// <param name="inPieces">Write single bytes: what a slow or interrupted client does.</param>
    public int Batch(bool wait, IReadOnlyList<(ushort Id, byte[] Payload, uint? Seq)> messages, bool inPieces = false)
    {
        List<byte> bytes = [.. Compose(27, NextSeq(), [0, 1, 0, 0, 0, 0, 0, 0])];
        foreach ((ushort id, byte[] payload, uint? number) in messages)
            bytes.AddRange(Compose(id, number ?? NextSeq(), payload));
        uint last = NextSeq();
        bytes.AddRange(Compose(27, last, [1, (byte)(wait ? 1 : 0), 0, 0, 0, 0, 0, 0]));
        if (inPieces)
        {
            foreach (byte one in bytes)
                Write([one]);
        }
        else
        {
            Write(bytes.ToArray());
        }

        return wait ? WaitReply(27, last).Error : 0;
    }

    /// <summary>What every tool does to stop a VM.</summary>
    public int PauseAll(int vcpus, bool inPieces = false) => Batch(
        wait: true,
        [.. Enumerable.Range(0, vcpus).Select(static vcpu => ((ushort)7, OfVcpu(vcpu, 1, 0, 0, 0, 0, 0, 0, 0), (uint?)null))],
        inPieces);

    /// <summary>The next event: a queued one, or one that comes within the time.</summary>
    public LibkvmiEvent NextEvent(int milliseconds = 30_000)
    {
        if (_events.TryDequeue(out LibkvmiEvent? queued))
            return queued;
        byte[] header = Exactly(8, milliseconds, "event");
        return BinaryPrimitives.ReadUInt16LittleEndian(header) == 1
            ? ReadEvent(header, 0)
            : throw new LibkvmiLimitException("L6", $"message {BinaryPrimitives.ReadUInt16LittleEndian(header)} while none is awaited");
    }

    /// <summary>The next event, which must be this one.</summary>
    public LibkvmiEvent NextEvent(int id, int vcpu)
    {
        LibkvmiEvent next = NextEvent();
        return next.Id == id && (vcpu < 0 || next.Vcpu == vcpu)
            ? next
            : throw new InvalidOperationException($"event {next.Id} of vCPU {next.Vcpu} instead of {id} of {vcpu}");
    }

    /// <summary>Nothing is there to be received, and nothing is queued.</summary>
    public bool IsQuiet => _events.Count == 0 && socket.WaitReadable(0) == WaitOutcome.TimedOut;

    /// <summary>Answers an event with what the library sends for that kind.</summary>
    public void Answer(LibkvmiEvent to, int action, ulong? newValue = null, PageFaultAnswer? fault = null) =>
        Write(Compose(0, to.Seq, AnswerOf(to, action, newValue, fault)));

    /// <summary>The payload of an answer.</summary>
    public static byte[] AnswerOf(LibkvmiEvent to, int action, ulong? newValue = null, PageFaultAnswer? fault = null)
    {
        int specific = to.Id switch { Cr or Msr => 8, PageFault => 272, _ => 0 };
        byte[] payload = new byte[16 + specific];
        BinaryPrimitives.WriteUInt16LittleEndian(payload, to.Vcpu);
        payload[8] = (byte)action;
        payload[9] = (byte)to.Id;
        if (to.Id is Cr or Msr)
            BinaryPrimitives.WriteUInt64LittleEndian(payload.AsSpan(16), newValue ?? BinaryPrimitives.ReadUInt64LittleEndian(to.Data.AsSpan(16)));
        fault?.Write(payload.AsSpan(16));
        return payload;
    }

    /// <summary>A payload that starts with the vCPU block.</summary>
    public static byte[] OfVcpu(int vcpu, params byte[] rest) => [(byte)vcpu, (byte)(vcpu >> 8), 0, 0, 0, 0, 0, 0, .. rest];

    public byte[] Read(ulong gpa, ulong size)
    {
        LibkvmiReply reply = Command(17, Range(gpa, size));
        return reply.Error == 0 ? reply.Data : throw new InvalidOperationException($"READ_PHYSICAL failed with {reply.Error}");
    }

    public int WriteMemory(ulong gpa, ReadOnlySpan<byte> data) => Command(18, [.. Range(gpa, (ulong)data.Length), .. data]).Error;

    public int ControlEvent(int vcpu, int id, bool enable) => Command(9, OfVcpu(vcpu, (byte)id, 0, Flag(enable), 0, 0, 0, 0, 0)).Error;

    public int SetPageAccess(ulong gpa, byte access) => Command(21, PageAccess(gpa, access)).Error;

    public static byte[] PageAccess(ulong gpa, byte access) =>
        [0, 0, 1, 0, 0, 0, 0, 0, .. BitConverter.GetBytes(gpa), access, 0, 0, 0, 0, 0, 0, 0];

    public static byte[] Range(ulong gpa, ulong size) => [.. BitConverter.GetBytes(gpa), .. BitConverter.GetBytes(size)];

    public static byte[] Compose(ushort id, uint seq, ReadOnlySpan<byte> payload)
    {
        byte[] message = new byte[8 + payload.Length];
        BinaryPrimitives.WriteUInt16LittleEndian(message, id);
        BinaryPrimitives.WriteUInt16LittleEndian(message.AsSpan(2), (ushort)payload.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(message.AsSpan(4), seq);
        payload.CopyTo(message.AsSpan(8));
        return message;
    }

    public uint NextSeq() => ++_seq;

    public void Write(ReadOnlySpan<byte> bytes)
    {
        if (!socket.Send(bytes))
            throw new IOException("the server closed the connection");
    }

    /// <summary>The server has closed, without anything more to say.</summary>
    public bool IsClosedByPeer()
    {
        byte[] one = new byte[1];
        return socket.WaitReadable(30_000) == WaitOutcome.Ready && socket.Receive(one) == 0;
    }

    public void Dispose() => socket.Dispose();

    /// <summary>Waits for one reply as the library does: 15 s, events in between are queued, anything else is fatal.</summary>
    public LibkvmiReply WaitReply(ushort id, uint seq)
    {
        while (true)
        {
            byte[] header = Exactly(8, CommandTimeout, "L3");
            ushort found = BinaryPrimitives.ReadUInt16LittleEndian(header);
            if (found == 1)
            {
                _events.Enqueue(ReadEvent(header, BodyWhileWaiting));
                if (_events.Count > MaxQueue)
                    throw new LibkvmiLimitException("L9", $"{_events.Count} events are queued");
                continue;
            }

            uint number = BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(4));
            if (found != id || number != seq)
                throw new LibkvmiLimitException("L6", $"message {found} number {number:x} while the reply to {id} number {seq:x} is awaited");
            int size = BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(2));
            byte[] payload = Exactly(size, CommandTimeout, "L3");
            if (size < 8)
                throw new LibkvmiLimitException("L6", $"a reply to {id} of {size} bytes");
            int error = BinaryPrimitives.ReadInt32LittleEndian(payload);
            if (error != 0 && size != 8)
                throw new LibkvmiLimitException("L4", $"an error reply to {id} of {size} bytes");
            return new LibkvmiReply(error, payload[8..]);
        }
    }

    private static byte Flag(bool value) => (byte)(value ? 1 : 0);

    private LibkvmiEvent ReadEvent(byte[] header, int patience)
    {
        int size = BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(2));
        if (size > MaxEvent)
            throw new LibkvmiLimitException("L2", $"an event of {size} bytes");
        byte[] payload = new byte[size];

        // The header is here, so the body must be: one poll, one read.
        if (socket.WaitReadable(patience) != WaitOutcome.Ready || socket.TryReceive(payload) is var received && received != size)
            throw new LibkvmiLimitException("L1", $"the body of an event of {size} bytes came after its header");
        int common = BinaryPrimitives.ReadUInt16LittleEndian(payload);
        int id = payload[4];
        if (common != 544 || id >= EventSizes.Length || size != EventSizes[id])
            throw new InvalidDataException($"event {id} has {size} bytes, a common block of {common}");
        if ((payload[5] | payload[6] | payload[7] | payload[9]) != 0)
            throw new InvalidDataException($"event {id} has dirty padding");
        return new LibkvmiEvent(
            BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(4)), id, BinaryPrimitives.ReadUInt16LittleEndian(payload.AsSpan(2)),
            payload, payload[common..]);
    }

    private byte[] Exactly(int count, int milliseconds, string what)
    {
        byte[] bytes = new byte[count];
        WaitOutcome outcome = socket.ReceiveAll(bytes, Environment.TickCount64 + milliseconds, null, out int received);
        if (outcome != WaitOutcome.Ready)
            throw new LibkvmiLimitException(what, $"nothing came for {milliseconds} ms");
        return received == count ? bytes : throw new EndOfStreamException($"{what}: the server closed the connection");
    }
}

/// <summary>The specific part of an answer to a page fault.</summary>
/// <param name="Address">Linear address of the data.</param>
/// <param name="Data">What the read shall see; empty: memory.</param>
/// <param name="CompletesRepeat">No event for the other elements of a string instruction.</param>
public sealed record PageFaultAnswer(ulong Address = 0, byte[]? Data = null, bool CompletesRepeat = false)
{
    internal void Write(Span<byte> specific)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(specific, Address);
        BinaryPrimitives.WriteInt32LittleEndian(specific[8..], Data?.Length ?? 0);
        specific[13] = (byte)(CompletesRepeat ? 1 : 0);
        Data?.CopyTo(specific[16..]);
    }
}
