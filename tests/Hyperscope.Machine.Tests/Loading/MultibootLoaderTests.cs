namespace Hyperscope.Machine.Tests;

public sealed class MultibootLoaderTests
{
    private static readonly MultibootModule[] Modules = [new(new byte[] { 1, 2, 3 }, "first a=b"), new(new byte[5000], "second")];

    [Fact]
    public void ELF_kernel_is_entered_with_magic_and_information()
    {
        BootImage boot = MultibootLoader.Load(KernelImages.MultibootElf(), "kernel arg", Modules, KernelImages.Map);
        Assert.Equal("multiboot kernel, ELF", boot.Description);
        Assert.Equal(0x2badb002ul, boot.Registers.Rax);
        Assert.Equal(0x100020ul, boot.Registers.Rip);
        Assert.Equal(0x11ul, boot.SpecialRegisters.Cr0);
        ulong info = boot.Registers.Rbx;
        Assert.Equal(0x24du, boot.Double(info));
        Assert.Equal(639u, boot.Double(info + 4));
        Assert.Equal((uint)(KernelImages.Memory >> 10) - 1024, boot.Double(info + 8));
        Assert.Equal("kernel arg", boot.Text(boot.Double(info + 16)));
    }

    [Fact]
    public void Modules_follow_the_image_on_page_borders()
    {
        BootImage boot = MultibootLoader.Load(KernelImages.MultibootElf(), "", Modules, KernelImages.Map);
        ulong info = boot.Registers.Rbx;
        Assert.Equal(2u, boot.Double(info + 20));
        ulong table = boot.Double(info + 24);
        Assert.Equal((0x102000u, 0x102003u), (boot.Double(table), boot.Double(table + 4)));
        Assert.Equal([1, 2, 3], boot.Read(0x102000, 3));
        Assert.Equal("first a=b", boot.Text(boot.Double(table + 8)));
        Assert.Equal((0x103000u, 0x103000u + 5000), (boot.Double(table + 16), boot.Double(table + 20)));
        Assert.Equal("second", boot.Text(boot.Double(table + 24)));
    }

    [Fact]
    public void Memory_map_entries_chain_by_their_size()
    {
        BootImage boot = MultibootLoader.Load(KernelImages.MultibootElf(), "", [], KernelImages.Map);
        ulong info = boot.Registers.Rbx;
        ulong at = boot.Double(info + 48);
        ulong end = at + boot.Double(info + 44);
        var seen = new List<(ulong, ulong, uint)>();
        for (; at < end; at += boot.Double(at) + 4)
            seen.Add((boot.Quad(at + 4), boot.Quad(at + 12), boot.Double(at + 20)));
        Assert.Equal(KernelImages.Map.Ranges.Select(range => (range.Address.Value, range.Length, (uint)range.Type)), seen);
    }

    [Fact]
    public void Address_fields_place_the_image_instead_of_ELF()
    {
        byte[] image = KernelImages.MultibootAddresses(bssEnd: 0x105000);
        image[8] = 0x77;
        BootImage boot = MultibootLoader.Load(image, "", Modules, KernelImages.Map);
        Assert.Equal("multiboot kernel, address fields", boot.Description);
        Assert.Equal(0x100040ul, boot.Registers.Rip);
        Assert.Equal(0x77, boot.Read(0x100000, 1)[0]);
        Assert.Equal(0x105000u, boot.Double(boot.Double(boot.Registers.Rbx + 24)));
    }

    [Fact]
    public void An_image_in_low_memory_keeps_its_bytes()
    {
        byte[] image = KernelImages.MultibootAddresses(load: 0x8000, bssEnd: 0x30000);
        BootImage boot = MultibootLoader.Load(image, "", [], KernelImages.Map);
        Assert.Equal(image[8..], boot.Read(0x8000, 248));
        Assert.Equal(0, boot.Read(0x10000, 4).Sum(value => value));
        Assert.InRange(boot.Registers.Rbx, 0x30000ul, KernelImages.Memory);
        Assert.InRange(boot.SpecialRegisters.Gdt.Base, 0x30000ul, KernelImages.Memory);
        Assert.NotEqual(boot.Registers.Rbx, boot.SpecialRegisters.Gdt.Base);
    }

    [Theory]
    [InlineData(0x100000u, 0x0fffffu, 0u, null, "load_end_addr 0xfffff is below load_addr 0x100000")]
    [InlineData(0x100000u, 0x200000u, 0u, null, "image by load_addr and load_end_addr is 1048576 bytes")]
    [InlineData(0x100000u, 0u, 0x100001u, null, "bss_end_addr 0x100001 is below")]
    [InlineData(0x100000u, 0u, 0u, 0x99999u, "entry_addr 0x99999 is outside the image")]
    [InlineData(0xfffffff0u, 0u, 0u, null, "load_addr 0xfffffff0 and header_addr 0xfffffff8|end outside memory|entry_addr")]
    public void Impossible_addresses_are_refused(uint load, uint loadEnd, uint bssEnd, uint? entry, string messages)
    {
        byte[] image = KernelImages.MultibootAddresses(load, loadEnd, bssEnd, entry);
        ImageFormatException error = Assert.Throws<ImageFormatException>(() => MultibootLoader.Load(image, "", [], KernelImages.Map));
        Assert.Contains(messages.Split('|'), message => error.Message.Contains(message, StringComparison.Ordinal));
    }

    [Fact]
    public void Unknown_requirements_are_refused()
    {
        byte[] image = KernelImages.MultibootAddresses(flags: 0x10008);
        ImageFormatException error = Assert.Throws<ImageFormatException>(() => MultibootLoader.Load(image, "", [], KernelImages.Map));
        Assert.Contains("flags 0x10008 require more than 0x7", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_wrong_checksum_is_no_header()
    {
        byte[] image = KernelImages.MultibootAddresses();
        image[24]++;
        Assert.False(MultibootLoader.IsMultiboot(image));
        Assert.Throws<ImageFormatException>(() => ImageLoader.LoadKernel(image, KernelImages.Options));
    }
}
