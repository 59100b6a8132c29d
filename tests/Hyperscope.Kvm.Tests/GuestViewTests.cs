using Hyperscope.LinuxHost;
using Hyperscope.Vm;
using Microsoft.Extensions.Logging.Abstractions;

namespace Hyperscope.Kvm.Tests;

/// <summary>Host protections follow the access map, with either method. They are read back from /proc, so any KVM will do, even one that cannot
/// run guests.</summary>
public abstract class GuestViewTests : IDisposable
{
    /// <summary>The collection of those who use up memory ranges, which are the process's.</summary>
    public const string OneAtATime = "memory ranges";

    private const PageAccess NoWrite = PageAccess.Read | PageAccess.Execute;
    private const ulong Frames = 64, ManyFrames = 2048;
    private const int Ranges = 1200;
    private static readonly Gfn Many = new(0x2000);

    private readonly GuestMemory _memory = new();
    private readonly AccessMap _map = new();
    private readonly PageAccess _costly;
    private readonly string _missing = "";
    private readonly KvmDevice? _device;
    private readonly KvmVm? _vm;
    private readonly UserFaultFd? _writes;
    private readonly GuestView? _view;

    /// <param name="method">Who protects what may not be written.</param>
    /// <param name="costly">What takes memory ranges with it.</param>
    private protected GuestViewTests(ProtectionMethod method, PageAccess costly)
    {
        _costly = costly;
        _ = _memory.AddSlot(new Gpa(0), Frames * Gfn.PageSize);
        try
        {
            _writes = method == ProtectionMethod.Userfaultfd ? new UserFaultFd() : null;
            _device = new KvmDevice();
        }
        catch (Exception lacking) when (lacking is LinuxException or NotSupportedException)
        {
            _missing = lacking.Message;
            return;
        }

        _vm = _device.CreateVm();
        _view = new GuestView(_vm, _memory, _map, new RangeBudget(Ranges), _writes, NullLogger.Instance);
    }

    private string CostlyProtection => _costly == NoWrite ? "r--s" : "---s";

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
        RestrictEveryOther(_costly);
        Assert.InRange(_view!.CoarseBlocks, 1, (int)ManyFrames / ProtectedMapping.BlockFrames);
        string[] found = ProtectionsOf(Many, ManyFrames);
        for (int frame = 0; frame < found.Length; frame++)
            Assert.Contains(found[frame], frame % 2 == 0 ? [CostlyProtection, "---s"] : (string[])["rw-s", "---s"]);
        Assert.Contains(CostlyProtection, found);
        Assert.Contains("rw-s", found); // where there was room

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
            Assert.Equal(frame % 2 == 0 && frame >= (int)ManyFrames / 2 ? CostlyProtection : "rw-s", found[frame]);
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

    [Theory]
    [InlineData(71)]
    [InlineData(72)]
    public void Protections_follow_any_sequence_of_changes(int seed)
    {
        Need();
        var random = new Random(seed);
        PageAccess[] rights = [PageAccess.All, PageAccess.All, NoWrite, NoWrite, PageAccess.None, PageAccess.Read | PageAccess.Write];
        string[] wanted = new string[Frames];
        Array.Fill(wanted, "rw-s");
        for (int step = 0; step < 150; step++)
        {
            lock (_map.WriterLock)
            {
                for (int run = random.Next(1, 4); run > 0; run--)
                {
                    PageAccess access = rights[random.Next(rights.Length)];
                    int first = random.Next((int)Frames), end = Math.Min((int)Frames, first + random.Next(1, 9));
                    for (int frame = first; frame < end; frame++)
                    {
                        _map.Set(new Gfn((ulong)frame), access);
                        wanted[frame] = access == PageAccess.All ? "rw-s" : access == NoWrite ? "r--s" : "---s";
                    }
                }

                if (random.Next(40) == 0)
                {
                    _map.Clear();
                    Array.Fill(wanted, "rw-s");
                }
            }

            _view!.Apply();
            if (random.Next(10) == 0)
            {
                _view.Open();
                Assert.All(ProtectionsOf(new Gfn(0), Frames), static protection => Assert.Equal("rw-s", protection));
                _view.Close();
            }

            Assert.True(wanted.SequenceEqual(ProtectionsOf(new Gfn(0), Frames)), $"seed {seed}, step {step}");
        }
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
        _writes?.Dispose();
        _vm?.Dispose();
        _device?.Dispose();
        _memory.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>A view of other memory in which writes to every second page are denied.</summary>
    /// <returns>What it counts as closed altogether, and what may be done with each page.</returns>
    private protected (int CoarseBlocks, string[] Protections) ProtectEveryOther(ulong pages)
    {
        Need();
        using var memory = new GuestMemory();
        var map = new AccessMap();
        _ = memory.AddSlot(new Gpa(0), pages * Gfn.PageSize);
        using KvmVm vm = _device!.CreateVm();
        using var view = new GuestView(vm, memory, map, RangeBudget.OfProcess, _writes, NullLogger.Instance);
        lock (map.WriterLock)
        {
            for (ulong frame = 0; frame < pages; frame += 2)
                map.Set(new Gfn(frame), NoWrite);
        }

        view.Apply();
        return (view.CoarseBlocks, HostMemory.ProtectionsOf(view.AddressOf(new Gfn(0)), (int)pages));
    }

    private protected string ProtectionIn(GuestMemory memory, PageAccess access)
    {
        Need();
        var map = new AccessMap();
        using KvmVm vm = _device!.CreateVm();
        using var view = new GuestView(vm, memory, map, RangeBudget.OfProcess, _writes, NullLogger.Instance);
        lock (map.WriterLock)
            map.Set(new Gfn(1), access);
        view.Apply();
        return HostMemory.ProtectionsOf(view.AddressOf(new Gfn(1)), 1)[0];
    }

    private void Need() => Assert.SkipWhen(_view is null, _missing);

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

    private string[] ProtectionsOf(Gfn first, ulong count) => HostMemory.ProtectionsOf(_view!.AddressOf(first), (int)count);
}
