using System.Buffers.Binary;
using System.IO.Compression;

namespace Hyperscope.Machine.Tests;

/// <summary>Small images of every kind that the loaders take.</summary>
internal static class KernelImages
{
    public const ulong Memory = 256UL << 20;

    private const uint MultibootMagic = 0x1BADB002;

    public static GuestMemoryMap Map { get; } = new(Memory);

    public static LinuxBootOptions Options { get; } = new() { Memory = Map, CommandLine = "console=ttyS0", Initrd = new byte[5000] };

    public static byte[] Vmlinux() => ElfBuilder.BuildPvh(
        0x1000010, 0x1000020, (0x1000000, Enumerable.Range(0, 256).Select(i => (byte)i).ToArray(), 0x3000), (0x1200000, [1, 2, 3], 3));

    /// <summary>A bzImage with 4 setup sectors around an ELF kernel packed with gzip.</summary>
    public static byte[] BzImage() => BzImage(Gzip(Vmlinux()));

    public static byte[] BzImage(byte[] payload)
    {
        const int setup = 5 * 512;
        const int stub = 0x40;
        byte[] image = new byte[setup + stub + payload.Length];
        image[0x1f1] = 4;
        Word(0x1fe, 0xaa55);
        image[0x200] = 0xeb;
        image[0x201] = 0x66;
        "HdrS"u8.CopyTo(image.AsSpan(0x202));
        Word(0x206, 0x20f);
        image[0x211] = 1;
        Double(0x214, 0x100000);
        Double(0x22c, 0x7fffffff);
        Double(0x238, 2047);
        Double(0x248, stub);
        Double(0x24c, (uint)payload.Length);
        Double(0x258, 0x1000000);
        Double(0x260, 0x400000);
        payload.CopyTo(image, setup + stub);
        return image;

        void Word(int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan(offset), value);
        void Double(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(offset), value);
    }

    public static byte[] MultibootElf()
    {
        byte[] code = new byte[64];
        WriteMultiboot(code, flags: 3);
        return ElfBuilder.Build32(0x100020, (0x100000, code, 0x2000));
    }

    public static byte[] MultibootAddresses(uint load = 0x100000, uint loadEnd = 0, uint bssEnd = 0, uint? entry = null, uint flags = 0x10003)
    {
        byte[] image = new byte[256];
        WriteMultiboot(image.AsSpan(16), flags);
        uint[] fields = [load + 8, load, loadEnd, bssEnd, entry ?? load + 0x40];
        for (int i = 0; i < fields.Length; i++)
            BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(16 + 12 + (4 * i)), fields[i]);
        return image; // the file's first 8 bytes are not loaded
    }

    public static byte[] Gzip(byte[] bytes)
    {
        using var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Optimal, leaveOpen: true))
            gzip.Write(bytes);
        return packed.ToArray();
    }

    private static void WriteMultiboot(Span<byte> header, uint flags)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(header, MultibootMagic);
        BinaryPrimitives.WriteUInt32LittleEndian(header[4..], flags);
        BinaryPrimitives.WriteUInt32LittleEndian(header[8..], unchecked(0 - MultibootMagic - flags));
    }
}
