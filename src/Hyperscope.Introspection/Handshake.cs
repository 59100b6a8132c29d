using System.Buffers.Binary;
using Hyperscope.LinuxHost;

namespace Hyperscope.Introspection;

/// <summary>How the VM's half of the handshake goes.</summary>
public sealed record HandshakeOptions
{
    /// <summary>What a tool must send, from <see cref="ToolGreeting.CookieOf(ReadOnlySpan{byte})"/>; empty: anything will do.</summary>
    public ReadOnlyMemory<byte> Cookie { get; init; }

    /// <summary>How long the tool may take to answer.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(10);
}

/// <summary>The VM's half of the handshake: it speaks first, then waits for the tool's cookie.</summary>
internal static class Handshake
{
    /// <summary>Greets a tool. The caller owns the socket and closes it if this fails.</summary>
    /// <returns>Null when the tool may come in, else why not.</returns>
    public static string? Run(StreamSocket socket, VmGreeting greeting, HandshakeOptions options, EventFd? cancel)
    {
        try
        {
            Span<byte> ours = stackalloc byte[VmGreeting.Size];
            greeting.Write(ours);
            if (!socket.Send(ours))
                return "the tool closed the connection before it was greeted";
            return Receive(socket, options, cancel);
        }
        catch (Exception failure) when (failure is LinuxException or ProtocolException)
        {
            return failure.Message;
        }
    }

    private static string? Receive(StreamSocket socket, HandshakeOptions options, EventFd? cancel)
    {
        long deadline = Environment.TickCount64 + (long)options.Timeout.TotalMilliseconds;
        Span<byte> theirs = stackalloc byte[ToolGreeting.Size];
        if (Missing(socket, theirs[..4], deadline, cancel, options) is { } noSize)
            return noSize;
        int size = ToolGreeting.CheckSize(BinaryPrimitives.ReadUInt32LittleEndian(theirs));
        if (Missing(socket, theirs[4..], deadline, cancel, options) is { } noCookie)
            return noCookie;
        Span<byte> rest = stackalloc byte[256];
        for (int left = size - ToolGreeting.Size; left > 0; left -= rest.Length)
        {
            if (Missing(socket, rest[..Math.Min(left, rest.Length)], deadline, cancel, options) is { } noRest)
                return noRest;
        }

        bool isWelcome = options.Cookie.IsEmpty || ToolGreeting.Matches(ToolGreeting.CookieIn(theirs), options.Cookie.Span);
        return isWelcome ? null : "the tool does not know the secret";
    }

    private static string? Missing(StreamSocket socket, Span<byte> buffer, long deadline, EventFd? cancel, HandshakeOptions options) =>
        socket.ReceiveAll(buffer, deadline, cancel, out int received) switch
        {
            WaitOutcome.Ready when received == buffer.Length => null,
            WaitOutcome.Ready => "the tool closed the connection instead of answering",
            WaitOutcome.TimedOut => $"the tool did not answer within {options.Timeout.TotalSeconds:0.###} s",
            _ => "the wait was called off",
        };
}
