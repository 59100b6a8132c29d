using Hyperscope.Vm;

namespace Hyperscope.Machine;

/// <summary>How a Linux kernel is entered.</summary>
public enum LinuxEntry
{
    /// <summary>The 64-bit protocol for a kernel that can be unpacked, otherwise 32-bit.</summary>
    Auto,

    /// <summary>The unpacked kernel in 64-bit mode at its ELF entry.</summary>
    Long,

    /// <summary>The unpacked kernel through its PVH note, in 32-bit protected mode.</summary>
    Pvh,

    /// <summary>The packed kernel's own 32-bit entry; it unpacks itself.</summary>
    Protected,
}

/// <summary>What goes with a kernel.</summary>
public sealed record LinuxBootOptions
{
    /// <summary>The machine's memory.</summary>
    public required GuestMemoryMap Memory { get; init; }

    /// <summary>The command line, Latin-1.</summary>
    public string CommandLine { get; init; } = "";

    /// <summary>The initial RAM disk, or nothing.</summary>
    public ReadOnlyMemory<byte> Initrd { get; init; }

    /// <summary>Where the ACPI tables' root is, if there is one.</summary>
    public Gpa? Rsdp { get; init; }

    /// <summary>How the kernel is entered.</summary>
    public LinuxEntry Entry { get; init; }
}
