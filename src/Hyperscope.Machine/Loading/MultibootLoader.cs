using System.Buffers.Binary;
using System.Text;
using Hyperscope.Vm;

namespace Hyperscope.Machine;

/// <summary>A file handed to a multiboot kernel.</summary>
/// <param name="Bytes">Its contents.</param>
/// <param name="CommandLine">Its name and arguments, Latin-1.</param>
public readonly record struct MultibootModule(ReadOnlyMemory<byte> Bytes, string CommandLine);

/// <summary>Loads multiboot-1 kernels: ELF, or any format with the address fields ("a.out kludge").</summary>
/// <remarks>Pieces come in this order: boot tables, boot information, modules, image; so an image that reaches over the information
/// wins. The information lies at 0x10000, or right behind an image that is there; modules follow the image, page-aligned.
/// Source: Multiboot Specification 0.6.96.</remarks>
public static class MultibootLoader
{
    internal const uint HeaderMagic = 0x1badb002, BootMagic = 0x2badb002;

    private const int SearchBytes = 8192;
    private const uint KnownRequirements = 0x7, AddressFields = 1 << 16;
    private const ulong TablesAddress = 0x9000, InformationAddress = 0x10000, InformationLimit = 0x10000;
    private const uint HasMemory = 1 << 0, HasCommandLine = 1 << 2, HasModules = 1 << 3, HasMap = 1 << 6, HasLoaderName = 1 << 9;
    private const int InformationBytes = 88, ModuleEntryBytes = 16, MapEntryBytes = 24;
    private const int MaximumModules = 64;

    /// <summary>True if the image has a multiboot-1 header.</summary>
    public static bool IsMultiboot(ReadOnlySpan<byte> image) => FindHeader(image) >= 0;

    /// <summary>Places a kernel and its modules.</summary>
    /// <exception cref="ImageFormatException">The image is damaged, asks for something that is not there, or does not fit.</exception>
    public static BootImage Load(ReadOnlyMemory<byte> image, string commandLine, IReadOnlyList<MultibootModule> modules, GuestMemoryMap memory)
    {
        int at = FindHeader(image.Span);
        if (at < 0)
            throw new ImageFormatException($"multiboot: no header with a valid checksum in the first {SearchBytes} bytes");
        var bytes = new ImageBytes(image, "multiboot");
        uint flags = bytes.Double((ulong)at + 4, "flags");
        if ((flags & 0xffff & ~KnownRequirements) != 0)
            throw new ImageFormatException($"multiboot: flags 0x{flags:x} require more than 0x{KnownRequirements:x}");
        if (modules.Count > MaximumModules)
            throw new ImageFormatException($"multiboot: {modules.Count} modules are more than {MaximumModules}");
        var pieces = new List<MemoryPiece>();
        uint entry = (flags & AddressFields) != 0 ? PlaceByAddresses(bytes, (ulong)at, pieces) : PlaceElf(image, pieces);
        foreach (MemoryPiece piece in pieces)
        {
            if (!memory.IsRam(piece.Address.Value, piece.Length))
                throw new ImageFormatException($"multiboot: {piece.Length} bytes at {piece.Address} end outside memory, which ends at 0x{memory.BelowFourGiB:x}");
        }

        ulong information = ClearOf(pieces, InformationAddress, InformationLimit);
        ulong next = Math.Max(PageUp(pieces.Max(piece => piece.End.Value)), information + InformationLimit);
        next = Math.Max(next, GuestMemoryMap.OneMiB);
        var placed = new List<MemoryPiece>();
        foreach (MultibootModule module in modules)
        {
            var piece = new MemoryPiece(new Gpa(next), module.Bytes);
            if (!memory.IsRam(next, piece.Length) || piece.End.Value > uint.MaxValue)
                throw new ImageFormatException($"multiboot: module of {piece.Length} bytes at 0x{next:x} ends outside memory, which ends at 0x{memory.BelowFourGiB:x}");
            placed.Add(piece);
            next = PageUp(piece.End.Value);
        }

        ulong tables = ClearOf(pieces, TablesAddress, CpuState.BootTableBytes);
        if (tables != TablesAddress)
            tables = next;
        if (!memory.IsRam(information, InformationLimit) || !memory.IsRam(tables, CpuState.BootTableBytes))
            throw new ImageFormatException($"multiboot: no room for boot information at 0x{information:x} and tables at 0x{tables:x}");
        (KvmRegs registers, KvmSregs special) = CpuState.Protected(entry, tables);
        registers.Rax = BootMagic;
        registers.Rbx = information;
        return new BootImage
        {
            Description = (flags & AddressFields) != 0 ? "multiboot kernel, address fields" : "multiboot kernel, ELF",
            Pieces = [CpuState.BootTables(tables, is64Bit: false), Information(information, commandLine, modules, placed, memory), .. placed, .. pieces],
            Registers = registers,
            SpecialRegisters = special,
        };
    }

    private static int FindHeader(ReadOnlySpan<byte> image)
    {
        int limit = Math.Min(image.Length, SearchBytes) - 12;
        for (int at = 0; at <= limit; at += 4)
        {
            uint magic = BinaryPrimitives.ReadUInt32LittleEndian(image[at..]);
            if (magic != HeaderMagic)
                continue;
            uint flags = BinaryPrimitives.ReadUInt32LittleEndian(image[(at + 4)..]);
            uint checksum = BinaryPrimitives.ReadUInt32LittleEndian(image[(at + 8)..]);
            if (unchecked(magic + flags + checksum) == 0)
                return at;
        }

        return -1;
    }

