using System.Buffers.Binary;
using System.Text;
using Hyperscope.Vm;

namespace Hyperscope.Machine;

/// <summary>Loads Linux: a bzImage, whose payload is unpacked here, or an ELF vmlinux.</summary>
/// <remarks>
/// <para>Low memory: GDT and page tables at 0x9000, boot parameters at 0x7000, PVH information at 0x6000, command line at 0x20000. The initial RAM
/// disk goes as high below 4 GiB as the kernel allows.</para>
/// <para>Source: Linux Documentation/arch/x86/boot.rst; Xen's "PVH direct boot ABI".</para>
/// </remarks>
public static class LinuxLoader
{
    internal const ulong StartInfoAddress = 0x6000, BootParametersAddress = 0x7000, TablesAddress = 0x9000, CommandLineAddress = 0x20000;

    private const ulong LowestSegment = 0x100000;
    private const ulong DefaultInitrdMaximum = 0x7fff_ffff;
    private const int DefaultCommandLineMaximum = 2047;
    private const uint PvhEntryNote = 18;

    /// <summary>True if the image is a bzImage.</summary>
    public static bool IsBzImage(ReadOnlySpan<byte> image) => image.Length > 0x206 && image[0x202..].StartsWith("HdrS"u8);

    /// <summary>Loads either kind.</summary>
    /// <exception cref="ImageFormatException">The image is damaged, unsupported or does not fit.</exception>
    public static BootImage Load(ReadOnlyMemory<byte> image, LinuxBootOptions options)
    {
        if (IsBzImage(image.Span))
        {
            var header = LinuxSetupHeader.Parse(image);
            bool packed = KernelPayload.IsPacked(header.Payload.Span);
            if (options.Entry == LinuxEntry.Protected || (options.Entry == LinuxEntry.Auto && !packed))
                return LoadProtected(header, options);
            ulong limit = options.Memory.BelowFourGiB;
            return LoadElf(ElfFile.Parse(KernelPayload.Unpack(header.Payload, limit)), header, options);
        }

        if (!ElfFile.IsElf(image.Span))
            throw new ImageFormatException("kernel: neither a bzImage (\"HdrS\" at 0x202) nor an ELF file");
        return LoadElf(ElfFile.Parse(image), header: null, options);
    }

    private static BootImage LoadElf(ElfFile elf, LinuxSetupHeader? header, LinuxBootOptions options)
    {
        if (!elf.Is64Bit)
            throw new ImageFormatException("kernel: the ELF file is 32-bit; a 64-bit kernel is expected");
        var pieces = new List<MemoryPiece>();
        ulong end = 0;
        for (int i = 0; i < elf.Segments.Count; i++)
        {
            ElfSegment segment = elf.Segments[i];
            if (segment.PhysicalAddress < LowestSegment || !options.Memory.IsRam(segment.PhysicalAddress, segment.MemoryLength))
            {
                throw new ImageFormatException($"kernel: segment of 0x{segment.MemoryLength:x} bytes at p_paddr 0x{segment.PhysicalAddress:x} "
                    + $"is not in memory from 0x{LowestSegment:x} to 0x{options.Memory.BelowFourGiB:x}");
            }

            pieces.Add(new MemoryPiece(new Gpa(segment.PhysicalAddress), segment.Bytes, segment.MemoryLength - (ulong)segment.Bytes.Length));
            end = Math.Max(end, segment.PhysicalAddress + segment.MemoryLength);
        }

        if (header is not null)
            end = Math.Max(end, Math.Min(header.PreferredAddress + header.InitSize, options.Memory.BelowFourGiB));
        MemoryPiece? initrd = PlaceInitrd(options, end, header?.InitrdMaximum ?? DefaultInitrdMaximum);
        MemoryPiece commandLine = PlaceCommandLine(options, header?.CommandLineMaximum ?? DefaultCommandLineMaximum);
        pieces.Add(commandLine);
        if (initrd is { } disk)
            pieces.Add(disk);
        return options.Entry == LinuxEntry.Pvh
            ? FinishPvh(elf, pieces, commandLine, initrd, options)
            : FinishLong(elf, header, pieces, commandLine, initrd, options);
    }

    private static BootImage FinishLong(ElfFile elf, LinuxSetupHeader? header, List<MemoryPiece> pieces, MemoryPiece commandLine,
        MemoryPiece? initrd, LinuxBootOptions options)
    {
        // A kernel linked for high virtual addresses still gives its entry as a physical one; older links give the virtual one.
        ulong entry = elf.Entry;
        foreach (ElfSegment segment in elf.Segments)
        {
            if (entry - segment.VirtualAddress < segment.MemoryLength && !elf.Segments.Any(other => entry - other.PhysicalAddress < other.MemoryLength))
                entry = entry - segment.VirtualAddress + segment.PhysicalAddress;
        }

        CheckEntry(elf, entry, "e_entry");
        pieces.Add(CpuState.BootTables(TablesAddress, is64Bit: true));
        pieces.Add(LinuxSetupHeader.BootParameters(header, BootParametersAddress, commandLine, initrd, options));
        (KvmRegs registers, KvmSregs special) = CpuState.Long(entry, TablesAddress);
        registers.Rsi = BootParametersAddress;
        return new BootImage
        {
            Description = "Linux, 64-bit entry",
            Pieces = pieces,
            Registers = registers,
            SpecialRegisters = special,
        };
    }

