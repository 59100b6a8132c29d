using Hyperscope.Vm;

namespace Hyperscope.Machine;

/// <summary>In which mode a flat image is entered.</summary>
public enum EntryMode
{
    /// <summary>16-bit real mode; entry below 1 MiB.</summary>
    Real,

    /// <summary>32-bit protected mode, flat segments, no paging.</summary>
    Protected,

    /// <summary>64-bit mode, the first 4 GiB mapped to themselves.</summary>
    Long,
}

/// <summary>Loads bytes as they are.</summary>
public static class FlatImageLoader
{
    /// <summary>Where images go unless told otherwise.</summary>
    public const ulong DefaultAddress = 0x100000;

    private const ulong PreferredTables = 0x9000, RealModeEnd = 0x100000;

    /// <summary>Places an image.</summary>
    /// <param name="image">Its bytes.</param>
    /// <param name="address">Where they go.</param>
    /// <param name="entry">First instruction, a linear address inside the image.</param>
    /// <param name="mode">How it is entered. A stack is the image's business; tables for protected and long mode are laid at 0x9000,
    /// or right behind an image that is in the way.</param>
    /// <param name="memory">The machine's memory.</param>
    /// <exception cref="ImageFormatException">It does not fit.</exception>
    public static BootImage Load(ReadOnlyMemory<byte> image, Gpa address, Gpa entry, EntryMode mode, GuestMemoryMap memory)
    {
        ulong start = address.Value;
        ulong length = (ulong)image.Length;
        if (length == 0)
            throw new ImageFormatException("flat image: it is empty");
        if (!memory.IsRam(start, length))
            throw new ImageFormatException($"flat image: {length} bytes at {address} end outside memory, which ends at 0x{memory.BelowFourGiB:x}");
        if (entry.Value - start >= length)
            throw new ImageFormatException($"flat image: entry {entry} is outside the image, {address} to 0x{start + length - 1:x}");
        if (mode == EntryMode.Real)
        {
            if (entry.Value >= RealModeEnd)
                throw new ImageFormatException($"flat image: real-mode entry {entry} is not below 0x{RealModeEnd:x}");
            (KvmRegs realRegisters, KvmSregs realSpecial) = CpuState.Real(entry.Value);
            return new BootImage
            {
                Description = "flat image, real mode",
                Pieces = [new MemoryPiece(address, image)],
                Registers = realRegisters,
                SpecialRegisters = realSpecial,
            };
        }

        bool isLong = mode == EntryMode.Long;
        if (!isLong && entry.Value > uint.MaxValue)
            throw new ImageFormatException($"flat image: protected-mode entry {entry} is not below 4 GiB");
        if (isLong && entry.Value >= GuestMemoryMap.FourGiB)
            throw new ImageFormatException($"flat image: entry {entry} is not below 4 GiB, where the boot page tables end");
        ulong tables = PreferredTables;
        if (start < tables + CpuState.BootTableBytes && tables < start + length)
            tables = (start + length + Gfn.PageSize - 1) & ~(ulong)(Gfn.PageSize - 1);
        if (!memory.IsRam(tables, CpuState.BootTableBytes))
            throw new ImageFormatException($"flat image: no room for {CpuState.BootTableBytes} bytes of boot tables at 0x{tables:x}");
        (KvmRegs registers, KvmSregs special) = isLong ? CpuState.Long(entry.Value, tables) : CpuState.Protected(entry.Value, tables);
        return new BootImage
        {
            Description = isLong ? "flat image, 64-bit mode" : "flat image, protected mode",
            Pieces = [CpuState.BootTables(tables, isLong), new MemoryPiece(address, image)],
            Registers = registers,
            SpecialRegisters = special,
        };
    }
}
