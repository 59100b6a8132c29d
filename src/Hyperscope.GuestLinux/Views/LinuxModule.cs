namespace Hyperscope.GuestLinux;

/// <summary>What a part of a module is for.</summary>
public enum ModulePart
{
    /// <summary>Code.</summary>
    Text,

    /// <summary>Variables.</summary>
    Data,

    /// <summary>Constants.</summary>
    Rodata,

    /// <summary>Constants once it has been initialised.</summary>
    RodataAfterInit,

    /// <summary>Needed while it is initialised, gone afterwards.</summary>
    Init,
}

/// <summary>A loaded module of the kernel.</summary>
public sealed record LinuxModule
{
    /// <summary>Its <c>struct module</c>.</summary>
    public required Gva Address { get; init; }

    /// <summary>Its name.</summary>
    public required string Name { get; init; }

    /// <summary><c>Live</c>, <c>Loading</c>, <c>Unloading</c> or <c>Unformed</c>.</summary>
    public required string State { get; init; }

    /// <summary>Bytes, as <c>/proc/modules</c> counts them.</summary>
    public required ulong Size { get; init; }

    /// <summary>Who uses it, itself not counted.</summary>
    public required int References { get; init; }

    /// <summary>Its parts. Those of length 0 are left out.</summary>
    public required IReadOnlyList<(ModulePart Part, KernelRange Range)> Parts { get; init; }

    /// <summary>Where it was found: in the list of modules, in the index of their addresses (or among <c>/sys/module</c>).</summary>
    public FoundIn Found { get; init; } = FoundIn.Both;

    /// <summary>It was found in one of the two only.</summary>
    public bool IsHidden => Found != FoundIn.Both;

    /// <summary>Where it starts.</summary>
    public Gva Base => Parts.Count == 0 ? default : Parts[0].Range.Start;

    /// <summary>Whether an address lies in it.</summary>
    public bool Contains(Gva gva) => Parts.Any(part => part.Range.Contains(gva));
}