    private static BootImage FinishPvh(ElfFile elf, List<MemoryPiece> pieces, MemoryPiece commandLine, MemoryPiece? initrd, LinuxBootOptions options)
    {
        if (!elf.TryFindNote("Xen", PvhEntryNote, out ReadOnlyMemory<byte> note))
            throw new ImageFormatException("kernel: it has no PVH entry note (owner Xen, type 18)");
        if (note.Length is not (4 or 8))
            throw new ImageFormatException($"kernel: PVH entry note of {note.Length} bytes is neither 4 nor 8");
        ulong entry = note.Length == 8 ? BinaryPrimitives.ReadUInt64LittleEndian(note.Span) : BinaryPrimitives.ReadUInt32LittleEndian(note.Span);
        CheckEntry(elf, entry, "PVH entry");
        pieces.Add(CpuState.BootTables(TablesAddress, is64Bit: false));
        pieces.Add(PvhStartInfo.Build(StartInfoAddress, commandLine.Address, initrd, options));
        (KvmRegs registers, KvmSregs special) = CpuState.Protected(entry, TablesAddress);
        registers.Rbx = StartInfoAddress;
        return new BootImage
        {
            Description = "Linux, PVH entry",
            Pieces = pieces,
            Registers = registers,
            SpecialRegisters = special,
        };
    }

    private static BootImage LoadProtected(LinuxSetupHeader header, LinuxBootOptions options)
    {
        if (options.Entry == LinuxEntry.Pvh)
            throw new ImageFormatException("kernel: a packed kernel has no PVH entry of its own");
        ulong address = header.LoadAddress;
        ulong length = (ulong)header.ProtectedModeCode.Length;
        if (length == 0 || address < LowestSegment || !options.Memory.IsRam(address, length))
        {
            throw new ImageFormatException(
                $"kernel: {length} bytes at code32_start 0x{address:x} are not in memory from 0x{LowestSegment:x} to 0x{options.Memory.BelowFourGiB:x}");
        }

        ulong end = Math.Max(address + length, Math.Min(header.PreferredAddress + header.InitSize, options.Memory.BelowFourGiB));
        MemoryPiece? initrd = PlaceInitrd(options, end, header.InitrdMaximum);
        MemoryPiece commandLine = PlaceCommandLine(options, header.CommandLineMaximum);
        (KvmRegs registers, KvmSregs special) = CpuState.Protected(address, TablesAddress);
        registers.Rsi = BootParametersAddress;
        List<MemoryPiece> pieces =
        [
            CpuState.BootTables(TablesAddress, is64Bit: false),
            new MemoryPiece(new Gpa(address), header.ProtectedModeCode),
            commandLine,
            LinuxSetupHeader.BootParameters(header, BootParametersAddress, commandLine, initrd, options),
        ];
        if (initrd is { } disk)
            pieces.Add(disk);
        return new BootImage
        {
            Description = "Linux, 32-bit entry",
            Pieces = pieces,
            Registers = registers,
            SpecialRegisters = special,
        };
    }

    private static void CheckEntry(ElfFile elf, ulong entry, string field)
    {
        if (!elf.Segments.Any(segment => entry - segment.PhysicalAddress < segment.MemoryLength))
            throw new ImageFormatException($"kernel: {field} 0x{entry:x} is in none of its {elf.Segments.Count} segments");
        if (entry >= GuestMemoryMap.FourGiB)
            throw new ImageFormatException($"kernel: {field} 0x{entry:x} is not below 4 GiB");
    }

    private static MemoryPiece PlaceCommandLine(LinuxBootOptions options, int maximum)
    {
        foreach (char character in options.CommandLine)
        {
            if (character is '\0' or > '\xff')
                throw new ImageFormatException($"command line: character U+{(int)character:X4} is not Latin-1");
        }

        if (options.CommandLine.Length > maximum)
            throw new ImageFormatException($"command line: {options.CommandLine.Length} characters are more than the kernel's cmdline_size {maximum}");
        return new MemoryPiece(new Gpa(CommandLineAddress), Encoding.Latin1.GetBytes(options.CommandLine), Zeros: 1);
    }

    private static MemoryPiece? PlaceInitrd(LinuxBootOptions options, ulong kernelEnd, ulong maximum)
    {
        if (options.Initrd.IsEmpty)
            return null;
        ulong length = (ulong)options.Initrd.Length;
        ulong top = Math.Min(options.Memory.BelowFourGiB, Math.Min(maximum, uint.MaxValue) + 1);
        ulong start = top >= length ? (top - length) & ~(ulong)(Gfn.PageSize - 1) : 0;
        if (start < kernelEnd)
            throw new ImageFormatException($"initrd: {length} bytes do not fit between the kernel's end 0x{kernelEnd:x} and 0x{top:x}");
        return new MemoryPiece(new Gpa(start), options.Initrd);
    }
}
