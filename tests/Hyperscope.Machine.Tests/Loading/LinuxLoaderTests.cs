using System.Buffers.Binary;
using Hyperscope.Vm;

namespace Hyperscope.Machine.Tests;

public sealed class LinuxLoaderTests
{
    [Fact]
    public void Packed_kernel_is_unpacked_and_entered_in_64_bit_mode()
    {
        BootImage boot = LinuxLoader.Load(KernelImages.BzImage(), KernelImages.Options);
        Assert.Equal("Linux, 64-bit entry", boot.Description);
        Assert.Equal(0x1000010ul, boot.Registers.Rip);
        Assert.Equal(LinuxLoader.BootParametersAddress, boot.Registers.Rsi);
        Assert.Equal(0x500ul, boot.SpecialRegisters.Efer);
        Assert.Equal([0x10, 0x11, 0x12], boot.Read(0x1000010, 3));
        Assert.Equal([1, 2, 3], boot.Read(0x1200000, 3));
    }

    [Fact]
    public void Boot_parameters_carry_header_map_command_line_and_disk()
    {
        BootImage boot = LinuxLoader.Load(KernelImages.BzImage(), KernelImages.Options with { Rsdp = new Gpa(0xe0000) });
        ulong page = boot.Registers.Rsi;
        Assert.Equal(0x53726448u, boot.Double(page + 0x202));
        Assert.Equal(0x400000u, boot.Double(page + 0x260));
        Assert.Equal(0xff, boot.Read(page + 0x210, 1)[0]);
        Assert.Equal("console=ttyS0", boot.Text(boot.Double(page + 0x228)));
        uint disk = boot.Double(page + 0x218);
        Assert.Equal(5000u, boot.Double(page + 0x21c));
        Assert.Equal(KernelImages.Memory - 0x2000, disk);
        Assert.Equal(0xe0000ul, boot.Quad(page + 0x70));
        Assert.Equal(4, boot.Read(page + 0x1e8, 1)[0]);
        Assert.Equal((0ul, 0x9fc00ul, 1u), (boot.Quad(page + 0x2d0), boot.Quad(page + 0x2d8), boot.Double(page + 0x2e0)));
        ulong last = page + 0x2d0 + (3 * 20);
        Assert.Equal((0x100000ul, KernelImages.Memory - 0x100000, 1u), (boot.Quad(last), boot.Quad(last + 8), boot.Double(last + 16)));
    }

    [Fact]
    public void Memory_above_the_device_hole_is_in_the_map()
    {
        BootImage boot = LinuxLoader.Load(KernelImages.Vmlinux(), new LinuxBootOptions { Memory = new GuestMemoryMap(5UL << 30) });
        ulong page = boot.Registers.Rsi;
        Assert.Equal(5, boot.Read(page + 0x1e8, 1)[0]);
        ulong last = page + 0x2d0 + (4 * 20);
        Assert.Equal((1UL << 32, 2UL << 30, 1u), (boot.Quad(last), boot.Quad(last + 8), boot.Double(last + 16)));
    }

    [Fact]
    public void Bare_kernel_gets_a_header_of_its_own()
    {
        BootImage boot = LinuxLoader.Load(KernelImages.Vmlinux(), KernelImages.Options);
        ulong page = boot.Registers.Rsi;
        Assert.Equal(0x53726448u, boot.Double(page + 0x202));
        Assert.Equal(0xaa55u, boot.Double(page + 0x1fe) & 0xffff);
        Assert.Equal(5000u, boot.Double(page + 0x21c));
    }

    [Fact]
    public void PVH_entry_gets_the_start_information()
    {
        BootImage boot = LinuxLoader.Load(KernelImages.Vmlinux(), KernelImages.Options with { Entry = LinuxEntry.Pvh, Rsdp = new Gpa(0xe0000) });
        Assert.Equal(0x1000020ul, boot.Registers.Rip);
        Assert.Equal(0x11ul, boot.SpecialRegisters.Cr0);
        ulong info = boot.Registers.Rbx;
        Assert.Equal(0x336ec578u, boot.Double(info));
        Assert.Equal(1u, boot.Double(info + 4));
        Assert.Equal(1u, boot.Double(info + 12));
        Assert.Equal(5000ul, boot.Quad(boot.Quad(info + 16) + 8));
        Assert.Equal("console=ttyS0", boot.Text(boot.Quad(info + 24)));
        Assert.Equal(0xe0000ul, boot.Quad(info + 32));
        Assert.Equal(4u, boot.Double(info + 48));
        ulong last = boot.Quad(info + 40) + (3 * 24);
        Assert.Equal((0x100000ul, KernelImages.Memory - 0x100000, 1u), (boot.Quad(last), boot.Quad(last + 8), boot.Double(last + 16)));
    }

