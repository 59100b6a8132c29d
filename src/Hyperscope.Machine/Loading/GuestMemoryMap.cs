using Hyperscope.Vm;

namespace Hyperscope.Machine;

/// <summary>What an address range is to the guest. The numbers are those of e820, multiboot and PVH.</summary>
public enum MemoryRangeType : uint
{
    /// <summary>RAM.</summary>
    Usable = 1,

    /// <summary>Not to be touched.</summary>
    Reserved = 2,

    /// <summary>ACPI tables; usable once they were read.</summary>
    AcpiTables = 3,
}

/// <summary>An entry of the memory map handed to the guest.</summary>
public readonly record struct MemoryRange(Gpa Address, ulong Length, MemoryRangeType Type);

/// <summary>How a PC's memory is laid out: RAM from 0 to at most 3 GiB, the rest from 4 GiB up, devices between.</summary>
/// <remarks>The legacy hole at 640 KiB is RAM too but reserved in the map: the first 64 KiB below 1 MiB hold ACPI tables.</remarks>
public sealed class GuestMemoryMap
{
    /// <summary>Least memory of a machine.</summary>
    public const ulong MinimumBytes = 2UL << 20;

    /// <summary>Most memory of a machine.</summary>
    public const ulong MaximumBytes = 1UL << 40;

    /// <summary>Where RAM stops to leave room for devices.</summary>
    public const ulong DeviceHole = 3UL << 30;

    /// <summary>Where RAM goes on.</summary>
    public const ulong FourGiB = 4UL << 30;

    /// <summary>First address that is not conventional memory.</summary>
    public const ulong ConventionalEnd = 0x9fc00;

    /// <summary>Where firmware tables are laid and searched for.</summary>
    public const ulong TablesStart = 0xe0000;

    /// <summary>First address above the legacy area.</summary>
    public const ulong OneMiB = 0x100000;

    /// <summary>Lays out an amount of memory, a multiple of 4096 bytes.</summary>
    public GuestMemoryMap(ulong bytes)
    {
        if (bytes is < MinimumBytes or > MaximumBytes || bytes % Gfn.PageSize != 0)
            throw new ArgumentOutOfRangeException(nameof(bytes), bytes, $"memory of {bytes} bytes is not a multiple of 4096 from {MinimumBytes} to {MaximumBytes}");
        BelowFourGiB = Math.Min(bytes, DeviceHole);
        AboveFourGiB = bytes - BelowFourGiB;
        var ranges = new List<MemoryRange>
        {
            new(new Gpa(0), ConventionalEnd, MemoryRangeType.Usable),
            new(new Gpa(ConventionalEnd), 0xa0000 - ConventionalEnd, MemoryRangeType.Reserved),
            new(new Gpa(TablesStart), OneMiB - TablesStart, MemoryRangeType.Reserved),
            new(new Gpa(OneMiB), BelowFourGiB - OneMiB, MemoryRangeType.Usable),
        };
        if (AboveFourGiB != 0)
            ranges.Add(new MemoryRange(new Gpa(FourGiB), AboveFourGiB, MemoryRangeType.Usable));
        Ranges = ranges;
    }

    /// <summary>Bytes of RAM from address 0.</summary>
    public ulong BelowFourGiB { get; }

    /// <summary>Bytes of RAM from 4 GiB.</summary>
    public ulong AboveFourGiB { get; }

    /// <summary>The map for the guest, ascending.</summary>
    public IReadOnlyList<MemoryRange> Ranges { get; }

    /// <summary>True if every byte of the range is RAM.</summary>
    public bool IsRam(ulong address, ulong length)
    {
        ulong end = unchecked(address + length);
        if (end < address)
            return false;
        return end <= BelowFourGiB || (address >= FourGiB && end <= FourGiB + AboveFourGiB);
    }

    /// <summary>Adds the memory slots.</summary>
    public void AddSlots(GuestMemory memory)
    {
        memory.AddSlot(new Gpa(0), BelowFourGiB);
        if (AboveFourGiB != 0)
            memory.AddSlot(new Gpa(FourGiB), AboveFourGiB);
    }
}
