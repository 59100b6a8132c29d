using System.Buffers.Binary;

namespace Hyperscope.Client;

/// <summary>The tool's half of the handshake: the VM introduces itself, the tool proves that it knows the secret.</summary>
public sealed record ToolHandshake
{
    /// <summary>What is sent, from <see cref="ToolGreeting.CookieOf(string)"/>; empty: zeros, for a VM without a secret.</summary>
    public ReadOnlyMemory<byte> Cookie { get; init; }

    /// <summary>How long the VM may take to introduce itself.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>Runs it on a fresh connection.</summary>
    internal VmGreeting Run(StreamSocket socket, EventFd cancel)
    {
        long deadline = Environment.TickCount64 + (long)Timeout.TotalMilliseconds;
        byte[] bytes = new byte[VmGreeting.Size];
        Receive(socket, bytes.AsSpan(0, 4), deadline, cancel);
        int size = VmGreeting.CheckSize(BinaryPrimitives.ReadUInt32LittleEndian(bytes));
        int kept = Math.Min(size, bytes.Length);
        Receive(socket, bytes.AsSpan(4, kept - 4), deadline, cancel);
        if (size > kept)
            Receive(socket, new byte[size - kept], deadline, cancel);
        Span<byte> answer = stackalloc byte[ToolGreeting.Size];
        ToolGreeting.Write(answer, Cookie.Span);
        if (!socket.Send(answer))
            throw new ConnectionClosedException("the VM closed the connection during the handshake");
        return VmGreeting.Read(bytes.AsSpan(0, kept));
    }

    private void Receive(StreamSocket socket, Span<byte> buffer, long deadline, EventFd cancel)
    {
        switch (socket.ReceiveAll(buffer, deadline, cancel, out int received))
        {
            case WaitOutcome.Cancelled:
                throw new OperationCanceledException("the handshake was called off");
            case WaitOutcome.TimedOut:
                throw new TimeoutException($"the VM did not introduce itself within {Timeout.TotalSeconds:0.###} s");
            default:
                if (received < buffer.Length)
                    throw new ConnectionClosedException("the VM closed the connection during the handshake");
                break;
        }
    }
}
