using System.Runtime.InteropServices;

namespace Hyperscope.LinuxHost;

/// <summary>One connected stream socket: unix, vsock or TCP.</summary>
/// <remarks>One thread may receive while others send; senders must not overlap (a lock per connection keeps messages whole).
/// <see cref="Shutdown"/> from any thread ends every blocked call. A connection that is gone is a value here, not an exception: 0 bytes
/// received, <see langword="false"/> from a send.</remarks>
public sealed unsafe class StreamSocket : IDisposable
{
    private StreamSocket(FileDescriptorHandle handle) => Handle = handle;

    /// <summary>The descriptor, for epoll.</summary>
    public FileDescriptorHandle Handle { get; }

    /// <summary>The process at the other end of a unix socket when it connected; 0 for other kinds or if it is in another
    /// namespace.</summary>
    public int PeerProcessId
    {
        get
        {
            // struct ucred: pid, uid, gid. The buffer is on this stack and its size is passed.
            int* credentials = stackalloc int[3];
            int length = 3 * sizeof(int);
            int result = SocketCalls.GetOption(
                Handle, SocketCalls.LevelSocket, SocketCalls.OptionPeerCredentials, credentials, ref length);
            return result == 0 ? credentials[0] : 0;
        }
    }

    /// <summary>Makes two unix sockets that are connected to each other.</summary>
    /// <exception cref="LinuxException">socketpair failed.</exception>
    public static (StreamSocket First, StreamSocket Second) CreatePair()
    {
        int* pair = stackalloc int[2];
        if (SocketCalls.SocketPair(SocketCalls.FamilyUnix, SocketCalls.StreamCloseOnExec, 0, pair) < 0)
            throw LinuxException.FromLastCall("socketpair");
        return (new StreamSocket(new FileDescriptorHandle(pair[0])), new StreamSocket(new FileDescriptorHandle(pair[1])));
    }

