using System.Buffers.Binary;
using Hyperscope.Vm;

namespace Hyperscope.Machine;

/// <summary>The setup header of a bzImage, and the boot parameters ("zero page") made from it.
/// Source: Linux Documentation/arch/x86/boot.rst and zero-page.rst.</summary>
internal sealed class LinuxSetupHeader
{
    private const int BootParametersBytes = 4096, E820Offset = 0x2d0, E820EntryBytes = 20;
    private const int HeaderStart = 0x1f1, SetupSectors = 0x1f1, BootFlag = 0x1fe, Jump = 0x201, Signature = 0x202, Version = 0x206,
        LoaderType = 0x210, LoadFlags = 0x211, Code32Start = 0x214, RamdiskImage = 0x218, RamdiskSize = 0x21c, CommandLinePointer = 0x228,
        InitrdAddressMaximum = 0x22c, CommandLineSize = 0x238, PayloadOffset = 0x248, PayloadLength = 0x24c, PreferredAddressField = 0x258,
        InitSizeField = 0x260, AcpiRsdp = 0x070, E820Count = 0x1e8, HeaderLimit = 0x290;
    private const ushort OldestVersion = 0x20a;
    private const byte LoadedHigh = 1, UndefinedLoader = 0xff;
    private const int Sector = 512, MaximumCommandLine = 0x10000;

    private ReadOnlyMemory<byte> _header;

    public ReadOnlyMemory<byte> Payload { get; private init; }

    /// <summary>What is loaded at <see cref="LoadAddress"/> when the kernel unpacks itself.</summary>
    public ReadOnlyMemory<byte> ProtectedModeCode { get; private init; }

    public ulong LoadAddress { get; private init; }

    public ulong InitrdMaximum { get; private init; }

    public int CommandLineMaximum { get; private init; }

    public ulong PreferredAddress { get; private init; }

    public ulong InitSize { get; private init; }

    public static LinuxSetupHeader Parse(ReadOnlyMemory<byte> bytes)
    {
        var image = new ImageBytes(bytes, "bzImage");
        ushort flag = image.Word(BootFlag, "boot_flag");
        if (flag != 0xaa55)
            throw image.Error($"boot_flag is 0x{flag:x}, not 0xaa55");
        ushort version = image.Word(Version, "version");
        if (version < OldestVersion)
            throw image.Error($"version is 0x{version:x}, older than 0x{OldestVersion:x}");
        byte loadFlags = image.Byte(LoadFlags, "loadflags");
        if ((loadFlags & LoadedHigh) == 0)
            throw image.Error($"loadflags is 0x{loadFlags:x}: not a kernel that is loaded at 1 MiB");
        int end = Math.Min(Signature + image.Byte(Jump, "jump"), HeaderLimit);
        if (end < InitSizeField + 4)
            throw image.Error($"header ends at 0x{end:x}, before init_size at 0x{InitSizeField:x}");
        byte sectors = image.Byte(SetupSectors, "setup_sects");
        ulong codeOffset = (ulong)((sectors == 0 ? 4 : sectors) + 1) * Sector;
        if (codeOffset > (ulong)image.Length)
            throw image.Error($"setup_sects is {sectors}, but the image has only {image.Length} bytes");
        ulong payloadOffset = codeOffset + image.Double(PayloadOffset, "payload_offset");
        uint payloadLength = image.Double(PayloadLength, "payload_length");
        return new LinuxSetupHeader
        {
            _header = image.Slice(HeaderStart, (ulong)(end - HeaderStart), "setup header"),
            Payload = image.Slice(payloadOffset, payloadLength, "payload"),
            ProtectedModeCode = bytes[(int)codeOffset..],
            LoadAddress = image.Double(Code32Start, "code32_start"),
            InitrdMaximum = image.Double(InitrdAddressMaximum, "initrd_addr_max"),
            CommandLineMaximum = (int)Math.Min(image.Double(CommandLineSize, "cmdline_size"), MaximumCommandLine),
            PreferredAddress = Math.Min(image.Quad(PreferredAddressField, "pref_address"), 1UL << 52),
            InitSize = image.Double(InitSizeField, "init_size"),
        };
    }

    /// <summary>Builds the boot parameters; without a header as for a bare vmlinux.</summary>
    public static MemoryPiece BootParameters(LinuxSetupHeader? header, ulong address, MemoryPiece commandLine, MemoryPiece? initrd, LinuxBootOptions options)
    {
        byte[] page = new byte[BootParametersBytes];
        if (header is not null)
        {
            header._header.Span.CopyTo(page.AsSpan(HeaderStart));
        }
        else
        {
            Word(BootFlag, 0xaa55);
            "HdrS"u8.CopyTo(page.AsSpan(Signature));
            Word(Version, 0x20f);
            Double(InitrdAddressMaximum, 0x7fff_ffff);
            Double(CommandLineSize, 2047);
        }

        page[LoaderType] = UndefinedLoader;
        page[LoadFlags] |= LoadedHigh;
        Double(CommandLinePointer, (uint)commandLine.Address.Value);
        if (initrd is { } disk)
        {
            Double(RamdiskImage, (uint)disk.Address.Value);
            Double(RamdiskSize, (uint)disk.Length);
        }

        if (options.Rsdp is { } rsdp)
            BinaryPrimitives.WriteUInt64LittleEndian(page.AsSpan(AcpiRsdp), rsdp.Value);
        page[E820Count] = (byte)options.Memory.Ranges.Count;
        int at = E820Offset;
        foreach (MemoryRange range in options.Memory.Ranges)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(page.AsSpan(at), range.Address.Value);
            BinaryPrimitives.WriteUInt64LittleEndian(page.AsSpan(at + 8), range.Length);
            Double(at + 16, (uint)range.Type);
            at += E820EntryBytes;
        }

        return new MemoryPiece(new Gpa(address), page);

        void Word(int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(page.AsSpan(offset), value);
        void Double(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(page.AsSpan(offset), value);
    }
}
