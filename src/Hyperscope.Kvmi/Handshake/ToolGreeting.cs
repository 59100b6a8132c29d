using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using System.Text;

namespace Hyperscope.Kvmi;

/// <summary>The tool's half of the handshake (C name <c>kvmi_introspector2qemu</c>). 24 bytes.</summary>
/// <remarks>Layout: struct size u32 at 0, SHA-1 of the shared secret, 20 bytes, at 4. A receiver takes more and throws it away, and refuses
/// less. Source: kvmi-dialect-libkvmi.md 2.</remarks>
public static class ToolGreeting
{
    /// <summary>Bytes as sent, and the least that a receiver takes.</summary>
    public const int Size = 24;

    /// <summary>The most that a receiver takes.</summary>
    public const int MaxSize = 65536;

    /// <summary>Bytes of a cookie.</summary>
    public const int CookieSize = 20;

    /// <summary>Writes <see cref="Size"/> bytes.</summary>
    /// <param name="destination">Where.</param>
    /// <param name="cookie">From <see cref="CookieOf(ReadOnlySpan{byte})"/>; empty: zeros, as most tools send.</param>
    public static void Write(Span<byte> destination, ReadOnlySpan<byte> cookie)
    {
        Span<byte> bytes = destination[..Size];
        bytes.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, Size);
        cookie.CopyTo(bytes[4..]);
    }

    /// <summary>Checks the size that a greeting starts with.</summary>
    /// <exception cref="ProtocolException">Not from <see cref="Size"/> to <see cref="MaxSize"/>.</exception>
    public static int CheckSize(uint size) => size is >= Size and <= MaxSize
        ? (int)size
        : throw new ProtocolException($"the tool's greeting announces {size} bytes, {Size} to {MaxSize} are possible");

    /// <summary>The cookie inside a greeting of at least <see cref="Size"/> bytes.</summary>
    public static ReadOnlySpan<byte> CookieIn(ReadOnlySpan<byte> bytes) => bytes.Slice(4, CookieSize);

    /// <summary>Compares cookies in constant time.</summary>
    public static bool Matches(ReadOnlySpan<byte> cookie, ReadOnlySpan<byte> expected) => CryptographicOperations.FixedTimeEquals(cookie, expected);

    /// <summary>What proves the knowledge of a secret.</summary>
    [SuppressMessage("Security", "CA5350", Justification = "the handshake's own hash")]
    public static byte[] CookieOf(ReadOnlySpan<byte> secret) => SHA1.HashData(secret);

    /// <inheritdoc cref="CookieOf(ReadOnlySpan{byte})"/>
    public static byte[] CookieOf(string secret) => CookieOf(Encoding.UTF8.GetBytes(secret));
}
