using System.Buffers.Binary;
using System.Collections.Concurrent;
using Hyperscope.Kvmi;
using Hyperscope.LinuxHost;

namespace Hyperscope.Machine.Tests.Control;

/// <summary>Sits between a v9 peer and a server that speaks libkvmi's dialect, and rewrites each message. Written from the tables of
/// kvmi-dialect-libkvmi.md, not with the dialect's own code.</summary>
internal sealed class V9OverLibkvmi : IDisposable
{
    // v9 id to libkvmi id; position is the v9 id. 14 is VM_CONTROL_CLEANUP, which has no counterpart.
    private static readonly ushort[] Commands =
        [0, 2, 3, 4, 5, 8, 17, 18, 6, 7, 9, 13, 14, 15, 999, 10, 19, 29, 37, 16, 38, 23, 11, 21, 63, 35];

    private static readonly int[] Events = [0, 10, 5, 4, 1, 7, 3, 8, 2, 6, 11];

    private readonly StreamSocket _server, _peer;
    private readonly ConcurrentDictionary<uint, ushort> _commands = new();
    private readonly Thread[] _pumps;

    /// <summary>Takes over a connection that is past the handshake.</summary>
    /// <param name="server">The tool's end.</param>
    /// <param name="v9">What a v9 peer uses.</param>
    public V9OverLibkvmi(StreamSocket server, out StreamSocket v9)
    {
        _server = server;
        (_peer, v9) = StreamSocket.CreatePair();
        _pumps = [new Thread(() => Pump(_peer, _server, ToServer)), new Thread(() => Pump(_server, _peer, ToPeer))];
        foreach (Thread pump in _pumps)
        {
            pump.IsBackground = true;
            pump.Start();
        }
    }

    public void Dispose()
    {
        _server.Shutdown();
        _peer.Shutdown();
        foreach (Thread pump in _pumps)
            pump.Join();
        _server.Dispose();
        _peer.Dispose();
    }

    private (ushort Id, byte[] Payload) ToServer(ushort id, uint seq, byte[] payload)
    {
        if (id == 0)
        {
            if (payload.Length > 9 && payload[9] < Events.Length)
                payload[9] = (byte)Events[payload[9]];
            return (0, payload);
        }

        _commands[seq] = id;
        switch ((MessageId)id)
        {
            case MessageId.VmCheckCommand when payload.Length >= 2 && BinaryPrimitives.ReadUInt16LittleEndian(payload) < Commands.Length:
                payload[0] = (byte)Commands[payload[0]];
                break;
            case MessageId.VmCheckEvent or MessageId.VmControlEvents when payload.Length >= 2:
                RewriteEvent(payload);
                break;
            case MessageId.VcpuControlEvents when payload.Length >= 10:
                RewriteEvent(payload.AsSpan(8));
                break;
            case MessageId.VcpuControlCr when payload.Length >= 16:
                (payload[8], payload[9], payload[12]) = (payload[9], 0, payload[8]);
                break;
            case MessageId.VmSetPageAccess when payload.Length >= 4:
                (payload[0], payload[1], payload[2], payload[3]) = (payload[2], payload[3], payload[0], payload[1]);
                break;
        }

        return (id < Commands.Length ? Commands[id] : (ushort)999, payload);
    }

    private static void RewriteEvent(Span<byte> id)
    {
        ushort value = BinaryPrimitives.ReadUInt16LittleEndian(id);
        BinaryPrimitives.WriteUInt16LittleEndian(id, value < Events.Length ? (ushort)Events[value] : (ushort)99);
    }

    private (ushort Id, byte[] Payload) ToPeer(ushort id, uint seq, byte[] payload)
    {
        if (id == 1)
        {
            payload[4] = (byte)Array.IndexOf(Events, payload[4]);
            if (payload[4] == (byte)EventId.PageFault)
                payload.AsSpan(544 + 18, 2).Clear();
            if (payload[4] == (byte)EventId.Xsetbv)
                payload = [.. payload, .. new byte[24]];
            return (0, payload);
        }

        _ = _commands.TryRemove(seq, out ushort command);
        if (command == (ushort)MessageId.GetVersion && payload.Length >= 24)
        {
            payload.AsSpan(16).Clear();
            payload[16] = 1; // single-stepping cannot be asked about here
        }

        return (command, payload);
    }

    private static void Pump(StreamSocket from, StreamSocket to, Func<ushort, uint, byte[], (ushort, byte[])> rewrite)
    {
        byte[] header = new byte[8];
        while (Fill(from, header))
        {
            int size = BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(2));
            if (size > KvmiConstants.MaxPayloadSize)
            {
                _ = to.Send(header); // to be refused; what was announced may never come
                continue;
            }

            byte[] payload = new byte[size];
            if (!Fill(from, payload))
                break;
            uint seq = BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(4));
            (ushort id, byte[] rewritten) = rewrite(BinaryPrimitives.ReadUInt16LittleEndian(header), seq, payload);
            byte[] message = new byte[8 + rewritten.Length];
            BinaryPrimitives.WriteUInt16LittleEndian(message, id);
            BinaryPrimitives.WriteUInt16LittleEndian(message.AsSpan(2), (ushort)rewritten.Length);
            BinaryPrimitives.WriteUInt32LittleEndian(message.AsSpan(4), seq);
            rewritten.CopyTo(message, 8);
            if (!to.Send(message))
                break;
        }

        to.Shutdown();
    }

    private static bool Fill(StreamSocket socket, Span<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            int received = socket.Receive(buffer);
            if (received <= 0)
                return false;
            buffer = buffer[received..];
        }

        return true;
    }
}
