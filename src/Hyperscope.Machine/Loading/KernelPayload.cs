using System.Buffers.Binary;
using System.IO.Compression;
using System.Runtime.InteropServices;
using K4os.Compression.LZ4;
using SharpCompress.Compressors.Xz;

namespace Hyperscope.Machine;

/// <summary>Unpacks what a bzImage carries: gzip, xz, zstd or LZ4, with the unpacked size in the last four bytes.</summary>
internal static class KernelPayload
{
    private const int TrailerBytes = 4;
    private const ulong MaximumBytes = 1 << 30;
    private const uint MaximumDictionary = 128 << 20;
    private const int Lz4BlockBytes = 8 << 20;

    /// <summary>Unpacks.</summary>
    /// <param name="packed">The payload as the setup header delimits it.</param>
    /// <param name="limit">Most bytes that may come out.</param>
    public static ReadOnlyMemory<byte> Unpack(ReadOnlyMemory<byte> packed, ulong limit)
    {
        var image = new ImageBytes(packed, "kernel payload");
        if (image.Length < 18)
            throw image.Error($"payload_length is {image.Length}, too short for any format");
        uint size = BinaryPrimitives.ReadUInt32LittleEndian(packed.Span[^TrailerBytes..]);
        limit = Math.Min(limit, MaximumBytes);
        if (size == 0 || size > limit)
            throw image.Error($"unpacked size in its last four bytes is {size}, not 1 to {limit}");
        Format format = FormatOf(packed.Span);

        // No more is set aside than such an input can plausibly fill; the rest is added as it arrives.
        var output = new Output((int)size, (int)Math.Min(size, (64L * packed.Length) + (1 << 20)));
        try
        {
            if (format == Format.Lz4)
                UnpackLz4(packed.Span[..^TrailerBytes], output);
            else
                UnpackStream(format, format == Format.Gzip ? packed : packed[..^TrailerBytes], output);
        }
        catch (Exception exception) when (exception is not (ImageFormatException or OutOfMemoryException))
        {
            // The decompressors report damage with many types, some of them by accident (index out of range).
            throw new ImageFormatException($"kernel payload: {format} data is damaged after {output.Length} bytes: {exception.Message}", exception);
        }

        if (output.Length != (int)size)
            throw image.Error($"{output.Length} bytes came out, but its last four bytes promise {size}");
        return output.Bytes;
    }

    /// <summary>True if the bytes begin as a packed kernel does.</summary>
    public static bool IsPacked(ReadOnlySpan<byte> bytes) =>
        bytes.StartsWith<byte>([0x1f, 0x8b]) || bytes.StartsWith<byte>([0xfd, (byte)'7', (byte)'z'])
        || bytes.StartsWith<byte>([0x28, 0xb5, 0x2f, 0xfd]) || bytes.StartsWith<byte>([0x02, 0x21, 0x4c, 0x18])
        || bytes.StartsWith("BZh"u8) || bytes.StartsWith<byte>([0x5d, 0, 0]) || bytes.StartsWith<byte>([0x89, (byte)'L', (byte)'Z', (byte)'O']);

    private static Format FormatOf(ReadOnlySpan<byte> bytes) => bytes switch
    {
        [0x1f, 0x8b, ..] => Format.Gzip,
        [0xfd, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0, ..] => Format.Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Format.Zstd,
        [0x02, 0x21, 0x4c, 0x18, ..] => Format.Lz4,
        [(byte)'B', (byte)'Z', (byte)'h', ..] => throw Unsupported("bzip2"),
        [0x5d, 0, 0, ..] => throw Unsupported("lzma"),
        [0x89, (byte)'L', (byte)'Z', (byte)'O', ..] => throw Unsupported("lzo"),
        _ => throw new ImageFormatException($"kernel payload: signature {Convert.ToHexStringLower(bytes[..4])} is not that of gzip, xz, zstd or LZ4"),
    };

    private static ImageFormatException Unsupported(string name) =>
        new($"kernel payload: {name} is not supported; gzip, xz, zstd and LZ4 are");

