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

    public static byte[] ToClient(Random random, out int units)
    {
        using var stream = new MemoryStream();
        units = random.Next(1, MessagesPerStream);
        uint eventSeq = 0;
        byte[] message = new byte[KvmiConstants.MaxMessageSize];
        for (int i = 0; i < units; i++)
        {
            random.NextBytes(message);
            int size;
            if (random.Next(3) == 0)
            {
                eventSeq += random.Next(50) == 0 ? 2u : 1u;
                var header = new EventHeader(new VcpuIndex((ushort)random.Next(random.Next(20) == 0 ? 4 : VcpuCount)), (EventId)random.Next(12));
                size = Message.WriteEvent(message, eventSeq, header, default(PageFaultEvent));
            }
            else
            {
                int which = random.Next(KvmiClient.Commands.Length);
                MessageId id = random.Next(100) == 0 ? (MessageId)random.Next(65536) : KvmiClient.Commands[which];
                uint seq = random.Next(100) == 0 ? (uint)random.Next() : KvmiClient.FirstSeq + (uint)which;
                size = Message.WriteReply(message, id, seq, message.AsSpan(100, random.Next(random.Next(10) == 0 ? 4200 : 64)));
            }

            if (random.Next(20) == 0)
                message[random.Next(Math.Min(size, 40))] ^= (byte)(1 << random.Next(8));
            stream.Write(message, 0, random.Next(200) == 0 ? random.Next(size) : size);
        }

        return stream.ToArray();
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
