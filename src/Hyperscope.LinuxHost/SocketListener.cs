using System.Runtime.InteropServices;

namespace Hyperscope.LinuxHost;

/// <summary>Listens at an endpoint and accepts connections.</summary>
/// <remarks>A unix socket file gets mode 0600 before anyone can connect. A file that a dead process left behind is replaced, one that
/// somebody listens on is not. Disposing ends blocked accepts and removes the file.</remarks>
public sealed class SocketListener : IDisposable
{
    private const uint OwnerOnly = 0b110_000_000; // 0600

    private readonly FileDescriptorHandle _handle;
    private readonly EventFd _stop = new();
    private readonly ulong _inode;
    private int _disposed;

    private SocketListener(FileDescriptorHandle handle, Endpoint endpoint, ulong inode)
    {
        _handle = handle;
        Endpoint = endpoint;
        _inode = inode;
    }

    /// <summary>Where it listens; a requested TCP port 0 is replaced by the port the kernel chose.</summary>
    public Endpoint Endpoint { get; }

    /// <summary>Starts to listen.</summary>
    /// <param name="endpoint">Where.</param>
    /// <param name="backlog">Connections that may wait to be accepted.</param>
    /// <exception cref="LinuxException">EADDRINUSE when somebody listens there or the path names something else; other
    /// failures.</exception>
    public static SocketListener Listen(Endpoint endpoint, int backlog = 16)
    {
        SocketCalls.SocketAddress address = SocketCalls.ToAddress(endpoint, out int family, out int length);
        if (endpoint.Kind == EndpointKind.Unix)
            RemoveStaleFile(endpoint);
        FileDescriptorHandle handle = SocketCalls.Socket(family, SocketCalls.StreamCloseOnExec | SocketCalls.NonBlocking, 0);
        if (handle.IsInvalid)
            throw LinuxException.FromLastCall($"socket for {endpoint}");
        try
        {
            Bind(handle, endpoint, in address, length);
            ulong inode = endpoint.Kind == EndpointKind.Unix ? SocketCalls.SocketInode(endpoint.Path, out _) : 0;
            if (SocketCalls.Listen(handle, backlog) < 0)
                throw LinuxException.FromLastCall($"listen on {endpoint}");
            return new SocketListener(handle, ActualEndpoint(handle, endpoint), inode);
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>Blocks until a peer connects.</summary>
    /// <param name="cancel">Calls the wait off when signalled.</param>
    /// <param name="timeoutMilliseconds">How long to wait; -1 without limit.</param>
    /// <returns>The connection; <see langword="null"/> when called off, timed out or disposed.</returns>
    /// <exception cref="LinuxException">accept failed, for instance with EMFILE.</exception>
    public StreamSocket? Accept(EventFd? cancel = null, int timeoutMilliseconds = -1)
    {
        try
        {
            while (DescriptorWait.Run(_handle, DescriptorWait.In, cancel?.Handle, _stop.Handle, timeoutMilliseconds) == WaitOutcome.Ready)
            {
                FileDescriptorHandle accepted = SocketCalls.Accept(_handle, 0, 0, SocketCalls.CloseOnExec);
                if (!accepted.IsInvalid)
                    return StreamSocket.Adopt(accepted, Endpoint.Kind);
                int errno = Marshal.GetLastPInvokeError();

                // A peer that went away before it was accepted is not our failure.
                if (errno is not (Errno.Interrupted or Errno.Again or Errno.ConnectionAborted or Errno.Protocol))
                    throw new LinuxException(errno, $"accept on {Endpoint}");
            }

            return null;
        }
        catch (ObjectDisposedException) when (Volatile.Read(ref _disposed) != 0)
        {
            return null;
        }
    }

    /// <summary>Stops listening, wakes blocked accepts and removes the socket file if it is still ours.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        _stop.Signal();
        if (_inode != 0 && SocketCalls.SocketInode(Endpoint.Path, out _) == _inode)
            _ = SocketCalls.Unlink(Endpoint.Path);
        _handle.Dispose();
        _stop.Dispose();
    }

    private static void Bind(FileDescriptorHandle handle, Endpoint endpoint, in SocketCalls.SocketAddress address, int length)
    {
        int on = 1;
        if (endpoint.Kind == EndpointKind.Tcp
            && SocketCalls.SetOption(handle, SocketCalls.LevelSocket, SocketCalls.OptionReuseAddress, in on, sizeof(int)) < 0)
            throw LinuxException.FromLastCall("setsockopt SO_REUSEADDR");

        // The file inherits the socket's mode less the umask, so it never exists with wider rights; chmod undoes an odd umask.
        if (endpoint.Kind == EndpointKind.Unix && SocketCalls.ChangeMode(handle, OwnerOnly) < 0)
            throw LinuxException.FromLastCall("fchmod of a socket");
        if (SocketCalls.Bind(handle, in address, length) < 0)
            throw LinuxException.FromLastCall($"bind to {endpoint}");
        if (endpoint.Kind == EndpointKind.Unix && SocketCalls.ChangeMode(endpoint.Path, OwnerOnly) < 0)
            throw LinuxException.FromLastCall($"chmod of {endpoint.Path}");
    }

    private static void RemoveStaleFile(Endpoint endpoint)
    {
        ulong inode = SocketCalls.SocketInode(endpoint.Path, out bool exists);
        if (!exists)
            return;
        if (inode == 0)
            throw new LinuxException(Errno.AddressInUse, $"listen on {endpoint}: the path names a file that is not a socket");
        try
        {
            StreamSocket.Connect(endpoint).Dispose();
        }
        catch (LinuxException refused) when (refused.Errno == Errno.ConnectionRefused)
        {
            _ = SocketCalls.Unlink(endpoint.Path); // bind reports what is left
            return;
        }
        catch (LinuxException)
        {
            // Alive (a full queue), or not ours to judge.
        }

        throw new LinuxException(Errno.AddressInUse, $"listen on {endpoint}: another process listens there");
    }

    private static Endpoint ActualEndpoint(FileDescriptorHandle handle, Endpoint endpoint)
    {
        if (endpoint.Kind != EndpointKind.Tcp || endpoint.Port != 0)
            return endpoint;
        SocketCalls.SocketAddress address = default;
        int length = 128;
        if (SocketCalls.GetSocketName(handle, ref address, ref length) < 0)
            throw LinuxException.FromLastCall("getsockname");
        return endpoint.WithPort(SocketCalls.PortOf(in address, endpoint.Kind));
    }
}
