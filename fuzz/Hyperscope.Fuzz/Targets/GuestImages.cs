using System.Buffers.Binary;
using Hyperscope.Machine;

namespace Hyperscope.Fuzz.Targets;

/// <summary>Image files in the loaders: loaded, or refused with a reason.</summary>
public static class GuestImages
{
    private static readonly GuestMemoryMap Map = new(64UL << 20);
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

    public static byte[] Generate(Random random, out int units)
    {
        units = 1;
        byte[] image = new byte[random.Next(64, 8192)];
        Span<byte> bytes = image;
        switch (random.Next(4))
        {
            case 0:
                random.NextBytes(bytes[random.Next(image.Length)..]);
                break;
            case 1: // multiboot with address fields
                BinaryPrimitives.WriteUInt32LittleEndian(bytes, 0x1BADB002);
                BinaryPrimitives.WriteUInt32LittleEndian(bytes[4..], 1 << 16);
                BinaryPrimitives.WriteUInt32LittleEndian(bytes[8..], unchecked(0 - (0x1BADB002u + (1 << 16))));
                for (int field = 12; field < 32; field += 4)
                    BinaryPrimitives.WriteUInt32LittleEndian(bytes[field..], (uint)(0x100000 + (random.Next(8) == 0 ? random.Next(-64, 8192) : 0)));
                if (random.Next(2) == 0)
                    return image;
                break;
            case 2: // ELF
                new byte[] { 0x7F, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1 }.CopyTo(bytes);
                bytes[16] = 2;
                bytes[18] = 62;
                bytes[20] = 1;
                bytes[32] = 64;
                bytes[52] = 64;
                bytes[54] = 56;
                bytes[56] = (byte)random.Next(4);
                break;
            default: // Linux
                if (image.Length > 0x260)
                {
                    bytes[0x1F1] = (byte)random.Next(8);
                    bytes[0x1FE] = 0x55;
                    bytes[0x1FF] = 0xAA;
                    "HdrS"u8.CopyTo(bytes[0x202..]);
                    bytes[0x206] = 15;
                    bytes[0x207] = 2;
                    bytes[0x211] = 1;
                }

                break;
        }

        for (int flips = random.Next(12); flips > 0; flips--)
            image[random.Next(Math.Min(image.Length, 0x280))] = (byte)random.Next(256);
        return image;
    }
}
