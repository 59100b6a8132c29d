using System.Buffers.Binary;
using Hyperscope.Machine;
using Hyperscope.Machine.Tests;

namespace Hyperscope.Fuzz.Targets;

/// <summary>Image files in the loaders: loaded, or refused with a reason.</summary>
public static class GuestImages
{
    private static readonly GuestMemoryMap Map = new(64UL << 20);
    private static readonly byte[][] Corpus =
    [
        KernelImages.BzImage(), KernelImages.Vmlinux(), KernelImages.MultibootElf(), KernelImages.MultibootAddresses(),
        KernelImages.BzImage(PackedSamples.Gzip), KernelImages.BzImage([.. PackedSamples.XzWithX86Filter, .. UnpackedSize()]),
        KernelImages.BzImage([.. PackedSamples.Zstd, .. UnpackedSize()]), KernelImages.BzImage([.. PackedSamples.Lz4Legacy, .. UnpackedSize()]),
    ];

    private static long _loaded, _refused;

    public static string Summary() => $"{_loaded} loaded, {_refused} refused";

    public static void Run(ReadOnlySpan<byte> input)
    {
        try
        {
            BootImage image = ImageLoader.LoadKernel(input.ToArray(), new LinuxBootOptions { Memory = Map });
            foreach (MemoryPiece piece in image.Pieces)
            {
                if (!Map.IsRam(piece.Address.Value, piece.Length))
                    throw new InvalidOperationException($"{piece} is not in memory");
            }

            _loaded++;
        }
        catch (ImageFormatException)
        {
            _refused++;
        }
    }

    /// <summary>A good image with fields, lengths and packed bytes damaged; now and then bytes from nowhere.</summary>
    public static byte[] Generate(Random random, out int units)
    {
        units = 1;
        if (random.Next(40) == 0)
        {
            byte[] noise = new byte[random.Next(8192)];
            random.NextBytes(noise);
            return noise;
        }

        byte[] image = [.. Corpus[random.Next(Corpus.Length)]];
        for (int changes = random.Next(5); changes > 0; changes--)
            Damage(random, image);
        return random.Next(16) == 0 ? image[..random.Next(image.Length)] : image;
    }

    // Headers are what the loaders decide by; they are at the start, or behind the setup sectors of a bzImage.
    private static void Damage(Random random, byte[] image)
    {
        ReadOnlySpan<ulong> edges = [0, 1, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0x1_0000_0000, long.MaxValue, ulong.MaxValue];
        int at = random.Next(4) switch
        {
            0 => random.Next(image.Length),
            1 => random.Next(Math.Min(image.Length, 0x80)),
            2 => random.Next(Math.Min(image.Length, 0x1F0), Math.Min(image.Length, 0x270)),
            _ => random.Next(Math.Min(image.Length - 1, 0xA00), Math.Min(image.Length, 0xB00)),
        };
        at = Math.Min(at, image.Length - 1);
        Span<byte> field = image.AsSpan(at, Math.Min(image.Length - at, 1 << random.Next(4)));
        Span<byte> value = stackalloc byte[8];
        value.Clear();
        field.CopyTo(value);
        ulong old = BinaryPrimitives.ReadUInt64LittleEndian(value);
        BinaryPrimitives.WriteUInt64LittleEndian(value, random.Next(4) switch
        {
            0 => old ^ (1UL << random.Next(field.Length * 8)),
            1 => edges[random.Next(edges.Length)],
            2 => old + (ulong)(long)random.Next(-65, 66),
            _ => (ulong)random.NextInt64(),
        });
        value[..field.Length].CopyTo(field);
    }

    private static byte[] UnpackedSize() => BitConverter.GetBytes(PackedSamples.Unpacked().Length);
}
