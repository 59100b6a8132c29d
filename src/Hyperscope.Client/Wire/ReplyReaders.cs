using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hyperscope.Client;

/// <summary>Makes a result of a success reply's data, on the reader thread; the data is gone afterwards.</summary>
/// <param name="data">What follows the error block.</param>
/// <param name="destination">The caller's buffer, if the command has one.</param>
/// <exception cref="ProtocolException">The data is not what the command promises.</exception>
internal delegate TResult ReplyReader<TResult>(ReadOnlySpan<byte> data, Memory<byte> destination);

/// <summary>The result of a command whose reply carries no data.</summary>
internal readonly struct Nothing
{
    public static readonly ReplyReader<Nothing> Read = static (_, _) => default;
}

/// <summary>The ways to read a reply.</summary>
internal static class ReplyReaders
{
    /// <summary>Fills the destination, exactly.</summary>
    public static readonly ReplyReader<int> Fill = static (data, destination) =>
    {
        if (data.Length != destination.Length)
            throw new ProtocolException($"the reply to a read of {destination.Length} bytes carries {data.Length}");
        data.CopyTo(destination.Span);
        return data.Length;
    };

    /// <summary>Copies all there is.</summary>
    public static readonly ReplyReader<byte[]> Copy = static (data, _) => data.ToArray();

    /// <summary>Registers, then the MSR entries that were asked for.</summary>
    public static ReplyReader<VcpuRegisters> Registers(int msrCount) => (data, _) =>
    {
        VcpuGetRegistersReply reply = Fixed<VcpuGetRegistersReply>.Read(data, default);
        if (reply.MsrCount != msrCount)
            throw new ProtocolException($"the reply carries {reply.MsrCount} MSRs, {msrCount} were asked for");
        ReadOnlySpan<byte> entries = data[Unsafe.SizeOf<VcpuGetRegistersReply>()..];
        if (entries.Length < msrCount * Unsafe.SizeOf<KvmMsrEntry>())
            throw new ProtocolException($"the reply announces {msrCount} MSRs in {entries.Length} bytes");
        return new VcpuRegisters(
            reply.Mode, reply.Regs, reply.Sregs, MemoryMarshal.Cast<byte, KvmMsrEntry>(entries)[..msrCount].ToArray());
    };

    /// <summary>Reads a structure; more data than that is a newer peer's.</summary>
    public static class Fixed<T>
        where T : unmanaged
    {
        public static readonly ReplyReader<T> Read = static (data, _) => data.Length >= Unsafe.SizeOf<T>()
            ? Message.Read<T>(data)
            : throw new ProtocolException($"the reply carries {data.Length} bytes of data, {typeof(T).Name} needs {Unsafe.SizeOf<T>()}");
    }
}
