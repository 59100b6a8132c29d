namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>How tables are laid out, down to the entry that maps the page.</summary>
public enum TableFormat
{
    /// <summary>Four levels, 4 KiB page.</summary>
    Long4K,

    /// <summary>Four levels, 2 MiB page.</summary>
    Long2M,

    /// <summary>Four levels, 1 GiB page.</summary>
    Long1G,

    /// <summary>PAE, 4 KiB page.</summary>
    Pae4K,

    /// <summary>PAE, 2 MiB page.</summary>
    Pae2M,

    /// <summary>32-bit, 4 KiB page.</summary>
    Short4K,

    /// <summary>32-bit, 4 MiB page.</summary>
    Short4M,
}

/// <summary>Who makes an access and what for.</summary>
public enum AccessKind
{
    Read,
    Write,
    Fetch,

    /// <summary>The processor reads a table of its own.</summary>
    SystemRead,

    /// <summary>The processor pushes on the stack of an inner level.</summary>
    InnerStackWrite,
}

/// <summary>Control bits that decide about an access.</summary>
internal readonly record struct WalkSetup(bool Wp, bool Nxe, bool Smep, bool Smap, bool Ac, int Cpl, AccessKind Kind)
{
    /// <summary>Every combination.</summary>
    public static IEnumerable<WalkSetup> All()
    {
        for (int bits = 0; bits < 64; bits++)
        {
            foreach (AccessKind kind in Enum.GetValues<AccessKind>())
                yield return new WalkSetup((bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0, (bits & 16) != 0, (bits & 32) != 0 ? 3 : 0, kind);
        }
    }
}

/// <summary>What a walk comes to, by a plain reading of SDM vol. 3 chapter "Paging".</summary>
internal static class PageWalkModel
{
    public const ulong P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80, Nx = 1UL << 63;

    private static readonly ulong[][] _reserved =
        [.. Enum.GetValues<TableFormat>().Select(format => Enumerable.Range(0, Depth(format)).Select(position => ReservedMask(format, position)).ToArray())];

    /// <summary>Entries from the top to the one that maps the page.</summary>
    public static int Depth(TableFormat format) => format switch
    {
        TableFormat.Long4K => 4,
        TableFormat.Long2M or TableFormat.Pae4K => 3,
        TableFormat.Long1G or TableFormat.Pae2M or TableFormat.Short4K => 2,
        _ => 1,
    };

    public static bool IsLong(TableFormat format) => format <= TableFormat.Long1G;

    public static bool IsPae(TableFormat format) => format is TableFormat.Pae4K or TableFormat.Pae2M;

    public static bool IsShort(TableFormat format) => format >= TableFormat.Short4K;

    /// <summary>True for the entries of the page-directory-pointer table of PAE paging, which have no rights.</summary>
    public static bool IsPdpte(TableFormat format, int position) => IsPae(format) && position == 0;

    public static bool IsLarge(TableFormat format) => format is TableFormat.Long2M or TableFormat.Long1G or TableFormat.Pae2M or TableFormat.Short4M;

    public static int PageShift(TableFormat format) => format switch
    {
        TableFormat.Long1G => 30,
        TableFormat.Long2M or TableFormat.Pae2M => 21,
        TableFormat.Short4M => 22,
        _ => 12,
    };

    /// <summary>Bits that must be zero in a present entry, NX apart; MAXPHYADDR is 40.</summary>
    public static IEnumerable<int> ReservedBits(TableFormat format, int position)
    {
        bool isLeaf = position == Depth(format) - 1;
        if (IsShort(format))
            return format == TableFormat.Short4M ? [21] : [];
        List<int> bits = [.. Enumerable.Range(40, IsLong(format) ? 12 : 23)];
        if (IsPdpte(format, position))
            bits.AddRange([1, 2, 5, 6, 7, 8, 63]);
        if (IsLong(format) && position == 0)
            bits.Add(7);
        if (isLeaf && IsLarge(format))
            bits.AddRange(Enumerable.Range(13, PageShift(format) - 13));
        return bits;
    }

    private static ulong ReservedMask(TableFormat format, int position) =>
        ReservedBits(format, position).Aggregate(0UL, (mask, bit) => mask | (1UL << bit));

    /// <summary>Walks; the entries get their accessed and dirty bits.</summary>
    /// <returns>The physical address, or null with the #PF error code.</returns>
    public static ulong? Walk(TableFormat format, Span<ulong> entries, ulong linear, in WalkSetup setup, out uint errorCode)
    {
        bool isWrite = setup.Kind is AccessKind.Write or AccessKind.InnerStackWrite, isFetch = setup.Kind == AccessKind.Fetch;
        bool isUser = setup.Cpl == 3 && setup.Kind is not (AccessKind.SystemRead or AccessKind.InnerStackWrite);
        bool hasNx = setup.Nxe && !IsShort(format);
        errorCode = (isWrite ? PageFaultCode.Write : 0) | (isUser ? PageFaultCode.User : 0)
            | (isFetch && (hasNx || setup.Smep) ? PageFaultCode.Fetch : 0);
        bool canWrite = true, isUserPage = true, isNx = false;
        for (int position = 0; position < entries.Length; position++)
        {
            ulong entry = entries[position];
            if ((entry & P) == 0)
                return null;
            bool isReserved = (entry & Nx) != 0 && !hasNx && !IsShort(format);
            isReserved |= (entry & _reserved[(int)format][position]) != 0;
            if (isReserved)
            {
                errorCode |= PageFaultCode.Present | PageFaultCode.Reserved;
                return null;
            }

            if (IsPdpte(format, position))
                continue;
            canWrite &= (entry & W) != 0;
            isUserPage &= (entry & U) != 0;
            isNx |= (entry & Nx) != 0 && !IsShort(format);
            if (position < entries.Length - 1)
                entries[position] |= A;
        }

        bool isAllowed;
        if (isUser)
        {
            isAllowed = isUserPage && (!isWrite || canWrite) && (!isFetch || !isNx);
        }
        else if (isFetch)
        {
            isAllowed = !isNx && !(isUserPage && setup.Smep);
        }
        else
        {
            bool isSmapSuspended = setup.Ac && setup.Kind != AccessKind.SystemRead;
            isAllowed = !(isUserPage && setup.Smap && !isSmapSuspended) && (!isWrite || canWrite || !setup.Wp);
        }

        if (!isAllowed)
        {
            errorCode |= PageFaultCode.Present;
            return null;
        }

        entries[^1] |= isWrite ? A | D : A;
        ulong last = entries[^1], offsetMask = (1UL << PageShift(format)) - 1;
        ulong frame = format switch
        {
            TableFormat.Short4M => (last & 0xFFC0_0000) | ((last >> 13 & 0xFF) << 32),
            TableFormat.Short4K => last & 0xFFFF_F000,
            _ => last & 0xFF_FFFF_F000 & ~offsetMask,
        };
        return frame | (linear & offsetMask);
    }
}
