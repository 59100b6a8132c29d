using System.Buffers.Binary;

namespace Hyperscope.Machine;

/// <summary>A part of an ELF file that is loaded.</summary>
/// <param name="PhysicalAddress">Where.</param>
/// <param name="VirtualAddress">Where the program thinks it is.</param>
/// <param name="Bytes">Contents, followed by zeros up to MemoryLength.</param>
/// <param name="MemoryLength">Length in memory.</param>
internal readonly record struct ElfSegment(ulong PhysicalAddress, ulong VirtualAddress, ReadOnlyMemory<byte> Bytes, ulong MemoryLength);

/// <summary>The loadable view of a little-endian ELF32 or ELF64 executable for x86. Source: System V ABI, "Object Files".</summary>
internal sealed class ElfFile
{
    private const ushort Machine386 = 3, MachineX64 = 62;
    private const uint LoadSegment = 1, NoteSegment = 4;
    private const int MaximumSegments = 128;

    private ElfFile(bool is64Bit, ulong entry, IReadOnlyList<ElfSegment> segments, IReadOnlyList<ReadOnlyMemory<byte>> notes)
    {
        Is64Bit = is64Bit;
        Entry = entry;
        Segments = segments;
        Notes = notes;
    }

    /// <summary>ELF64 for x86-64, otherwise ELF32 for i386.</summary>
    public bool Is64Bit { get; }

    /// <summary>The entry field.</summary>
    public ulong Entry { get; }

    /// <summary>What is to be loaded; nothing in it is empty.</summary>
    public IReadOnlyList<ElfSegment> Segments { get; }

    private IReadOnlyList<ReadOnlyMemory<byte>> Notes { get; }

    public static bool IsElf(ReadOnlySpan<byte> image) => image.StartsWith("\x7f"u8) && image.Length >= 4 && image[1..4].SequenceEqual("ELF"u8);

    public static ElfFile Parse(ReadOnlyMemory<byte> bytes)
    {
        var image = new ImageBytes(bytes, "ELF image");
        if (!IsElf(bytes.Span))
            throw image.Error("there is no ELF signature");
        byte elfClass = image.Byte(4, "e_ident class");
        if (elfClass is not (1 or 2))
            throw image.Error($"e_ident class is {elfClass}, neither 1 (32-bit) nor 2 (64-bit)");
        byte data = image.Byte(5, "e_ident data");
        if (data != 1)
            throw image.Error($"e_ident data is {data}, not 1 (little-endian)");
        bool is64 = elfClass == 2;
        ushort machine = image.Word(18, "e_machine");
        if (machine != (is64 ? MachineX64 : Machine386))
            throw image.Error($"e_machine is {machine}, not {(is64 ? MachineX64 : Machine386)}");
        ulong entry = is64 ? image.Quad(24, "e_entry") : image.Double(24, "e_entry");
        ulong tableOffset = is64 ? image.Quad(32, "e_phoff") : image.Double(28, "e_phoff");
        ushort entrySize = image.Word(is64 ? 54u : 42, "e_phentsize");
        ushort count = image.Word(is64 ? 56u : 44, "e_phnum");
        int expected = is64 ? 56 : 32;
        if (entrySize != expected)
            throw image.Error($"e_phentsize is {entrySize}, not {expected}");
        if (count is 0 or > MaximumSegments)
            throw image.Error($"e_phnum is {count}, not 1 to {MaximumSegments}");
        var table = new ImageBytes(image.Slice(tableOffset, (ulong)(count * entrySize), "program header table"), "ELF program header");
        var segments = new List<ElfSegment>();
        var notes = new List<ReadOnlyMemory<byte>>();
        for (int i = 0; i < count; i++)
            ReadHeader(image, table, (ulong)(i * entrySize), i, is64, segments, notes);
        if (segments.Count == 0)
            throw image.Error($"none of {count} program headers is loadable");
        CheckOverlap(segments);
        return new ElfFile(is64, entry, segments, notes);
    }

    /// <summary>Finds a note's contents.</summary>
    public bool TryFindNote(string owner, uint type, out ReadOnlyMemory<byte> contents)
    {
        foreach (ReadOnlyMemory<byte> segment in Notes)
        {
            ReadOnlyMemory<byte> rest = segment;
            while (rest.Length >= 12)
            {
                uint nameLength = BinaryPrimitives.ReadUInt32LittleEndian(rest.Span);
                uint length = BinaryPrimitives.ReadUInt32LittleEndian(rest.Span[4..]);
                uint noteType = BinaryPrimitives.ReadUInt32LittleEndian(rest.Span[8..]);
                long nameEnd = 12 + Align(nameLength);
                long end = nameEnd + Align(length);
                if (nameEnd + length > rest.Length)
                    break;
                ReadOnlySpan<byte> name = rest.Span.Slice(12, (int)nameLength).TrimEnd((byte)0);
                if (noteType == type && name.SequenceEqual(System.Text.Encoding.ASCII.GetBytes(owner)))
                {
                    contents = rest.Slice((int)nameEnd, (int)length);
                    return true;
                }

                rest = end < rest.Length ? rest[(int)end..] : default;
            }
        }

        contents = default;
        return false;

        static long Align(uint value) => ((long)value + 3) & ~3L;
    }

    // Also bounds the work: all segments together are no larger than memory.
    private static void CheckOverlap(List<ElfSegment> segments)
    {
        for (int i = 0; i < segments.Count; i++)
        {
            for (int j = 0; j < i; j++)
            {
                (ElfSegment one, ElfSegment other) = (segments[i], segments[j]);
                if (one.PhysicalAddress - other.PhysicalAddress < other.MemoryLength || other.PhysicalAddress - one.PhysicalAddress < one.MemoryLength)
                {
                    throw new ImageFormatException($"ELF image: segments at p_paddr 0x{other.PhysicalAddress:x} and 0x{one.PhysicalAddress:x} overlap, "
                        + $"with p_memsz 0x{other.MemoryLength:x} and 0x{one.MemoryLength:x}");
                }
            }
        }
    }

    private static void ReadHeader(ImageBytes image, ImageBytes table, ulong at, int index, bool is64,
        List<ElfSegment> segments, List<ReadOnlyMemory<byte>> notes)
    {
        uint type = table.Double(at, "p_type");
        if (type is not (LoadSegment or NoteSegment))
            return;
        ulong offset = is64 ? table.Quad(at + 8, "p_offset") : table.Double(at + 4, "p_offset");
        ulong virtualAddress = is64 ? table.Quad(at + 16, "p_vaddr") : table.Double(at + 8, "p_vaddr");
        ulong physicalAddress = is64 ? table.Quad(at + 24, "p_paddr") : table.Double(at + 12, "p_paddr");
        ulong fileLength = is64 ? table.Quad(at + 32, "p_filesz") : table.Double(at + 16, "p_filesz");
        ulong memoryLength = is64 ? table.Quad(at + 40, "p_memsz") : table.Double(at + 20, "p_memsz");
        ReadOnlyMemory<byte> bytes = image.Slice(offset, fileLength, $"segment {index}");
        if (type == NoteSegment)
        {
            notes.Add(bytes);
            return;
        }

        if (fileLength > memoryLength)
            throw image.Error($"segment {index}: p_filesz 0x{fileLength:x} is above p_memsz 0x{memoryLength:x}");
        if (memoryLength != 0)
            segments.Add(new ElfSegment(physicalAddress, virtualAddress, bytes, memoryLength));
    }
}
