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

/// <summary>Where a module is known.</summary>
[Flags]
public enum ModuleSources
{
    /// <summary>Nowhere.</summary>
    None = 0,

    /// <summary>In the list that <c>/proc/modules</c> shows.</summary>
    List = 1,

    /// <summary>In the tree that finds a module by an address in it.</summary>
    Tree = 2,

    /// <summary>Among the objects behind <c>/sys/module</c>.</summary>
    Objects = 4,

    /// <summary>In none of those: its code was found, and from that its <c>struct module</c>.</summary>
    Memory = 8,
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

    /// <summary>Where it was found.</summary>
    public required ModuleSources Found { get; init; }

    /// <summary>Where it should be in its state, and is not.</summary>
    public required ModuleSources Missing { get; init; }

    /// <summary>Somewhere it is missing.</summary>
    public bool IsHidden => Missing != ModuleSources.None;

    /// <summary>Where it starts.</summary>
    public Gva Base => Parts.Count == 0 ? default : Parts[0].Range.Start;

    /// <summary>Whether an address lies in it.</summary>
    public bool Contains(Gva gva) => PartOf(gva) is not null;

    internal IEnumerable<KernelRange> Ranges => Parts.Select(static part => part.Range);

    /// <summary>The range of the part that an address lies in; null if it is not in this module.</summary>
    internal KernelRange? PartOf(Gva gva)
    {
        foreach ((ModulePart _, KernelRange range) in Parts)
        {
            if (range.Contains(gva))
                return range;
        }

        return null;
    }
}
