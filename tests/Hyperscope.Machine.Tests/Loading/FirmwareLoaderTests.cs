namespace Hyperscope.Machine.Tests;

public sealed class FirmwareLoaderTests
{
    [Theory]
    [InlineData(64 << 10)]
    [InlineData(256 << 10)]
    public void Image_ends_at_4_GiB_and_its_last_part_below_1_MiB(int bytes)
    {
        byte[] image = new byte[bytes];
        image[^16] = 0xea;
        BootImage boot = FirmwareLoader.Load(image);
        MemoryPiece rom = Assert.Single(boot.Roms);
        Assert.Equal(0x1_0000_0000ul, rom.End.Value);
        Assert.Equal(0x100000ul, Assert.Single(boot.Pieces).End.Value);
        Assert.Equal(0xea, boot.Read(0xffff0, 1)[0]);
        Assert.Equal(0xfff0ul, boot.Registers.Rip);
        Assert.Equal(0xffff_0000ul, boot.SpecialRegisters.Cs.Base);
        Assert.Equal(0xf000, boot.SpecialRegisters.Cs.Selector);
        Assert.Equal(0x6000_0010ul, boot.SpecialRegisters.Cr0);
    }

    [Theory]
    [InlineData(0, "size of 0 bytes")]
    [InlineData(5000, "size of 5000 bytes")]
    [InlineData((16 << 20) + 4096, "to 16777216")]
    [InlineData(4096, "reset vector")]
    public void Impossible_images_are_refused(int bytes, string message)
    {
        ImageFormatException error = Assert.Throws<ImageFormatException>(() => FirmwareLoader.Load(new byte[bytes]));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }
}
