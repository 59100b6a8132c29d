namespace Hyperscope.GuestLinux;

/// <summary>A range of kernel addresses.</summary>
/// <param name="Start">First byte.</param>
/// <param name="End">One past the last.</param>
public readonly record struct KernelRange(Gva Start, Gva End)
{
    /// <summary>Bytes.</summary>
    public ulong Length => End.Value - Start.Value;

    /// <summary>Whether an address lies in it.</summary>
    public bool Contains(Gva gva) => gva.Value >= Start.Value && gva.Value < End.Value;

    /// <inheritdoc/>
    public override string ToString() => $"{Start}-{End}";

    /// <summary>Mappings, in order, as ranges: neighbours in virtual memory are one, wherever they are in physical memory.</summary>
    internal static List<KernelRange> Join(IEnumerable<MappedRange> mappings)
    {
        var joined = new List<KernelRange>();
        foreach (MappedRange mapped in mappings)
        {
            if (joined.Count != 0 && joined[^1].End == mapped.Start)
                joined[^1] = joined[^1] with { End = mapped.End };
            else
                joined.Add(new KernelRange(mapped.Start, mapped.End));
        }

        return joined;
    }
}

/// <summary>Where the running kernel has its parts.</summary>
public sealed record KernelLayout
{
    /// <summary>Where a kernel is linked to run when nothing moves it.</summary>
    public const ulong LinkedText = 0xffffffff81000000;

    private const ulong MaxPhysical = 1UL << 52;

    /// <summary>From <c>_text</c> to <c>_end</c>.</summary>
    public required KernelRange Image { get; init; }

    /// <summary>Code: <c>_text</c> to <c>_etext</c>.</summary>
    public required KernelRange Text { get; init; }

    /// <summary>Constants: <c>__start_rodata</c> to <c>__end_rodata</c>.</summary>
    public required KernelRange Rodata { get; init; }

    /// <summary>Variables: <c>_sdata</c> to <c>_edata</c>.</summary>
    public required KernelRange Data { get; init; }

    /// <summary>Variables that start as zero: <c>__bss_start</c> to <c>__bss_stop</c>.</summary>
    public required KernelRange Bss { get; init; }

    /// <summary>How far address randomisation moved it.</summary>
    public long Slide => unchecked((long)(Text.Start.Value - LinkedText));

    /// <summary>Where <c>_text</c> lies in physical memory; the image is contiguous there.</summary>
    public required Gpa PhysicalText { get; init; }

    /// <summary>The kernel's own top page table (<c>init_top_pgt</c>).</summary>
    public required Gpa PageTable { get; init; }

    /// <summary>Whether page tables have five levels.</summary>
    public required bool IsFiveLevel { get; init; }

    /// <summary>Where all physical memory is mapped (<c>page_offset_base</c>).</summary>
    public required Gva DirectMap { get; init; }

    /// <summary>Where vmalloc starts (<c>vmalloc_base</c>).</summary>
    public required Gva Vmalloc { get; init; }

    /// <summary>Where <c>struct page</c>s are (<c>vmemmap_base</c>).</summary>
    public required Gva Vmemmap { get; init; }

    /// <summary>Where modules are loaded.</summary>
    public required KernelRange Modules { get; init; }

    /// <summary>The physical address of an address in the image or in the direct map, by arithmetic; null for others.</summary>
    public Gpa? PhysicalOf(Gva gva)
    {
        if (Image.Contains(gva))
            return PhysicalText + (gva.Value - Text.Start.Value);

        // Where the direct map is the guest says; how much there can be in it, the processor.
        ulong distance = gva.Value - DirectMap.Value;
        return gva.Value >= DirectMap.Value && gva.Value < Vmalloc.Value && distance < MaxPhysical ? new Gpa(distance) : null;
    }

    /// <summary>The address of physical memory in the direct map.</summary>
    public Gva DirectMapped(Gpa gpa) => DirectMap + gpa.Value;
}
