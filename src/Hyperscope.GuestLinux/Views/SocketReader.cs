using System.Net;

namespace Hyperscope.GuestLinux;

/// <summary>Reads sockets, by way of the files that processes have open.</summary>
internal sealed class SocketReader(LinuxGuest guest, GuestReader reader, Walks walks)
{
    private const int Unix = 1, Inet = 2, Inet6 = 10, Netlink = 16, Packet = 17, Vsock = 40;
    private const int MaxUnixAddress = 110;

    private static readonly string[] TcpStates =
    [
        "", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING",
        "NEW_SYN_RECV",
    ];

    private static readonly string[] SocketStates = ["FREE", "UNCONNECTED", "CONNECTING", "CONNECTED", "DISCONNECTING"];

    private readonly Btf _btf = guest.Btf;
    private readonly ProcessMemoryReader _files = new(guest, reader, walks);

    public async Task<List<LinuxSocket>> AllAsync(IReadOnlyList<LinuxProcess> processes, CancellationToken cancellation)
    {
        var sockets = new List<LinuxSocket>();
        Gva operations = guest.Symbols.AddressOf("socket_file_ops");
        var seen = new HashSet<ulong>();
        foreach (LinuxProcess process in processes.Where(static process => !process.IsKernelThread))
        {
            foreach ((int descriptor, StructView file) in await _files.DescriptorsAsync(process.Files, cancellation).ConfigureAwait(false))
            {
                if (file.Pointer("f_op") != operations || !seen.Add(file.Address.Value))
                    continue;
                try
                {
                    if (await DecodeAsync(file, process.Tgid, descriptor, cancellation).ConfigureAwait(false) is { } socket)
                        sockets.Add(socket);
                }
                catch (GuestAddressException missing)
                {
                    walks.CutOff($"a socket of process {process.Tgid} has no memory", missing.Gva);
                }
            }
        }

        return sockets;
    }

    private async ValueTask<LinuxSocket?> DecodeAsync(StructView file, int pid, int descriptor, CancellationToken cancellation)
    {
        StructView socket = await reader.ReadSliceAsync(
            _btf.StructOf("socket").Slice("state", "type", "sk"), file.Pointer("private_data"), cancellation).ConfigureAwait(false);
        Gva address = socket.Pointer("sk");
        if (!Walks.IsPointer(address))
            return null; // closed at this moment
        ulong inode = await reader.ReadUInt64Async(file.Pointer("f_inode") + (ulong)_files.Paths.Inode.Type.Offset("i_ino"), cancellation)
            .ConfigureAwait(false);
        StructView sock = await reader.ReadSliceAsync(
            _btf.StructOf("sock").Slice("__sk_common", "sk_type", "sk_protocol"), address, cancellation).ConfigureAwait(false);
        int family = (int)sock.Unsigned("__sk_common.skc_family");
        int state = (int)sock.Unsigned("__sk_common.skc_state");
        int protocol = (int)sock.Unsigned("sk_protocol");
        uint socketState = socket.UInt32("state");
        string type = sock.Unsigned("sk_type") switch
        {
            1 => "stream",
            2 => "dgram",
            3 => "raw",
            5 => "seqpacket",
            ulong other => $"{other}",
        };
        string connected = socketState < SocketStates.Length ? SocketStates[socketState] : $"{socketState}";
        string local = "", remote = "";
        string name;
        switch (family)
        {
            case Inet or Inet6:
                name = protocol switch { 1 => "icmp", 6 => "tcp", 17 => "udp", 58 => "icmp", 132 => "sctp", 136 => "udplite", _ => $"ip{protocol}-" }
                    + (family == Inet6 ? "6" : "");
                connected = state < TcpStates.Length ? TcpStates[state] : $"{state}";
                if (protocol != 6)
                    connected = state == 1 ? "CONNECTED" : "UNCONNECTED";
                local = Endpoint(sock, family, isLocal: true);
                remote = Endpoint(sock, family, isLocal: false);
                break;
            case Unix:
                name = "unix";
                connected = state == 10 ? "LISTEN" : connected;
                (local, remote) = await UnixNamesAsync(address, cancellation).ConfigureAwait(false);
                break;
            default:
                name = family switch { Netlink => "netlink", Packet => "packet", Vsock => "vsock", _ => $"family{family}" };
                break;
        }

        return new LinuxSocket(address, name, type, connected, local, remote, inode, pid, descriptor);
    }

    // Local port in host order, remote port and addresses in network order.
    private static string Endpoint(StructView sock, int family, bool isLocal)
    {
        ReadOnlySpan<byte> address = family == Inet6 && sock.Has("__sk_common.skc_v6_daddr")
            ? sock.Bytes(isLocal ? "__sk_common.skc_v6_rcv_saddr" : "__sk_common.skc_v6_daddr")
            : sock.Bytes(isLocal ? "__sk_common.skc_rcv_saddr" : "__sk_common.skc_daddr");
        if (address.Length is not (4 or 16))
            return "";
        ushort port = isLocal ? (ushort)sock.Unsigned("__sk_common.skc_num") : BinaryPrimitives.ReverseEndianness((ushort)sock.Unsigned("__sk_common.skc_dport"));
        if (!isLocal && port == 0)
            return "";
        return new IPEndPoint(new IPAddress(address), port).ToString();
    }

    private async ValueTask<(string Local, string Remote)> UnixNamesAsync(Gva sock, CancellationToken cancellation)
    {
        if (!_btf.TryStructOf("unix_sock", out BtfStruct? type))
            return ("", "");
        BtfSlice slice = type.Slice("addr", "peer");
        StructView own = await reader.ReadSliceAsync(slice, sock, cancellation).ConfigureAwait(false);
        string local = await UnixNameAsync(own.Pointer("addr"), cancellation).ConfigureAwait(false);
        if (!Walks.IsPointer(own.Pointer("peer")))
            return (local, "");
        StructView peer = await reader.ReadSliceAsync(slice, own.Pointer("peer"), cancellation).ConfigureAwait(false);
        return (local, await UnixNameAsync(peer.Pointer("addr"), cancellation).ConfigureAwait(false));
    }

    // struct sockaddr_un behind a length: a family of 2 bytes, then a path, or a zero and an abstract name.
    private async ValueTask<string> UnixNameAsync(Gva address, CancellationToken cancellation)
    {
        if (!Walks.IsPointer(address))
            return "";
        BtfStruct type = _btf.StructOf("unix_address");
        int length = (int)await reader.ReadUInt32Async(address + (ulong)type.Offset("len"), cancellation).ConfigureAwait(false);
        if (length is <= 2 or > MaxUnixAddress)
            return "";
        byte[] name = new byte[length - 2];
        await reader.ReadAsync(address + (ulong)type.Offset("name") + 2, name, cancellation).ConfigureAwait(false);
        return name[0] == 0 ? "@" + GuestText.Of(name.AsSpan(1)) : GuestText.OfArray(name);
    }
}
