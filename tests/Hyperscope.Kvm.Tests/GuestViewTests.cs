using System.Globalization;
using Hyperscope.LinuxHost;
using Hyperscope.Vm;
using Microsoft.Extensions.Logging.Abstractions;

namespace Hyperscope.Kvm.Tests;

/// <summary>Host protections follow the access map. They are read back from /proc, so any KVM will do, even one that cannot run guests.</summary>
public sealed class GuestViewTests : IDisposable
{
    private const ulong Frames = 64, ManyFrames = 2048;
    private const int Ranges = 1200;
    private static readonly Gfn Many = new(0x2000);

    private readonly GuestMemory _memory = new();
    private readonly AccessMap _map = new();
    private readonly KvmDevice? _device;
    private readonly KvmVm? _vm;
    private readonly GuestView? _view;

    public GuestViewTests()
    {
        _ = _memory.AddSlot(new Gpa(0), Frames * Gfn.PageSize);
        try
        {
            _device = new KvmDevice();
        }
        catch (LinuxException)
        {
            return;
        }

        _vm = _device.CreateVm();
        _view = new GuestView(_vm, _memory, _map, new RangeBudget(Ranges), null, NullLogger.Instance);
    }

    [Theory]
    [InlineData(PageAccess.All, "rw-s")]
    [InlineData(PageAccess.Read | PageAccess.Execute, "r--s")]
    [InlineData(PageAccess.Read | PageAccess.Write, "---s")]
    [InlineData(PageAccess.Write | PageAccess.Execute, "---s")]
    [InlineData(PageAccess.None, "---s")]
    public void Page_gets_the_protection_that_hardware_can_express(PageAccess access, string expected)
    {
        Restrict(5, PageAccess.None);
        Restrict(5, access);
        Assert.Equal(expected, ProtectionOf(5));
        Assert.Equal("rw-s", ProtectionOf(4));
        Assert.Equal("rw-s", ProtectionOf(6));
    }

    [Fact]
    public void Last_of_several_changes_counts()
    {
        Need();
        lock (_map.WriterLock)
        {
            _map.Set(new Gfn(7), PageAccess.None);
            _map.Set(new Gfn(7), PageAccess.Read | PageAccess.Execute);
            _map.Set(new Gfn(8), PageAccess.None);
        }

        _view!.Apply();
        Assert.Equal(["r--s", "---s"], [ProtectionOf(7), ProtectionOf(8)]);
    }

    [Fact]
    public void Lifting_every_restriction_opens_every_page()
    {
        Restrict(1, PageAccess.None);
        Restrict(9, PageAccess.None);
        lock (_map.WriterLock)
            _map.Clear();
        _view!.Apply();
        Assert.Equal(["rw-s", "rw-s"], [ProtectionOf(1), ProtectionOf(9)]);
    }

    [Fact]
    public void Rights_that_are_only_extended_wait_for_the_next_occasion()
    {
        Restrict(4, PageAccess.None);
        Assert.False(_view!.HasChanges);
        lock (_map.WriterLock)
            _map.Set(new Gfn(4), PageAccess.All);
        Assert.True(_view.HasChanges);
        Assert.Equal("---s", ProtectionOf(4));
        _view.Apply();
        Assert.Equal("rw-s", ProtectionOf(4));
        Assert.False(_view.HasChanges);
    }

    [Fact]
    public void Too_many_alternating_pages_close_blocks_and_open_nothing()
    {
        Need();
        _ = _memory.AddSlot(Many.Address, ManyFrames * Gfn.PageSize);
        RestrictEveryOther(PageAccess.Read | PageAccess.Execute);
        Assert.InRange(_view!.CoarseBlocks, 1, (int)ManyFrames / ProtectedMapping.BlockFrames);
        string[] found = ProtectionsOf(Many, ManyFrames);
        for (int frame = 0; frame < found.Length; frame++)
            Assert.Contains(found[frame], frame % 2 == 0 ? ["r--s", "---s"] : (string[])["rw-s", "---s"]);
        Assert.Contains("r--s", found); // where there was room
        Assert.Contains("rw-s", found);

        // With room again, each page gets what it should have.
        lock (_map.WriterLock)
        {
            for (ulong frame = 0; frame < ManyFrames / 2; frame += 2)
                _map.Set(new Gfn(Many.Value + frame), PageAccess.All);
        }

        _view.Apply();
        Assert.Equal(0, _view.CoarseBlocks);
        found = ProtectionsOf(Many, ManyFrames);
        for (int frame = 0; frame < found.Length; frame++)
            Assert.Equal(frame % 2 == 0 && frame >= (int)ManyFrames / 2 ? "r--s" : "rw-s", found[frame]);
    }

