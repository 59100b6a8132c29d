using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hyperscope.Fuzz.Targets;

/// <summary>Streams of messages that are nearly right.</summary>
internal static class KvmiStreams
{
    public const int VcpuCount = 2;

    private const int MessagesPerStream = 64;

    public static byte[] ToServer(Random random, out int units)
    {
        using var stream = new MemoryStream();
        units = random.Next(1, MessagesPerStream);
        for (int i = 0; i < units; i++)
            stream.Write(Command(random));
        return stream.ToArray();
    }

    /// <summary>Events of every kind and the answers to <see cref="KvmiClient.Commands"/>, most of them right.</summary>
    public static byte[] ToClient(Random random, out int units)
    {
        using var stream = new MemoryStream();
        units = random.Next(1, MessagesPerStream);
        uint eventSeq = 0;
        int answered = 0;
        byte[] message = new byte[KvmiConstants.MaxMessageSize];
        for (int i = 0; i < units; i++)
        {
            int size;
            if (random.Next(3) != 0)
            {
                eventSeq += random.Next(400) == 0 ? 2u : 1u;
                size = Event(random, message, eventSeq);
            }
            else
            {
                bool isOutOfTurn = random.Next(60) == 0;
                int which = isOutOfTurn ? random.Next(KvmiClient.Commands.Length) : answered++ % KvmiClient.Commands.Length;
                MessageId id = random.Next(400) == 0 ? (MessageId)random.Next(65536) : KvmiClient.Commands[which];
                uint seq = random.Next(400) == 0 ? (uint)random.Next() : KvmiClient.FirstSeq + (uint)which;
                size = Answer(random, message, which, id, seq);
            }

            if (random.Next(100) == 0)
                message[random.Next(Math.Min(size, random.Next(2) == 0 ? 16 : 700))] ^= (byte)(1 << random.Next(8));
            stream.Write(message, 0, random.Next(400) == 0 ? random.Next(size) : size);
        }

        return stream.ToArray();
    }

    private static int Event(Random random, byte[] message, uint seq)
    {
        ReadOnlySpan<EventInfo> kinds = EventCatalog.All;
        EventInfo kind = random.Next(2) == 0 ? kinds[(int)EventId.PageFault] : kinds[random.Next(kinds.Length)];
        var header = new EventHeader(new VcpuIndex((ushort)random.Next(random.Next(100) == 0 ? 4 : VcpuCount)), kind.Id);
        header.Arch.Mode = CpuMode.Bits64;
        header.Arch.Regs = new KvmRegs { Rip = (ulong)random.NextInt64(), Rflags = 2 };
        int data = random.Next(60) == 0 ? random.Next(200) : kind.DataSize, payload = KvmiConstants.EventHeaderSize + data;
        Span<byte> content = message.AsSpan(KvmiConstants.HeaderSize + KvmiConstants.EventHeaderSize, data);
        content.Clear();
        if (random.Next(4) == 0)
            random.NextBytes(content);
        else if (data >= 24)
            MemoryMarshal.Write(content, (ulong)random.NextInt64());
        MemoryMarshal.Write(message, new MessageHeader((ushort)MessageId.Event, (ushort)payload, seq));
        MemoryMarshal.Write(message.AsSpan(KvmiConstants.HeaderSize), header);
        return KvmiConstants.HeaderSize + payload;
    }

    private static int Answer(Random random, byte[] message, int which, MessageId id, uint seq)
    {
        if (random.Next(12) == 0)
            return Message.WriteError(message, id, seq, random.Next(2) == 0 ? KvmError.InvalidArgument : (KvmError)random.Next(-200, 2));
        const int Msrs = 2;
        int right = which switch
        {
            1 => Gfn.PageSize,
            2 => KvmiClient.ReadBytes - Gfn.PageSize,
            3 => Unsafe.SizeOf<VcpuGetRegistersReply>() + (Msrs * Unsafe.SizeOf<KvmMsrEntry>()),
            4 => random.Next(576, 4097),
            _ => CommandCatalog.TryGet(KvmiClient.Commands[which], out CommandInfo info) ? info.ReplyDataSize : 0,
        };
        Span<byte> data = Message.ReplyDataOf(message)[..(random.Next(40) == 0 ? random.Next(4200) : right)];
        data.Clear();
        if (which != 3)
            random.NextBytes(data);
        else if (data.Length == right)
            MemoryMarshal.Write(data, new VcpuGetRegistersReply { Mode = CpuMode.Bits64, MsrCount = random.Next(20) == 0 ? (uint)random.Next(2000) : Msrs });
        return Message.CompleteReply(message, id, seq, data.Length);
    }

    private static byte[] Command(Random random)
    {
        int id = random.Next(400) switch
        {
            0 => 0, // an event reply that nothing waits for closes the connection
            < 10 => random.Next(1, 65536),
            _ => random.Next(1, 26),
        };
        _ = CommandCatalog.TryGet((MessageId)id, out CommandInfo info);
        int size = random.Next(32) switch
        {
            0 => random.Next(64),
            1 => random.Next(8185),
            _ => info.RequestSize + (info.HasTail ? random.Next(128) : 0),
        };
        byte[] message = new byte[8 + size];
        Span<byte> payload = message.AsSpan(8);
        if (random.Next(8) == 0)
        {
            random.NextBytes(payload);
        }
        else
        {
            // Mostly zeros and small numbers, so that many get past the first check.
            for (int i = random.Next(6); i > 0 && size > 0; i--)
                payload[random.Next(Math.Min(size, 24))] = (byte)random.Next(random.Next(3) == 0 ? 256 : 5);
        }

        if (info.HasVcpu && random.Next(16) != 0 && size >= 8)
        {
            payload[..8].Clear();
            payload[0] = (byte)random.Next(VcpuCount);
        }

        int announced = random.Next(2000) == 0 ? random.Next(65536) : size;
        MemoryMarshal.Write(message, new MessageHeader((ushort)id, (ushort)announced, (uint)random.Next(1 << 30)));
        return message;
    }
}
