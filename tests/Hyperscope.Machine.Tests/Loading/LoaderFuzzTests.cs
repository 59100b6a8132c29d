namespace Hyperscope.Machine.Tests;

/// <summary>Damaged images end in an <see cref="ImageFormatException"/> or load, and never take more memory than their size explains.</summary>
public sealed class LoaderFuzzTests
{
    public static TheoryData<string, int> Cases => new(
        from kind in new[] { "bzImage", "vmlinux", "multiboot ELF", "multiboot addresses", "gzip", "xz", "zstd", "lz4" }
        from seed in new[] { 1, 2 }
        select (kind, seed));

    [Theory]
    [MemberData(nameof(Cases))]
    public void Mutated_images_are_refused_or_loaded(string kind, int seed)
    {
        byte[] original = kind switch
        {
            "bzImage" => KernelImages.BzImage(),
            "vmlinux" => KernelImages.Vmlinux(),
            "multiboot ELF" => KernelImages.MultibootElf(),
            "multiboot addresses" => KernelImages.MultibootAddresses(),
            "gzip" => KernelImages.BzImage(PackedSamples.Gzip),
            "xz" => KernelImages.BzImage([.. PackedSamples.XzWithX86Filter, .. Size()]),
            "zstd" => KernelImages.BzImage([.. PackedSamples.Zstd, .. Size()]),
            _ => KernelImages.BzImage([.. PackedSamples.Lz4Legacy, .. Size()]),
        };
        var random = new Random(seed);
        bool isPayload = kind is "xz" or "zstd" or "lz4" or "gzip";
        int rounds = isPayload ? 1500 : 8000;
        int refused = 0;
        for (int round = 0; round < rounds; round++)
        {
            byte[] image = Mutate(original, random, isPayload ? (5 * 512) + 0x40 : 0);
            LinuxEntry entry = (LinuxEntry)random.Next(3);
            long before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                BootImage boot = ImageLoader.LoadKernel(image, KernelImages.Options with { Entry = entry });
                foreach (MemoryPiece piece in boot.Pieces)
                    Assert.True(KernelImages.Map.IsRam(piece.Address.Value, piece.Length), $"{kind}, seed {seed}, round {round}: {piece}");
            }
            catch (ImageFormatException error)
            {
                Assert.NotEmpty(error.Message);
                refused++;
            }
            catch (Exception error) when (error is not Xunit.Sdk.XunitException)
            {
                Assert.Fail($"{kind}, seed {seed}, round {round}: {error}");
            }

            long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            Assert.True(allocated < 300 << 20, $"{kind}, seed {seed}, round {round}: {allocated} bytes allocated");
        }

        Assert.InRange(refused, 1, rounds);
    }

    private static byte[] Mutate(byte[] original, Random random, int from)
    {
        byte[] image = [.. original];
        int changes = random.Next(1, 4);
        for (int i = 0; i < changes; i++)
        {
            int header = random.Next(3) == 0 ? image.Length : Math.Min(image.Length, from + 0x280);
            int at = random.Next(Math.Min(from, header - 1), header);
            switch (random.Next(4))
            {
                case 0:
                    image[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1:
                    image[at] = (byte)random.Next(256);
                    break;
                case 2:
                    image.AsSpan(at, Math.Min(random.Next(1, 9), image.Length - at)).Fill(0xff);
                    break;
                default:
                    image.AsSpan(at, Math.Min(random.Next(1, 9), image.Length - at)).Clear();
                    break;
            }
        }

        return random.Next(10) == 0 ? image[..random.Next(image.Length)] : image;
    }

    private static byte[] Size() => BitConverter.GetBytes(PackedSamples.Unpacked().Length);
}
