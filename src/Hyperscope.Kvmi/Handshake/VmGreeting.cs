using System.Buffers.Binary;
using System.Text;

namespace Hyperscope.Kvmi;

/// <summary>The VM's half of the handshake, sent before any message (C name <c>kvmi_qemu2introspector</c>). 96 bytes.</summary>
/// <remarks>Layout: struct size u32 at 0, UUID at 4 in the byte order it is printed in, start time in seconds since 1970 s64 at 24, name
/// with terminator, 64 bytes, at 32. A receiver takes 32 to 65536 bytes, throws away what is behind byte 96 and counts missing bytes of the
/// name as zero. Source: kvmi-dialect-libkvmi.md 2.</remarks>
/// <param name="Id">The VM's UUID.</param>
/// <param name="StartTime">When it was started, to the second.</param>
/// <param name="Name">Its name; cut to 63 bytes of UTF-8.</param>
public sealed record VmGreeting(Guid Id, DateTimeOffset StartTime, string Name)
{
    /// <summary>Bytes as sent.</summary>
    public const int Size = 96;

    /// <summary>The least that a receiver takes: everything but the name.</summary>
    public const int MinSize = 32;

    /// <summary>The most that a receiver takes.</summary>
    public const int MaxSize = 65536;

    /// <summary>Bytes of UTF-8 that a name may have.</summary>
    public const int MaxNameBytes = 63;

    private const int IdOffset = 4, TimeOffset = 24, NameOffset = 32;

    private static readonly long FirstSecond = DateTimeOffset.MinValue.ToUnixTimeSeconds();
    private static readonly long LastSecond = DateTimeOffset.MaxValue.ToUnixTimeSeconds();

    /// <summary>Writes <see cref="Size"/> bytes.</summary>
    public void Write(Span<byte> destination)
    {
        Span<byte> bytes = destination[..Size];
        bytes.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, Size);
        _ = Id.TryWriteBytes(bytes.Slice(IdOffset, 16), bigEndian: true, out _);
        BinaryPrimitives.WriteInt64LittleEndian(bytes[TimeOffset..], StartTime.ToUnixTimeSeconds());
        Encoding.UTF8.GetEncoder().Convert(Name, bytes.Slice(NameOffset, MaxNameBytes), flush: true, out _, out _, out _);
    }

    /// <summary>Checks the size that a greeting starts with.</summary>
    /// <param name="size">As received.</param>
    /// <exception cref="ProtocolException">Not from <see cref="MinSize"/> to <see cref="MaxSize"/>.</exception>
    public static int CheckSize(uint size) => size is >= MinSize and <= MaxSize
        ? (int)size
        : throw new ProtocolException($"the VM's greeting announces {size} bytes, {MinSize} to {MaxSize} are possible");

    /// <summary>Reads a greeting.</summary>
    /// <param name="bytes">At least <see cref="MinSize"/> bytes, size included; what is behind <see cref="Size"/> is ignored.</param>
    public static VmGreeting Read(ReadOnlySpan<byte> bytes)
    {
        long seconds = BinaryPrimitives.ReadInt64LittleEndian(bytes[TimeOffset..]);
        ReadOnlySpan<byte> name = bytes[NameOffset..Math.Min(bytes.Length, NameOffset + MaxNameBytes)];
        int end = name.IndexOf((byte)0);
        return new VmGreeting(
            new Guid(bytes.Slice(IdOffset, 16), bigEndian: true),
            DateTimeOffset.FromUnixTimeSeconds(Math.Clamp(seconds, FirstSecond, LastSecond)),
            Encoding.UTF8.GetString(end < 0 ? name : name[..end]));
    }
}
