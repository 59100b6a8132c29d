using Hyperscope.Vm;

namespace Hyperscope.Machine.Tests;

public sealed class FlatImageLoaderTests
{
    private static readonly GuestMemoryMap Map = new(16UL << 20);
    private static readonly byte[] Image = [1, 2, 3, 4, 5, 6, 7, 8];

    [Fact]
    public void Real_mode_entry_is_in_the_segment_that_holds_it()
    {
        BootImage boot = Load(0x27c00, 0x27c04, EntryMode.Real);
        Assert.Equal(0x7c04ul, boot.Registers.Rip);
        Assert.Equal(0x20000ul, boot.SpecialRegisters.Cs.Base);
        Assert.Equal(0x2000, boot.SpecialRegisters.Cs.Selector);
        Assert.Equal(0xffffu, boot.SpecialRegisters.Cs.Limit);
        Assert.Equal(0x10ul, boot.SpecialRegisters.Cr0);
        Assert.Equal(0x3ff, boot.SpecialRegisters.Idt.Limit);
        Assert.Equal(Image, boot.Read(0x27c00, 8));
        Assert.Single(boot.Pieces);
    }

    [Fact]
    public void Protected_mode_has_flat_segments_that_match_the_GDT()
    {
        BootImage boot = Load(0x100000, 0x100000, EntryMode.Protected);
        Assert.Equal(0x11ul, boot.SpecialRegisters.Cr0);
        Assert.Equal(0x100000ul, boot.Registers.Rip);
        Assert.Equal(2ul, boot.Registers.Rflags);
        Assert.Equal(0x10, boot.SpecialRegisters.Cs.Selector);
        Assert.Equal((1, 0), (boot.SpecialRegisters.Cs.Db, boot.SpecialRegisters.Cs.L));
        Assert.Equal(uint.MaxValue, boot.SpecialRegisters.Ss.Limit);
        Assert.Equal(0x00cf_9b00_0000_fffful, boot.Quad(boot.SpecialRegisters.Gdt.Base + 0x10));
        Assert.Equal(0x00cf_9300_0000_fffful, boot.Quad(boot.SpecialRegisters.Gdt.Base + 0x18));
    }

    [Theory]
    [InlineData(0ul)]
    [InlineData(0x123456ul)]
    [InlineData(0xffff_fffful)]
    public void Long_mode_maps_the_first_4_GiB_to_themselves(ulong address)
    {
        BootImage boot = Load(0x100000, 0x100000, EntryMode.Long);
        Assert.Equal(0x8000_0011ul, boot.SpecialRegisters.Cr0);
        Assert.Equal(0x20ul, boot.SpecialRegisters.Cr4);
        Assert.Equal(0x500ul, boot.SpecialRegisters.Efer);
        Assert.Equal((0, 1), (boot.SpecialRegisters.Cs.Db, boot.SpecialRegisters.Cs.L));
        Assert.Equal(0x00af_9b00_0000_fffful, boot.Quad(boot.SpecialRegisters.Gdt.Base + 0x10));
        ulong pml4 = boot.Quad(boot.SpecialRegisters.Cr3);
        ulong pdpt = boot.Quad((pml4 & ~0xffful) + (8 * (address >> 30)));
        ulong pd = boot.Quad((pdpt & ~0xffful) + (8 * ((address >> 21) & 511)));
        Assert.Equal(3ul, pml4 & 3);
        Assert.Equal(3ul, pdpt & 3);
        Assert.Equal(0x83ul, pd & 0xfff);
        Assert.Equal(address & ~0x1f_fffful, pd & ~0xffful);
    }

    [Fact]
    public void Boot_tables_make_way_for_the_image()
    {
        byte[] large = new byte[0x20000];
        BootImage boot = FlatImageLoader.Load(large, new Gpa(0), new Gpa(0), EntryMode.Long, Map);
        Assert.Equal(0x20000ul, boot.SpecialRegisters.Gdt.Base);
        Assert.Equal(0x21000ul, boot.SpecialRegisters.Cr3);
    }

    [Theory]
    [InlineData(0x100000ul, 0x100008ul, EntryMode.Long, "entry 0x100008 is outside the image, 0x100000 to 0x100007")]
    [InlineData(0xfffffful, 0xfffffful, EntryMode.Long, "end outside memory, which ends at 0x1000000")]
    [InlineData(0xffff_ffff_ffff_fffful, 0ul, EntryMode.Long, "end outside memory")]
    [InlineData(0x100000ul, 0x100000ul, EntryMode.Real, "real-mode entry 0x100000 is not below 0x100000")]
    public void What_does_not_fit_is_refused_with_the_value_and_the_bound(ulong address, ulong entry, EntryMode mode, string message)
    {
        ImageFormatException error = Assert.Throws<ImageFormatException>(() => Load(address, entry, mode));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Empty_image_is_refused() => Assert.Throws<ImageFormatException>(() =>
        FlatImageLoader.Load(ReadOnlyMemory<byte>.Empty, new Gpa(0), new Gpa(0), EntryMode.Real, Map));

    [Fact]
    public void Pieces_reach_memory_with_their_zeros()
    {
        using var memory = new GuestMemory();
        Map.AddSlots(memory);
        Assert.True(memory.TryWrite(new Gpa(0x5000), [9, 9, 9, 9]));
        var boot = new BootImage
        {
            Description = "test",
            Pieces = [new MemoryPiece(new Gpa(0x5000), new byte[] { 1, 2 }, Zeros: 2), new MemoryPiece(new Gpa(0x5001), new byte[] { 7 })],
            Registers = default,
            SpecialRegisters = default,
        };
        boot.WriteTo(memory);
        Assert.True(memory.TryRead(new Gpa(0x5000), out uint value));
        Assert.Equal(0x0000_0701u, value);
    }

    private static BootImage Load(ulong address, ulong entry, EntryMode mode) =>
        FlatImageLoader.Load(Image, new Gpa(address), new Gpa(entry), mode, Map);
}