    private static uint PlaceByAddresses(ImageBytes image, ulong header, List<MemoryPiece> pieces)
    {
        uint headerAddress = image.Double(header + 12, "header_addr");
        uint load = image.Double(header + 16, "load_addr");
        uint loadEnd = image.Double(header + 20, "load_end_addr");
        uint bssEnd = image.Double(header + 24, "bss_end_addr");
        uint entry = image.Double(header + 28, "entry_addr");
        if (load > headerAddress || headerAddress - load > header)
            throw image.Error($"load_addr 0x{load:x} and header_addr 0x{headerAddress:x} put the image's start before its file's, the header being at 0x{header:x}");
        ulong start = header - (headerAddress - load);
        ulong length = loadEnd == 0 ? (ulong)image.Length - start : loadEnd >= load ? loadEnd - load
            : throw image.Error($"load_end_addr 0x{loadEnd:x} is below load_addr 0x{load:x}");
        ulong end = load + length;
        if (bssEnd != 0 && bssEnd < end)
            throw image.Error($"bss_end_addr 0x{bssEnd:x} is below the end of the image 0x{end:x}");
        if (entry < load || entry >= end)
            throw image.Error($"entry_addr 0x{entry:x} is outside the image, 0x{load:x} to 0x{end:x}");
        pieces.Add(new MemoryPiece(new Gpa(load), image.Slice(start, length, "image by load_addr and load_end_addr"), bssEnd == 0 ? 0 : bssEnd - end));
        return entry;
    }

    private static uint PlaceElf(ReadOnlyMemory<byte> image, List<MemoryPiece> pieces)
    {
        if (!ElfFile.IsElf(image.Span))
            throw new ImageFormatException("multiboot: neither an ELF file nor one with address fields (flag 16)");
        var elf = ElfFile.Parse(image);
        ulong entry = elf.Entry;
        bool found = false;
        foreach (ElfSegment segment in elf.Segments)
        {
            pieces.Add(new MemoryPiece(new Gpa(segment.PhysicalAddress), segment.Bytes, segment.MemoryLength - (ulong)segment.Bytes.Length));
            if (!found && entry - segment.VirtualAddress < segment.MemoryLength)
            {
                entry = entry - segment.VirtualAddress + segment.PhysicalAddress;
                found = true;
            }
        }

        if (!found || entry > uint.MaxValue)
            throw new ImageFormatException($"multiboot: e_entry 0x{elf.Entry:x} is in none of {elf.Segments.Count} segments below 4 GiB");
        return (uint)entry;
    }

    private static MemoryPiece Information(ulong address, string commandLine, IReadOnlyList<MultibootModule> modules,
        List<MemoryPiece> placed, GuestMemoryMap memory)
    {
        byte[] block = new byte[InformationLimit];
        int next = InformationBytes;
        Double(0, HasMemory | HasCommandLine | HasModules | HasMap | HasLoaderName);
        Double(4, (uint)(GuestMemoryMap.ConventionalEnd / 1024));
        Double(8, (uint)((memory.BelowFourGiB - GuestMemoryMap.OneMiB) / 1024));
        Double(16, Text(commandLine));
        int moduleTable = Reserve(modules.Count * ModuleEntryBytes);
        Double(20, (uint)modules.Count);
        Double(24, (uint)address + (uint)moduleTable);
        for (int i = 0; i < modules.Count; i++)
        {
            int at = moduleTable + (i * ModuleEntryBytes);
            Double(at, (uint)placed[i].Address.Value);
            Double(at + 4, (uint)placed[i].End.Value);
            Double(at + 8, Text(modules[i].CommandLine));
        }

        int map = Reserve(memory.Ranges.Count * MapEntryBytes);
        Double(44, (uint)(memory.Ranges.Count * MapEntryBytes));
        Double(48, (uint)address + (uint)map);
        for (int i = 0; i < memory.Ranges.Count; i++)
        {
            int at = map + (i * MapEntryBytes);
            Double(at, MapEntryBytes - 4);
            BinaryPrimitives.WriteUInt64LittleEndian(block.AsSpan(at + 4), memory.Ranges[i].Address.Value);
            BinaryPrimitives.WriteUInt64LittleEndian(block.AsSpan(at + 12), memory.Ranges[i].Length);
            Double(at + 20, (uint)memory.Ranges[i].Type);
        }

        Double(64, Text("hyperscope"));
        return new MemoryPiece(new Gpa(address), block.AsMemory(0, next));

        void Double(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(block.AsSpan(offset), value);

        int Reserve(int bytes)
        {
            int start = (next + 3) & ~3;
            if (bytes > block.Length - start)
                throw new ImageFormatException($"multiboot: boot information needs more than {block.Length} bytes; shorten the command lines");
            next = start + bytes;
            return start;
        }

        uint Text(string text)
        {
            int start = Reserve(text.Length + 1);
            Encoding.Latin1.GetBytes(text, block.AsSpan(start));
            return (uint)address + (uint)start;
        }
    }

    /// <summary>The preferred address, or the first page behind all pieces if one of them is in the way.</summary>
    private static ulong ClearOf(List<MemoryPiece> pieces, ulong preferred, ulong length)
    {
        bool clear = pieces.TrueForAll(piece => piece.End.Value <= preferred || piece.Address.Value >= preferred + length);
        return clear ? preferred : Math.Max(PageUp(pieces.Max(piece => piece.End.Value)), GuestMemoryMap.OneMiB);
    }

    private static ulong PageUp(ulong address) => (address + Gfn.PageSize - 1) & ~(ulong)(Gfn.PageSize - 1);
}