    private static void UnpackStream(Format format, ReadOnlyMemory<byte> packed, Output output)
    {
        if (!MemoryMarshal.TryGetArray(packed, out ArraySegment<byte> segment))
            segment = packed.ToArray();
        using var source = new MemoryStream(segment.Array!, segment.Offset, segment.Count, writable: false);
        if (format == Format.Xz)
            CheckXzDictionary(packed.Span);
        using Stream stream = format switch
        {
            Format.Gzip => new GZipStream(source, CompressionMode.Decompress),
            Format.Xz => new XZStream(source),
            _ => new SharpCompress.Compressors.ZStandard.DecompressionStream(source),
        };
        while (true)
        {
            Span<byte> room = output.Room();
            int count = stream.Read(room);
            if (count == 0)
                return;
            output.Advance(count);
        }
    }

    // The decoder sets the dictionary aside before it looks at any data. Source: "The .xz File Format", 3.1 and 5.3.1.
    private static void CheckXzDictionary(ReadOnlySpan<byte> packed)
    {
        const int header = 12;
        const byte lzma2 = 0x21;
        int length = packed.Length > header ? (packed[header] + 1) * 4 : 0;
        if (length < 8 || packed.Length < header + length)
            throw new ImageFormatException($"kernel payload: xz block header of {length} bytes is not 8 bytes or more inside the payload");
        ReadOnlySpan<byte> block = packed.Slice(header, length);
        int filters = (block[1] & 3) + 1;
        int at = 2;
        for (int sizes = block[1] >> 6; sizes != 0; sizes &= sizes - 1)
        {
            while (at < length && (block[at++] & 0x80) != 0)
            {
            }
        }

        for (int i = 0; i < filters && at + 2 < length; i++)
        {
            byte id = block[at];
            byte properties = block[at + 1];
            if (id == lzma2)
            {
                int bits = block[at + 2];
                ulong size = bits >= 40 ? uint.MaxValue : (2UL | (uint)(bits & 1)) << ((bits / 2) + 11);
                if (size > MaximumDictionary)
                    throw new ImageFormatException($"kernel payload: xz dictionary of {size} bytes is above {MaximumDictionary}");
            }

            at += 2 + properties;
        }
    }

    // The "legacy" frame that lz4 -l writes: blocks of up to 8 MiB, each after its packed length.
    private static void UnpackLz4(ReadOnlySpan<byte> packed, Output output)
    {
        packed = packed[4..];
        while (packed.Length >= 4)
        {
            uint length = BinaryPrimitives.ReadUInt32LittleEndian(packed);
            packed = packed[4..];
            if (length == 0 || length > (uint)packed.Length)
                throw new ImageFormatException($"kernel payload: LZ4 block of {length} bytes, but {packed.Length} are left");
            Span<byte> room = output.Room(Lz4BlockBytes);
            int count = LZ4Codec.Decode(packed[..(int)length], room);
            if (count <= 0)
                throw new ImageFormatException($"kernel payload: LZ4 block of {length} bytes after {output.Length} unpacked ones is damaged");
            output.Advance(count);
            packed = packed[(int)length..];
        }
    }

    private enum Format
    {
        Gzip,
        Xz,
        Zstd,
        Lz4,
    }

    /// <summary>Unpacked bytes, at most a promised number.</summary>
    private sealed class Output(int promised, int reserved)
    {
        private const int Slack = 1; // room for one byte too many, so that too much is noticed

        private byte[] _bytes = new byte[reserved + Slack];

        public int Length { get; private set; }

        public ReadOnlyMemory<byte> Bytes => _bytes.AsMemory(0, Length);

        /// <summary>Unused room: at least one byte, and <paramref name="wanted"/> if the promise allows.</summary>
        public Span<byte> Room(int wanted = 1)
        {
            long most = (long)promised + Slack;
            long needed = Math.Min((long)Length + wanted, most);
            if (needed > _bytes.Length)
                Array.Resize(ref _bytes, (int)Math.Min(most, Math.Max(needed, 2L * _bytes.Length)));
            return _bytes.AsSpan(Length);
        }

        public void Advance(int count)
        {
            Length += count;
            if (Length > promised)
                throw new ImageFormatException($"kernel payload: more than the promised {promised} bytes come out");
        }
    }
}