    [Fact]
    public void Opening_for_one_instruction_is_undone_where_blocks_are_closed()
    {
        Need();
        _ = _memory.AddSlot(Many.Address, ManyFrames * Gfn.PageSize);
        RestrictEveryOther(PageAccess.None);
        string[] before = ProtectionsOf(Many, ManyFrames);
        _view!.Open();
        Assert.All(ProtectionsOf(Many, ManyFrames), static protection => Assert.Equal("rw-s", protection));
        _view.Close();
        Assert.Equal(before, ProtectionsOf(Many, ManyFrames));
    }

    [Fact]
    public void More_alternating_pages_than_a_process_may_have_ranges_are_all_restricted()
    {
        Need();
        const ulong Pages = 140_000;
        using var memory = new GuestMemory();
        var map = new AccessMap();
        _ = memory.AddSlot(new Gpa(0), Pages * Gfn.PageSize);
        using KvmVm vm = _device!.CreateVm();
        using var view = new GuestView(vm, memory, map, RangeBudget.OfProcess, null, NullLogger.Instance);
        lock (map.WriterLock)
        {
            for (ulong frame = 0; frame < Pages; frame += 2)
                map.Set(new Gfn(frame), PageAccess.Read | PageAccess.Execute);
        }

        view.Apply();
        Assert.InRange(view.CoarseBlocks, 1, (int)Pages / ProtectedMapping.BlockFrames);
        int ranges = File.ReadLines("/proc/self/maps").Count();
        Assert.InRange(ranges, 40_000, 60_000);
        ulong address = (ulong)view.AddressOf(new Gfn(0));
        ulong open = 0;
        foreach ((ulong from, ulong to, string protection) in Maps())
        {
            if (from < address || from >= address + (Pages * Gfn.PageSize) || protection != "rw-s")
                continue;
            Assert.Equal((ulong)Gfn.PageSize, to - from); // no page next to one that may be written can be
            Assert.Equal(1UL, (from - address) / Gfn.PageSize % 2);
            open++;
        }

        Assert.InRange(open, 1UL, Pages / 2);
    }

    [Fact]
    public void Opening_for_one_instruction_is_undone()
    {
        Restrict(3, PageAccess.None);
        _view!.Open();
        Assert.Equal("rw-s", ProtectionOf(3));
        _view.Close();
        Assert.Equal("---s", ProtectionOf(3));
    }

    [Fact]
    public void Slot_that_comes_later_has_the_restrictions_of_its_addresses()
    {
        Restrict(0x1003, PageAccess.None);
        MemorySlot added = _memory.AddSlot(new Gpa(0x1000 * Gfn.PageSize), Frames * Gfn.PageSize);
        Assert.Equal("---s", ProtectionOf(0x1003));
        _memory.RemoveSlot(added);
    }

    [Fact]
    public void Software_sees_what_the_guest_may_not()
    {
        Restrict(2, PageAccess.None);
        Assert.True(_memory.TryWrite(new Gpa(2 * Gfn.PageSize), [1, 2, 3]));
        byte[] read = new byte[3];
        Assert.True(_memory.TryRead(new Gpa(2 * Gfn.PageSize), read));
        Assert.Equal([1, 2, 3], read);
    }

    public void Dispose()
    {
        _view?.Dispose();
        _vm?.Dispose();
        _device?.Dispose();
        _memory.Dispose();
    }

    private void Need() => Assert.SkipWhen(_view is null, $"needs {KvmDevice.DefaultPath}");

    private void Restrict(ulong frame, PageAccess access)
    {
        Need();
        lock (_map.WriterLock)
            _map.Set(new Gfn(frame), access);
        _view!.Apply();
    }

    private void RestrictEveryOther(PageAccess access)
    {
        lock (_map.WriterLock)
        {
            for (ulong frame = 0; frame < ManyFrames; frame += 2)
                _map.Set(new Gfn(Many.Value + frame), access);
        }

        _view!.Apply();
    }

    private string ProtectionOf(ulong frame) => ProtectionsOf(new Gfn(frame), 1)[0];

    private string[] ProtectionsOf(Gfn first, ulong count)
    {
        ulong address = (ulong)_view!.AddressOf(first);
        string[] found = new string[count];
        Array.Fill(found, "unmapped");
        foreach ((ulong from, ulong to, string protection) in Maps())
        {
            for (ulong page = Math.Max(from, address); page < Math.Min(to, address + (count * Gfn.PageSize)); page += Gfn.PageSize)
                found[(page - address) / Gfn.PageSize] = protection;
        }

        return found;
    }

    private static IEnumerable<(ulong From, ulong To, string Protection)> Maps()
    {
        foreach (string line in File.ReadLines("/proc/self/maps"))
        {
            string[] fields = line.Split(' ', 3), range = fields[0].Split('-');
            yield return (
                ulong.Parse(range[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture),
                ulong.Parse(range[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture),
                fields[1]);
        }
    }
}
