namespace Hyperscope.GuestLinux;

/// <summary>Finds a kernel in a VM of which nothing is known but the registers of its vCPUs.</summary>
internal sealed class KernelFinder(IPhysicalMemory memory)
{
    /// <summary>Linux maps its image into this gigabyte, wherever randomisation puts it.</summary>
    public const ulong RegionStart = 0xffffffff80000000, RegionEnd = 0xffffffffc0000000;

    private const ulong SmallestKernel = 2 << 20;
    private const int MaxRanges = 8192, MaxPart = 96 << 20;

    /// <summary>Finds the symbols in an image.</summary>
    /// <exception cref="LinuxGuestException">There are none.</exception>
    public async Task<FoundKernel> FindSymbolsAsync(AddressSpace space, List<MappedRange> ranges, CancellationToken cancellation)
    {
        var reader = new GuestReader(new PageCache(memory), space);

        // Read-only data holds the symbols. Before the kernel protects itself all of its image has the same rights.
        foreach (KernelRange part in Parts(ranges, isReadOnlyData: true).Concat(Parts(ranges, isReadOnlyData: false)))
        {
            byte[] data = GC.AllocateUninitializedArray<byte>((int)Math.Min(part.Length, MaxPart));
            await reader.ReadBulkAsync(part.Start, data, cancellation).ConfigureAwait(false);
            if (KallsymsScanner.Find(data, part.Start.Value, ranges[0].Start.Value, RegionEnd) is { } tables)
                return new FoundKernel(space, ranges, new KernelSymbols(tables), part.Start, data);
        }

        throw new LinuxGuestException(
            $"a kernel is mapped from 0x{ranges[0].Start.Value:x} to 0x{ranges[^1].End.Value:x}, but no symbol table (kallsyms, Linux 5.15 "
            + "to 6.12) was found in it");
    }

    /// <summary>Finds the page tables that map the kernel, and what they map.</summary>
    /// <exception cref="LinuxGuestException">There is no kernel to be found; the text says how far it got.</exception>
    public async Task<(AddressSpace Space, List<MappedRange> Ranges)> FindImageAsync(
        IReadOnlyList<VcpuStart> vcpus, CancellationToken cancellation)
    {
        VcpuStart[] usable = [.. vcpus.Where(static vcpu => vcpu.IsLongMode)];
        if (usable.Length == 0)
            throw new LinuxGuestException($"none of {vcpus.Count} vCPUs runs in long mode: no 64-bit Linux has been started yet");
        (AddressSpace Space, List<MappedRange> Ranges)? best = null;
        ulong bestSize = 0;
        foreach (VcpuStart vcpu in usable)
        {
            foreach (Gpa root in vcpu.Roots())
            {
                var space = new AddressSpace(new PageCache(memory), root, vcpu.IsFiveLevel);
                List<MappedRange> ranges = await space.MappingsAsync(new Gva(RegionStart), new Gva(RegionEnd), MaxRanges, cancellation)
                    .ConfigureAwait(false);
                ulong size = 0;
                foreach (MappedRange range in ranges)
                    size += range.Length;
                if (size > bestSize)
                    (best, bestSize) = ((space, ranges), size);
            }

            // User mode under page table isolation maps a few pages of entry code only.
            if (bestSize >= SmallestKernel)
                return best!.Value;
        }

        throw new LinuxGuestException($"the page tables of {usable.Length} vCPUs map 0x{bestSize:x} bytes from 0x{RegionStart:x} to "
            + $"0x{RegionEnd:x}, where a running Linux has at least 0x{SmallestKernel:x}");
    }

    // The longest first.
    private static IEnumerable<KernelRange> Parts(List<MappedRange> ranges, bool isReadOnlyData) =>
        KernelRange.Join(ranges.Where(range => (range.IsWritable || range.IsExecutable) != isReadOnlyData)).OrderByDescending(static part => part.Length);
}

/// <summary>A kernel that was found.</summary>
/// <param name="Space">Page tables that map it.</param>
/// <param name="Ranges">What they map of its image.</param>
/// <param name="Symbols">Its symbols.</param>
/// <param name="PartStart">Where <paramref name="Part"/> starts.</param>
/// <param name="Part">The memory in which the symbols were found, as a rule all read-only data.</param>
internal sealed record FoundKernel(AddressSpace Space, List<MappedRange> Ranges, KernelSymbols Symbols, Gva PartStart, byte[] Part);
