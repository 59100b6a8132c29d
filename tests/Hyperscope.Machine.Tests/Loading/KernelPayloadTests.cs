using System.Buffers.Binary;

namespace Hyperscope.Machine.Tests;

public sealed class KernelPayloadTests
{
    public static TheoryData<string> Formats => ["gzip", "xz", "zstd", "lz4"];

    [Theory]
    [MemberData(nameof(Formats))]
    public void Every_format_unpacks_to_the_original(string format)
    {
        Assert.Equal(PackedSamples.Unpacked(), KernelPayload.Unpack(Packed(format), 1 << 20).ToArray());
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void A_promise_that_is_not_kept_is_refused(string format)
    {
        int size = PackedSamples.Unpacked().Length;
        foreach (int promised in new[] { size - 1, size + 1 })
        {
            byte[] packed = Packed(format);
            BinaryPrimitives.WriteInt32LittleEndian(packed.AsSpan(packed.Length - 4), promised);
            Assert.Throws<ImageFormatException>(() => KernelPayload.Unpack(packed, 1 << 20));
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void Truncated_data_is_refused(string format)
    {
        byte[] packed = Packed(format);
        byte[] cut = [.. packed[..(packed.Length / 2)], .. packed[^4..]];
        Assert.Throws<ImageFormatException>(() => KernelPayload.Unpack(cut, 1 << 20));
    }

    [Fact]
    public void More_than_the_limit_is_refused_before_anything_is_set_aside()
    {
        byte[] packed = Packed("gzip");
        BinaryPrimitives.WriteUInt32LittleEndian(packed.AsSpan(packed.Length - 4), uint.MaxValue);
        long before = GC.GetAllocatedBytesForCurrentThread();
        ImageFormatException error = Assert.Throws<ImageFormatException>(() => KernelPayload.Unpack(packed, 1 << 20));
        Assert.Contains("4294967295, not 1 to 1048576", error.Message, StringComparison.Ordinal);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 16);
    }

    [Theory]
    [InlineData("QlpoOTFBWSZTWQAAAAAAAAAAAAAAAA==", "bzip2 is not supported")]
    [InlineData("XQAAgAD//////////wAAAAAAAAAAAAAA", "lzma is not supported")]
    [InlineData("AAAAAAAAAAAAAAAAAAAAAAAAAAABAAAA", "signature 00000000")]
    public void Other_formats_are_named(string base64, string message)
    {
        byte[] packed = [.. Convert.FromBase64String(base64), 16, 0, 0, 0];
        ImageFormatException error = Assert.Throws<ImageFormatException>(() => KernelPayload.Unpack(packed, 1 << 20));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_huge_xz_dictionary_is_refused()
    {
        byte[] packed = Packed("xz");
        int at = packed.AsSpan().IndexOf(new byte[] { 0x21, 0x01 });
        packed[at + 2] = 40;
        ImageFormatException error = Assert.Throws<ImageFormatException>(() => KernelPayload.Unpack(packed, 1 << 20));
        Assert.Contains("dictionary of 4294967295 bytes is above", error.Message, StringComparison.Ordinal);
    }

    private static byte[] Packed(string format)
    {
        byte[] size = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(size, PackedSamples.Unpacked().Length);
        return format switch
        {
            "gzip" => PackedSamples.Gzip,
            "xz" => [.. PackedSamples.XzWithX86Filter, .. size],
            "zstd" => [.. PackedSamples.Zstd, .. size],
            _ => [.. PackedSamples.Lz4Legacy, .. size],
        };
    }
}
