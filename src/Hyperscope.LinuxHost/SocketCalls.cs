using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace Hyperscope.LinuxHost;

/// <summary>The socket calls of libc and their numbers.</summary>
internal static unsafe partial class SocketCalls
{
    public const int FamilyUnix = 1;
    public const int FamilyInet = 2;
    public const int FamilyVsock = 40;
    public const int StreamCloseOnExec = 1 | 0x80000;        // SOCK_STREAM | SOCK_CLOEXEC
    public const int CloseOnExec = 0x80000;                  // SOCK_CLOEXEC
    public const int NoSignal = 0x4000;                      // MSG_NOSIGNAL
    public const int DoNotWait = 0x40;                       // MSG_DONTWAIT
    public const int LevelSocket = 1;                        // SOL_SOCKET
    public const int LevelTcp = 6;                           // IPPROTO_TCP
    public const int OptionReuseAddress = 2;                 // SO_REUSEADDR
    public const int OptionError = 4;                        // SO_ERROR
    public const int OptionPeerCredentials = 17;             // SO_PEERCRED
    public const int OptionNoDelay = 1;                      // TCP_NODELAY
    public const int ShutdownBoth = 2;                       // SHUT_RDWR
    public const int SetFlags = 4;                           // F_SETFL
    public const int NonBlocking = 0x800;                    // O_NONBLOCK

    [LibraryImport("libc", EntryPoint = "socket", SetLastError = true)]
    public static partial FileDescriptorHandle Socket(int family, int type, int protocol);

    [LibraryImport("libc", EntryPoint = "socketpair", SetLastError = true)]
    public static partial int SocketPair(int family, int type, int protocol, int* pair);

    [LibraryImport("libc", EntryPoint = "bind", SetLastError = true)]
    public static partial int Bind(FileDescriptorHandle socket, in SocketAddress address, int length);

    [LibraryImport("libc", EntryPoint = "connect", SetLastError = true)]
    public static partial int Connect(FileDescriptorHandle socket, in SocketAddress address, int length);

    [LibraryImport("libc", EntryPoint = "listen", SetLastError = true)]
    public static partial int Listen(FileDescriptorHandle socket, int backlog);

    [LibraryImport("libc", EntryPoint = "accept4", SetLastError = true)]
    public static partial FileDescriptorHandle Accept(FileDescriptorHandle socket, nint address, nint length, int flags);

    [LibraryImport("libc", EntryPoint = "getsockname", SetLastError = true)]
    public static partial int GetSocketName(FileDescriptorHandle socket, ref SocketAddress address, ref int length);

    [LibraryImport("libc", EntryPoint = "getsockopt", SetLastError = true)]
    public static partial int GetOption(FileDescriptorHandle socket, int level, int option, void* value, ref int length);

    [LibraryImport("libc", EntryPoint = "setsockopt", SetLastError = true)]
    public static partial int SetOption(FileDescriptorHandle socket, int level, int option, in int value, int length);

    [LibraryImport("libc", EntryPoint = "shutdown", SetLastError = true)]
    public static partial int Shutdown(FileDescriptorHandle socket, int how);

    [LibraryImport("libc", EntryPoint = "send", SetLastError = true)]
    public static partial nint Send(FileDescriptorHandle socket, byte* data, nuint length, int flags);

    [LibraryImport("libc", EntryPoint = "recv", SetLastError = true)]
    public static partial nint Receive(FileDescriptorHandle socket, byte* data, nuint length, int flags);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    public static partial int FileControl(FileDescriptorHandle fd, int command, nint argument);

    [LibraryImport("libc", EntryPoint = "fchmod", SetLastError = true)]
    public static partial int ChangeMode(FileDescriptorHandle fd, uint mode);

    [LibraryImport("libc", EntryPoint = "chmod", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int ChangeMode(string path, uint mode);

    [LibraryImport("libc", EntryPoint = "unlink", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Unlink(string path);

    /// <summary>Looks at a socket file without following links.</summary>
    /// <returns>Its inode number; 0 when the path names nothing or something else than a socket (then <paramref name="exists"/>
    /// tells).</returns>
    public static ulong SocketInode(string path, out bool exists)
    {
        // struct statx is 256 bytes: u16 mode at 28, u64 inode at 32.
        byte* status = stackalloc byte[256];
        exists = Statx(-100 /* AT_FDCWD */, path, 0x100 /* AT_SYMLINK_NOFOLLOW */, 0x101 /* STATX_TYPE | STATX_INO */, status) == 0;
        bool isSocket = exists && (Unsafe.ReadUnaligned<ushort>(status + 28) & 0xF000) == 0xC000; // S_IFMT, S_IFSOCK
        return isSocket ? Unsafe.ReadUnaligned<ulong>(status + 32) : 0;
    }

    /// <summary>Turns an endpoint into what bind and connect take.</summary>
    public static SocketAddress ToAddress(Endpoint endpoint, out int family, out int length)
    {
        SocketAddress address = default;
        Span<byte> bytes = address;
        switch (endpoint.Kind)
        {
            case EndpointKind.Unix: // family u16, path
                family = FamilyUnix;
                length = 2 + Encoding.UTF8.GetBytes(endpoint.Path, bytes[2..]) + 1;
                break;
            case EndpointKind.Vsock: // family u16, 0 u16, port u32, cid u32, zeros
                family = FamilyVsock;
                length = 16;
                MemoryMarshal.Write(bytes[4..], endpoint.Port);
                MemoryMarshal.Write(bytes[8..], endpoint.Cid);
                break;
            default: // family u16, port big-endian u16, address
                family = FamilyInet;
                length = 16;
                BinaryPrimitives.WriteUInt16BigEndian(bytes[2..], (ushort)endpoint.Port);
                endpoint.Address.TryWriteBytes(bytes[4..], out _);
                break;
        }

        MemoryMarshal.Write(bytes, (ushort)family);
        return address;
    }

    /// <summary>The port in an address that the kernel filled in.</summary>
    public static uint PortOf(in SocketAddress address, EndpointKind kind)
    {
        ReadOnlySpan<byte> bytes = address;
        return kind == EndpointKind.Vsock ? MemoryMarshal.Read<uint>(bytes[4..]) : BinaryPrimitives.ReadUInt16BigEndian(bytes[2..]);
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int directory, string path, int flags, uint mask, byte* status);

    /// <summary>struct sockaddr_storage, 128 bytes.</summary>
    [InlineArray(128)]
    public struct SocketAddress
    {
        private byte _first;
    }
}
