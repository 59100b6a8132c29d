using Hyperscope.Vm;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>Walking the guest's page tables.</summary>
public sealed class AddressSpaceTests
{
    private readonly FlatMemory _memory = new(1 << 20);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Pages_of_every_size_are_translated()
    {
        Entry(0x1000, 511, 0x2003);
        Entry(0x2000, 510, 0x40000083); // 1 GiB at 0xffffffff80000000
        Entry(0x2000, 511, 0x3003);
        Entry(0x3000, 0, 0x80e00083); // 2 MiB
        Entry(0x3000, 1, 0x4003);
        Entry(0x4000, 5, 0x12345003 | 1UL << 63);
        AddressSpace space = Space();
        Assert.Equal(new Gpa(0x52345678), await space.TranslateAsync(new Gva(0xffffffff92345678), Cancel));
        Assert.Equal(new Gpa(0x80e34567), await space.TranslateAsync(new Gva(0xffffffffc0034567), Cancel));
        Assert.Equal(new Gpa(0x12345678), await space.TranslateAsync(new Gva(0xffffffffc0205678), Cancel));
        Assert.Null(await space.TranslateAsync(new Gva(0xffffffffc0206000), Cancel));
        Assert.Null(await space.TranslateAsync(new Gva(0x0000ffffc0205678), Cancel)); // not canonical
        List<MappedRange> ranges = await space.MappingsAsync(new Gva(0xffffffff80000000), new Gva(0xffffffffffffffff), 100, Cancel);
        Assert.Equal([0x40000000UL, 0x200000UL, 0x1000UL], ranges.Select(static range => range.Length));
        Assert.Equal([true, true, false], ranges.Select(static range => range.IsExecutable));
        Assert.Equal(2, (await space.MappingsAsync(new Gva(0xffffffff80000000), new Gva(0xffffffffffffffff), 2, Cancel)).Count);
    }

    [Fact]
    public async Task Five_levels_are_walked()
    {
        Entry(0x1000, 511, 0x2003);
        Entry(0x2000, 0, 0x3003);
        Entry(0x3000, 0, 0x83);
        var space = new AddressSpace(new PageCache(_memory), new Gpa(0x1000), fiveLevel: true);
        Assert.Equal(new Gpa(0x1234), await space.TranslateAsync(new Gva(0xffff000000001234), Cancel));
        Assert.Single(await space.MappingsAsync(new Gva(0xffff000000000000), new Gva(0xffff100000000000), 100, Cancel));
    }

    [Fact]
    public async Task Ranges_of_any_length_are_fetched_as_far_as_pages_are_kept()
    {
        Entry(0x1000, 511, 0x2003);
        Entry(0x2000, 510, 0x83); // 1 GiB at 0xffffffff80000000, of which there is 1 MiB
        var reader = new GuestReader(new PageCache(_memory), Space());
        await reader.PrefetchAsync(Enumerable.Repeat((new Gva(0xffffffff80000000), int.MaxValue), 1000), Cancel);
        Assert.InRange(_memory.Reads, 256, PageCache.MaxPages + 2);
        int before = _memory.Reads;
        Assert.Equal(1 << 20, await reader.TryReadAsync(new Gva(0xffffffff80000000), new byte[1 << 20], Cancel));
        Assert.Equal(before, _memory.Reads);
    }

    [Fact]
    public async Task Tables_that_lead_to_themselves_are_given_up_on()
    {
        for (int i = 0; i < 512; i++)
            Entry(0x1000, i, 0x1003);
        await Space().MappingsAsync(new Gva(0xffff800000000000), new Gva(ulong.MaxValue), 1000, Cancel);
        for (int level = 1; level < 4; level++)
        {
            for (int i = 0; i < 512; i++)
                Entry((ulong)level * 0x1000, i, (ulong)((level + 1) * 0x1000) | 3);
        }

        LinuxGuestException endless = await Assert.ThrowsAsync<LinuxGuestException>(
            () => Space().MappingsAsync(new Gva(0xffff800000000000), new Gva(ulong.MaxValue), 1000, Cancel).AsTask());
        Assert.Contains("more than 65536 tables", endless.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Tables_outside_memory_map_nothing()
    {
        Entry(0x1000, 511, 0xfff_ffff_f003);
        AddressSpace space = Space();
        Assert.Null(await space.TranslateAsync(new Gva(0xffffffff80000000), Cancel));
        Assert.Empty(await space.MappingsAsync(new Gva(0xffffffff80000000), new Gva(ulong.MaxValue), 100, Cancel));
    }

    [Fact]
    public async Task A_read_ends_at_the_first_page_that_is_not_mapped()
    {
        Entry(0x1000, 511, 0x2003);
        Entry(0x2000, 510, 0x3003);
        Entry(0x3000, 0, 0x4003);
        Entry(0x4000, 0, 0x5003);
        _memory.Bytes.AsSpan(0x5000, 0x1000).Fill((byte)'a');
        var cache = new PageCache(_memory);
        var reader = new GuestReader(cache, new AddressSpace(cache, new Gpa(0x1000), fiveLevel: false));
        Assert.Equal(16, await reader.TryReadAsync(new Gva(0xffffffff80000ff0), new byte[32], Cancel));
        GuestAddressException missing = await Assert.ThrowsAsync<GuestAddressException>(
            () => reader.ReadAsync(new Gva(0xffffffff80000ff0), new byte[32], Cancel).AsTask());
        Assert.Equal(new Gva(0xffffffff80001000), missing.Gva);
        Assert.Equal(new string('a', 16), await reader.ReadCStringAsync(new Gva(0xffffffff80000ff0), 100, Cancel));
        byte[] bulk = new byte[0x2000];
        bulk.AsSpan().Fill(1);
        Assert.Equal(0x1000, await reader.ReadBulkAsync(new Gva(0xffffffff80000000), bulk, Cancel));
        Assert.Equal(((byte)'a', (byte)0), (bulk[0xfff], bulk[0x1000]));
    }

    private void Entry(ulong table, int index, ulong value) => _memory.Write(table + ((ulong)index * 8), value);

    private AddressSpace Space() => new(new PageCache(_memory), new Gpa(0x1000), fiveLevel: false);
}
