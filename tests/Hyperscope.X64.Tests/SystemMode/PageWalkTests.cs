using Hyperscope.TestKit;
using Hyperscope.Vm;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>Every walk of every format against <see cref="PageWalkModel"/>: outcome, error code, CR2, address, accessed and dirty bits.</summary>
public sealed unsafe class PageWalkTests : IDisposable
{
    private const ulong Tables = 0x10_0000, Frame = 0x20_0000;

    private readonly TestMachine _machine = new();
    private readonly ulong*[] _pages = new ulong*[4];
    private int _walks;

    public PageWalkTests()
    {
        for (int index = 0; index < _pages.Length; index++)
        {
            Assert.True(_machine.Memory.TryGetHostPage((Tables >> 12) + (ulong)index, out nint page, out _));
            _pages[index] = (ulong*)page;
        }

        _machine.Vcpu.EnterGuest(); // host addresses are good in guest mode only
    }

    public static TheoryData<TableFormat> Formats => [.. Enum.GetValues<TableFormat>()];

    public void Dispose()
    {
        _machine.Vcpu.LeaveGuest();
        _machine.Dispose();
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void Rights_of_all_levels_combine_as_the_manual_says(TableFormat format)
    {
        int depth = PageWalkModel.Depth(format), bitsPerLevel = PageWalkModel.IsShort(format) ? 2 : 3;
        WalkSetup[] setups = [.. WalkSetup.All()];
        for (int combination = 0; combination < 1 << (bitsPerLevel * depth); combination++)
        {
            ulong[] entries = Entries(format);
            for (int position = 0; position < depth; position++)
            {
                int rights = combination >> (position * bitsPerLevel);
                entries[position] |= ((rights & 1) != 0 ? PageWalkModel.W : 0) | ((rights & 2) != 0 ? PageWalkModel.U : 0)
                    | (bitsPerLevel == 3 && (rights & 4) != 0 ? PageWalkModel.Nx : 0);
            }

            // A table of pointers of PAE paging has no rights: bits there are reserved, and have their own test.
            if (PageWalkModel.IsPae(format) && (combination & 7) != 0)
                continue;
            foreach (WalkSetup setup in setups)
                Check(format, entries, setup);
        }

        Assert.InRange(_walks, 1000, int.MaxValue);
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void Absent_entries_and_reserved_bits_fault_at_every_level(TableFormat format)
    {
        const ulong Open = PageWalkModel.W | PageWalkModel.U;
        int depth = PageWalkModel.Depth(format);
        foreach (WalkSetup setup in WalkSetup.All())
        {
            for (int position = 0; position < depth; position++)
            {
                foreach (ulong rights in (ulong[])[0, Open])
                {
                    ulong[] entries = Entries(format, rights);
                    entries[position] &= ~PageWalkModel.P;
                    Check(format, entries, setup);
                    entries[position] = PageWalkModel.IsShort(format) ? 0xFFFF_FFFE : ulong.MaxValue - 1;
                    Check(format, entries, setup);
                    for (int bit = 1; bit < (PageWalkModel.IsShort(format) ? 32 : 64); bit++)
                    {
                        bool isLarge = bit == 7 && !PageWalkModel.ReservedBits(format, position).Contains(7) && position < depth - 1;
                        if (isLarge || IsAddress(format, position, bit))
                            continue;
                        entries = Entries(format, rights);
                        entries[position] |= 1UL << bit;
                        Check(format, entries, setup);
                    }
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void Accessed_and_dirty_bits_that_are_set_stay_set(TableFormat format)
    {
        foreach (WalkSetup setup in WalkSetup.All())
        {
            for (int bits = 0; bits < 1 << PageWalkModel.Depth(format); bits++)
            {
                ulong[] entries = Entries(format, PageWalkModel.W | PageWalkModel.U);
                for (int position = 0; position < entries.Length; position++)
                {
                    if ((bits >> position & 1) != 0 && !PageWalkModel.IsPdpte(format, position))
                        entries[position] |= PageWalkModel.A | (position == entries.Length - 1 ? PageWalkModel.D : 0);
                }

                Check(format, entries, setup);
            }
        }
    }

    [Fact]
    public void Without_PSE_the_size_bit_of_a_32_bit_entry_means_nothing()
    {
        foreach (WalkSetup setup in WalkSetup.All())
        {
            ulong[] entries = Entries(TableFormat.Short4K, PageWalkModel.W | PageWalkModel.U);
            entries[0] |= PageWalkModel.PS;
            Check(TableFormat.Short4K, entries, setup, hasPse: false);
        }
    }

    [Fact]
    public void Without_paging_linear_is_physical_and_everything_is_allowed()
    {
        CpuState* c = _machine.Vcpu.State;
        c->Cr0 &= ~Cr0.Pg;
        c->Efer = 0;
        SoftwareVcpu.Translation translation = default;
        foreach (PageAccess kind in (PageAccess[])[PageAccess.Read, PageAccess.Write, PageAccess.Execute])
        {
            Assert.True(_machine.Vcpu.Translate(null, 0xFEDC_BA98, kind, SoftwareVcpu.Privilege.Current, ref translation));
            Assert.Equal(0xFEDC_BA98UL, translation.Gpa);
        }
    }

    [Fact]
    public void A_table_where_there_is_no_memory_reads_as_reserved_bits()
    {
        ulong[] entries = Entries(TableFormat.Long4K, PageWalkModel.W | PageWalkModel.U);
        entries[1] = 0x30_0000_0000 | PageWalkModel.P;
        Install(TableFormat.Long4K, entries, Linear(TableFormat.Long4K));
        Prepare(TableFormat.Long4K, new WalkSetup(true, true, true, true, false, 0, AccessKind.Read), hasPse: true);
        SoftwareVcpu.Translation translation = default;
        Assert.False(_machine.Vcpu.Translate(null, Linear(TableFormat.Long4K), PageAccess.Read, SoftwareVcpu.Privilege.Current, ref translation));
        Assert.Equal(PageFaultCode.Present | PageFaultCode.Reserved, _machine.Vcpu.State->Fault.ErrorCode);
        _machine.Vcpu.State->Stop = StopReason.None;
    }

    private static ulong Linear(TableFormat format) => PageWalkModel.IsLong(format) ? 0xFFFF_A123_4567_8ABC : 0xC765_4ABC;

    // Address bits of an entry: changing them leads elsewhere, which is not what these tests are about.
    private static bool IsAddress(TableFormat format, int position, int bit)
    {
        bool isLargeLeaf = position == PageWalkModel.Depth(format) - 1 && PageWalkModel.IsLarge(format);
        if (PageWalkModel.IsShort(format))
            return bit >= 12 && !isLargeLeaf;
        return bit is >= 12 and < 40 && !isLargeLeaf;
    }

    private static ulong[] Entries(TableFormat format, ulong rights = 0)
    {
        ulong[] entries = new ulong[PageWalkModel.Depth(format)];
        for (int position = 0; position < entries.Length; position++)
        {
            bool isLeaf = position == entries.Length - 1;
            entries[position] = isLeaf
                ? (PageWalkModel.IsLarge(format) ? (1UL << PageWalkModel.PageShift(format)) | PageWalkModel.PS : Frame)
                : Tables + (ulong)((position + 1) * 4096);
            entries[position] |= PageWalkModel.P | (PageWalkModel.IsPdpte(format, position) ? 0 : rights);
        }

        return entries;
    }

    // Where an entry of the test address is in its table, in bytes.
    private static int Slot(TableFormat format, ulong linear, int position)
    {
        if (PageWalkModel.IsShort(format))
            return (int)(linear >> (22 - (10 * position)) & 0x3FF) * 4;
        if (PageWalkModel.IsLong(format))
            return (int)(linear >> (39 - (9 * position)) & 0x1FF) * 8;
        return (int)(position == 0 ? linear >> 30 & 3 : linear >> (30 - (9 * position)) & 0x1FF) * 8;
    }

    private void Install(TableFormat format, ReadOnlySpan<ulong> entries, ulong linear)
    {
        for (int position = 0; position < entries.Length; position++)
        {
            byte* slot = (byte*)_pages[position] + Slot(format, linear, position);
            if (PageWalkModel.IsShort(format))
                *(uint*)slot = (uint)entries[position];
            else
                *(ulong*)slot = entries[position];
        }
    }

    private void Prepare(TableFormat format, in WalkSetup setup, bool hasPse)
    {
        CpuState* c = _machine.Vcpu.State;
        c->Cr3 = Tables;
        c->Cr0 = Cr0.Pe | Cr0.Pg | Cr0.Et | (setup.Wp ? Cr0.Wp : 0);
        c->Cr4 = (PageWalkModel.IsShort(format) ? 0 : Cr4.Pae) | (hasPse ? Cr4.Pse : 0) | (setup.Smep ? Cr4.Smep : 0) | (setup.Smap ? Cr4.Smap : 0);
        c->Efer = (PageWalkModel.IsLong(format) ? Efer.Lme | Efer.Lma : 0) | (setup.Nxe ? Efer.Nx : 0);
        c->SystemFlags = Rflags.Fixed | (setup.Ac ? Rflags.Ac : 0);
        c->Cpl = setup.Cpl;
    }

    private void Check(TableFormat format, ulong[] entries, in WalkSetup setup, bool hasPse = true)
    {
        _walks++;
        ulong linear = Linear(format);
        Span<ulong> expectedEntries = stackalloc ulong[entries.Length];
        entries.CopyTo(expectedEntries);
        ulong? expected = PageWalkModel.Walk(format, expectedEntries, linear, setup, out uint errorCode);
        Install(format, entries, linear);
        Prepare(format, setup, hasPse);
        SoftwareVcpu vcpu = _machine.Vcpu;
        (PageAccess kind, SoftwareVcpu.Privilege privilege) = setup.Kind switch
        {
            AccessKind.Read => (PageAccess.Read, SoftwareVcpu.Privilege.Current),
            AccessKind.Write => (PageAccess.Write, SoftwareVcpu.Privilege.Current),
            AccessKind.Fetch => (PageAccess.Execute, SoftwareVcpu.Privilege.Current),
            AccessKind.SystemRead => (PageAccess.Read, SoftwareVcpu.Privilege.System),
            _ => (PageAccess.Write, SoftwareVcpu.Privilege.Supervisor),
        };
        SoftwareVcpu.Translation translation = default;
        bool ok = vcpu.Translate(null, linear, kind, privilege, ref translation);
        FaultInfo fault = vcpu.State->Fault;
        vcpu.State->Stop = StopReason.None;
        bool isSame = ok == expected.HasValue
            && (ok ? translation.Gpa == expected : fault.Vector == 14 && fault.ErrorCode == errorCode && fault.Address == linear);
        for (int position = 0; position < entries.Length; position++)
        {
            byte* slot = (byte*)_pages[position] + Slot(format, linear, position);
            isSame &= (PageWalkModel.IsShort(format) ? *(uint*)slot : *(ulong*)slot) == expectedEntries[position];
        }

        if (!isSame)
            Assert.Fail(Describe(format, entries, expectedEntries, setup, expected, errorCode, ok, translation.Gpa, fault));
    }

    private string Describe(TableFormat format, ulong[] entries, ReadOnlySpan<ulong> expectedEntries, in WalkSetup setup, ulong? expected,
        uint errorCode, bool ok, ulong gpa, in FaultInfo fault)
    {
        string Text(ReadOnlySpan<ulong> values) => string.Join(' ', values.ToArray().Select(value => value.ToString("x")));
        ulong[] found = new ulong[entries.Length];
        for (int position = 0; position < found.Length; position++)
        {
            byte* slot = (byte*)_pages[position] + Slot(format, Linear(format), position);
            found[position] = PageWalkModel.IsShort(format) ? *(uint*)slot : *(ulong*)slot;
        }

        return $"{format} {setup} entries {Text(entries)}: expected {expected:x} code {errorCode:x} entries {Text(expectedEntries)}, "
            + $"got {(ok ? $"{gpa:x}" : $"vector {fault.Vector} code {fault.ErrorCode:x} address {fault.Address:x}")} entries {Text(found)}";
    }
}
