using System.Buffers;

namespace Hyperscope.Client;

/// <summary>Sends whole messages from any thread and never blocks one: what a slow peer does not take is queued and flushed
/// behind.</summary>
/// <remarks>The queue is bounded by the window of commands in flight and by one event reply for each vCPU. So a reader thread that
/// answers events keeps reading whatever the peer does, and the two ends cannot wait for each other.</remarks>
internal sealed class MessageSender(StreamSocket socket)
{
    private readonly Lock _gate = new();
    private readonly Queue<ArraySegment<byte>> _queue = new();
    private bool _isBusy; // somebody is sending, or the flusher runs: others queue up
    private bool _isClosed;

    /// <summary>Sends a message in one call, or queues it.</summary>
    /// <returns>False when the connection is gone.</returns>
    public bool Send(ReadOnlySpan<byte> message)
    {
        lock (_gate)
        {
            if (_isClosed)
                return false;
            if (_isBusy)
            {
                _queue.Enqueue(CopyOf(message));
                return true;
            }

            _isBusy = true;
        }

        if (!socket.TrySend(message, out int sent))
            return Close();
        if (sent < message.Length)
            StartFlusher(CopyOf(message[sent..]));
        else
            Release();
        return true;
    }

    /// <summary>Drops what is queued and refuses all further messages.</summary>
    /// <returns>False, for the convenience of <see cref="Send"/>.</returns>
    public bool Close()
    {
        lock (_gate)
        {
            _isClosed = true;
            while (_queue.TryDequeue(out ArraySegment<byte> message))
                ArrayPool<byte>.Shared.Return(message.Array!);
        }

        return false;
    }

    private static ArraySegment<byte> CopyOf(ReadOnlySpan<byte> message)
    {
        byte[] copy = ArrayPool<byte>.Shared.Rent(message.Length);
        message.CopyTo(copy);
        return new ArraySegment<byte>(copy, 0, message.Length);
    }

    // Ends this thread's turn: sends what others queued meanwhile, as far as it goes without blocking.
    private void Release()
    {
        while (TryDequeue(out ArraySegment<byte> message))
        {
            if (!socket.TrySend(message, out int sent))
            {
                ArrayPool<byte>.Shared.Return(message.Array!);
                Close();
                return;
            }

            if (sent < message.Count)
            {
                StartFlusher(message[sent..]);
                return;
            }

            ArrayPool<byte>.Shared.Return(message.Array!);
        }
    }

    private bool TryDequeue(out ArraySegment<byte> message)
    {
        lock (_gate)
        {
            if (_queue.TryDequeue(out message))
                return true;
            _isBusy = false;
            return false;
        }
    }

    private void StartFlusher(ArraySegment<byte> rest)
    {
        var thread = new Thread(() => Flush(rest)) { IsBackground = true, Name = "kvmi flush" };
        thread.Start();
    }

    // Blocks in poll while the peer's buffer is full; shutting the socket down ends that.
    private void Flush(ArraySegment<byte> message)
    {
        try
        {
            do
            {
                for (int offset = 0; offset < message.Count;)
                {
                    if (!socket.TrySend(message.AsSpan(offset), out int sent))
                    {
                        Close();
                        return;
                    }

                    offset += sent;
                    if (sent == 0)
                        socket.WaitWritable(Timeout.Infinite);
                }

                ArrayPool<byte>.Shared.Return(message.Array!);
            }
            while (TryDequeue(out message));
        }
        catch (ObjectDisposedException)
        {
            Close();
        }
    }
}