    [Fact]
    public void Kernel_that_unpacks_itself_is_entered_in_32_bit_mode()
    {
        byte[] image = KernelImages.BzImage([.. Enumerable.Repeat((byte)0x90, 64)]);
        BootImage boot = LinuxLoader.Load(image, KernelImages.Options);
        Assert.Equal("Linux, 32-bit entry", boot.Description);
        Assert.Equal(0x100000ul, boot.Registers.Rip);
        Assert.Equal(LinuxLoader.BootParametersAddress, boot.Registers.Rsi);
        Assert.Equal(image[(5 * 512)..], boot.Read(0x100000, image.Length - (5 * 512)));
    }

    [Theory]
    [InlineData(0x1fe, 0u, "boot_flag is 0x0, not 0xaa55")]
    [InlineData(0x206, 0x0100_0209u, "version is 0x209, older than 0x20a")]
    [InlineData(0x211, 0u, "loadflags is 0x0")]
    [InlineData(0x248, 0xfffffffu, "payload is")]
    [InlineData(0x24c, 0xffffffffu, "payload is 4294967295 bytes at offset 0xa40")]
    [InlineData(0x1f1, 0xffu, "setup_sects is 255")]
    public void Damaged_header_is_refused_by_the_name_of_its_field(int offset, uint value, string message)
    {
        byte[] image = KernelImages.BzImage();
        if (offset == 0x1f1)
            image[offset] = (byte)value;
        else if (offset == 0x211)
            image[offset] = 0;
        else if (offset is 0x1fe or 0x206)
            BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan(offset), (ushort)value);
        else
            BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(offset), value);
        ImageFormatException error = Assert.Throws<ImageFormatException>(() => LinuxLoader.Load(image, KernelImages.Options));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_does_not_fit_is_refused()
    {
        Refused("initrd: 260046848 bytes do not fit", KernelImages.Options with { Initrd = new byte[248 << 20] });
        Refused("command line: 3000 characters are more than the kernel's cmdline_size 2047",
            KernelImages.Options with { CommandLine = new string('x', 3000) });
        Refused("U+20AC is not Latin-1", KernelImages.Options with { CommandLine = "\u20ac" });
        Refused("is not in memory from 0x100000 to 0x1000000", KernelImages.Options with { Memory = new GuestMemoryMap(16 << 20) });

        static void Refused(string message, LinuxBootOptions options)
        {
            ImageFormatException error = Assert.Throws<ImageFormatException>(() => LinuxLoader.Load(KernelImages.BzImage(), options));
            Assert.Contains(message, error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Segments_that_overlap_or_lie_low_and_entries_outside_are_refused()
    {
        Refused("overlap", ElfBuilder.Build64(0x1000000, (0x1000000, [1], 0x2000), (0x1001000, [1], 1)));
        Refused("is not in memory", ElfBuilder.Build64(0x9000, (0x9000, [1], 0x1000)));
        Refused("e_entry 0x5 is in none", ElfBuilder.Build64(5, (0x1000000, [1], 0x1000)));
        Refused("p_filesz 0x2 is above p_memsz 0x1", ElfBuilder.Build64(0x1000000, (0x1000000, [1, 2], 1)));
        Refused("32-bit", ElfBuilder.Build32(0x1000000, (0x1000000, [1, 2], 2)));

        static void Refused(string message, byte[] image)
        {
            ImageFormatException error = Assert.Throws<ImageFormatException>(() => LinuxLoader.Load(image, KernelImages.Options));
            Assert.Contains(message, error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void PVH_without_its_note_is_refused()
    {
        byte[] image = ElfBuilder.Build64(0x1000000, (0x1000000, [1], 0x1000));
        ImageFormatException error = Assert.Throws<ImageFormatException>(
            () => LinuxLoader.Load(image, KernelImages.Options with { Entry = LinuxEntry.Pvh }));
        Assert.Contains("no PVH entry note", error.Message, StringComparison.Ordinal);
    }
}