    /// <summary>Connects to a listener.</summary>
    /// <param name="endpoint">Where it listens.</param>
    /// <param name="cancel">Calls the attempt off when signalled.</param>
    /// <exception cref="LinuxException">Nobody listens there (ENOENT, ECONNREFUSED), its queue is full (EAGAIN) or another
    /// failure.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancel"/> was signalled.</exception>
    public static StreamSocket Connect(Endpoint endpoint, EventFd? cancel = null)
    {
        SocketCalls.SocketAddress address = SocketCalls.ToAddress(endpoint, out int family, out int length);
        FileDescriptorHandle handle = SocketCalls.Socket(family, SocketCalls.StreamCloseOnExec | SocketCalls.NonBlocking, 0);
        if (handle.IsInvalid)
            throw LinuxException.FromLastCall($"socket for {endpoint}");
        try
        {
            if (SocketCalls.Connect(handle, in address, length) < 0)
                FinishConnect(handle, endpoint, cancel);
            if (SocketCalls.FileControl(handle, SocketCalls.SetFlags, 0) < 0)
                throw LinuxException.FromLastCall("fcntl F_SETFL");
            return Adopt(handle, endpoint.Kind);
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>Sends all of <paramref name="message"/>, blocking while the peer's buffer is full.</summary>
    /// <remarks>One send call, no SIGPIPE. Should a signal cut a TCP send short, the rest follows in a further call: the caller's lock
    /// keeps
    /// the message whole.</remarks>
    /// <returns><see langword="false"/> when the connection is gone; part of the message may have been sent.</returns>
    /// <exception cref="LinuxException">Any failure other than a lost connection.</exception>
    public bool Send(ReadOnlySpan<byte> message)
    {
        while (!message.IsEmpty)
        {
            nint sent = SendOnce(message, SocketCalls.NoSignal);
            if (sent < 0)
                return false;
            message = message[(int)sent..];
        }

        return true;
    }

    /// <summary>Sends what fits now, without blocking.</summary>
    /// <param name="message">The bytes to send.</param>
    /// <param name="sent">How many were taken: all, or fewer when the buffer is full. Unix sockets take a message of 8 KiB whole or not
    /// at all.</param>
    /// <returns><see langword="false"/> when the connection is gone.</returns>
    /// <exception cref="LinuxException">Any failure other than a lost connection.</exception>
    public bool TrySend(ReadOnlySpan<byte> message, out int sent)
    {
        sent = (int)SendOnce(message, SocketCalls.NoSignal | SocketCalls.DoNotWait);
        bool connected = sent >= 0;
        sent = Math.Max(sent, 0);
        return connected;
    }

    /// <summary>Receives at least one byte, blocking until there is one.</summary>
    /// <returns>How many bytes; 0 when the connection is gone or <paramref name="buffer"/> is empty.</returns>
    /// <exception cref="LinuxException">Any failure other than a lost connection.</exception>
    public int Receive(Span<byte> buffer) => ReceiveOnce(buffer, 0);

    /// <summary>Receives what is there, without blocking.</summary>
    /// <returns>How many bytes; 0 when the connection is gone or <paramref name="buffer"/> is empty; -1 when nothing is there
    /// yet.</returns>
    /// <exception cref="LinuxException">Any failure other than a lost connection.</exception>
    public int TryReceive(Span<byte> buffer) => ReceiveOnce(buffer, SocketCalls.DoNotWait);

    /// <summary>Receives until <paramref name="buffer"/> is full, never more.</summary>
    /// <param name="buffer">Where to.</param>
    /// <param name="deadline">Tick count (<see cref="Environment.TickCount64"/>) at which to give up.</param>
    /// <param name="cancel">Calls the wait off when signalled.</param>
    /// <param name="received">How many bytes came.</param>
    /// <returns>Ready when it is full; Ready with <paramref name="received"/> below its length when the connection is gone.</returns>
    /// <exception cref="LinuxException">Any failure other than a lost connection.</exception>
    public WaitOutcome ReceiveAll(Span<byte> buffer, long deadline, EventFd? cancel, out int received)
    {
        received = 0;
        while (received < buffer.Length)
        {
            long left = Math.Clamp(deadline - Environment.TickCount64, 0, int.MaxValue);
            WaitOutcome outcome = WaitReadable((int)left, cancel);
            if (outcome != WaitOutcome.Ready)
                return outcome;
            int count = TryReceive(buffer[received..]);
            if (count == 0)
                break;
            received += Math.Max(count, 0);
        }

        return WaitOutcome.Ready;
    }

    /// <summary>Blocks until something can be received, the connection is gone, or the wait is called off.</summary>
    public WaitOutcome WaitReadable(int timeoutMilliseconds, EventFd? cancel = null) =>
        DescriptorWait.Run(Handle, DescriptorWait.In, cancel?.Handle, null, timeoutMilliseconds);

    /// <summary>Blocks until something can be sent, the connection is gone, or the wait is called off.</summary>
    public WaitOutcome WaitWritable(int timeoutMilliseconds, EventFd? cancel = null) =>
        DescriptorWait.Run(Handle, DescriptorWait.Out, cancel?.Handle, null, timeoutMilliseconds);

    /// <summary>Ends the conversation in both directions and wakes every thread blocked on it. Safe from any thread, any number of
    /// times.</summary>
    public void Shutdown()
    {
        try
        {
            _ = SocketCalls.Shutdown(Handle, SocketCalls.ShutdownBoth); // ENOTCONN: the peer was faster
        }
        catch (ObjectDisposedException)
        {
            // Disposing shuts down as well.
        }
    }

    /// <summary>Shuts down and closes. A call that another thread is in ends first; the descriptor number stays taken until then.</summary>
    public void Dispose()
    {
        Shutdown();
        Handle.Dispose();
    }

    internal static StreamSocket Adopt(FileDescriptorHandle handle, EndpointKind kind)
    {
        int on = 1;
        if (kind == EndpointKind.Tcp
            && SocketCalls.SetOption(handle, SocketCalls.LevelTcp, SocketCalls.OptionNoDelay, in on, sizeof(int)) < 0)
            throw LinuxException.FromLastCall("setsockopt TCP_NODELAY");
        return new StreamSocket(handle);
    }

    private static void FinishConnect(FileDescriptorHandle handle, Endpoint endpoint, EventFd? cancel)
    {
        int errno = Marshal.GetLastPInvokeError();
        if (errno is Errno.InProgress or Errno.Interrupted)
        {
            if (DescriptorWait.Run(handle, DescriptorWait.Out, cancel?.Handle, null, -1) == WaitOutcome.Cancelled)
                throw new OperationCanceledException($"connecting to {endpoint} was cancelled");
            int error = 0;
            int length = sizeof(int);
            if (SocketCalls.GetOption(handle, SocketCalls.LevelSocket, SocketCalls.OptionError, &error, ref length) < 0)
                error = Marshal.GetLastPInvokeError();
            errno = error;
        }

        if (errno != 0)
            throw new LinuxException(errno, $"connect to {endpoint}");
    }

    private nint SendOnce(ReadOnlySpan<byte> message, int flags)
    {
        // The span is pinned for the call, and its own length bounds it.
        fixed (byte* data = message)
        {
            while (true)
            {
                nint sent = SocketCalls.Send(Handle, data, (nuint)message.Length, flags);
                if (sent >= 0)
                    return sent;
                switch (Marshal.GetLastPInvokeError())
                {
                    case Errno.Interrupted:
                        continue;
                    case Errno.Again:
                        return 0;
                    case Errno.BrokenPipe or Errno.ConnectionReset or Errno.NotConnected or Errno.TimedOut:
                        return -1;
                    default:
                        throw LinuxException.FromLastCall($"send of {message.Length} bytes");
                }
            }
        }
    }

    private int ReceiveOnce(Span<byte> buffer, int flags)
    {
        // The span is pinned for the call, and its own length bounds it.
        fixed (byte* data = buffer)
        {
            while (true)
            {
                nint received = SocketCalls.Receive(Handle, data, (nuint)buffer.Length, flags);
                if (received >= 0)
                    return (int)received;
                switch (Marshal.GetLastPInvokeError())
                {
                    case Errno.Interrupted:
                        continue;
                    case Errno.Again:
                        return -1;
                    case Errno.ConnectionReset or Errno.NotConnected or Errno.BrokenPipe or Errno.TimedOut:
                        return 0;
                    default:
                        throw LinuxException.FromLastCall($"recv of up to {buffer.Length} bytes");
                }
            }
        }
    }
}
