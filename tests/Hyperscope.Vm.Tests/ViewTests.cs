namespace Hyperscope.Vm.Tests;

public sealed class ViewTests
{
    [Fact]
    public void The_most_views_of_a_512_MiB_guest_use_at_most_64_MiB()
    {
        const ulong Frames = 512UL << 20 >> 12;
        long before = GC.GetTotalMemory(forceFullCollection: true);
        var table = new ViewTable();
        var random = new Random(1);
        while (table.TryCreate() is { } view)
        {
            // As bad as it gets: no part of memory is left without a restriction, and what can be remapped is.
            for (ulong gfn = 0; gfn < Frames; gfn += 64)
                view.AccessMap.Set(new Gfn(gfn + (ulong)random.Next(64)), PageAccess.Read);
            for (int count = 0; count < 400; count++)
                Assert.True(view.TryRemap(new Gfn((ulong)random.Next((int)Frames)), new Gfn(0)));
        }

        long used = GC.GetTotalMemory(forceFullCollection: true) - before;
        Assert.Equal(ViewTable.MaxViews, table.Count);
        Assert.InRange(used, 1, 64L << 20);
        GC.KeepAlive(table);
    }

    [Fact]
    public void An_empty_view_costs_next_to_nothing()
    {
        var table = new ViewTable();
        long before = GC.GetTotalMemory(forceFullCollection: true);
        while (table.TryCreate() is not null)
        {
        }

        Assert.InRange(GC.GetTotalMemory(forceFullCollection: true) - before, 1, 2L << 20);
        GC.KeepAlive(table);
    }

    [Fact]
    public void Remaps_of_all_views_together_are_bounded_and_come_back()
    {
        var table = new ViewTable();
        View view = table.TryCreate()!;
        for (ulong gfn = 1; gfn <= ViewTable.MaxRemaps; gfn++)
            Assert.True(view.TryRemap(new Gfn(gfn), new Gfn(0)));
        Assert.False(table.TryCreate()!.TryRemap(new Gfn(1), new Gfn(0)));
        Assert.True(view.TryRemap(new Gfn(1), new Gfn(2))); // a change needs no room
        Assert.True(table.TryDestroy(view));
        Assert.True(table.TryCreate()!.TryRemap(new Gfn(1), new Gfn(0)));
    }

    [Fact]
    public void Watches_of_all_views_share_one_bound()
    {
        var table = new ViewTable();
        View first = table.TryCreate()!, second = table.TryCreate()!;
        bool grew = false;
        Assert.True(first.AccessMap.TrySetWatch(new Gpa(0), 90_000UL << 12, PageAccess.Write, ref grew));
        Assert.False(second.AccessMap.TrySetWatch(new Gpa(0), 90_000UL << 12, PageAccess.Write, ref grew));
        Assert.Equal(0, second.AccessMap.WatchedFrames);
        Assert.True(table.TryDestroy(first));
        Assert.Equal(0, table.Watches.Used);
        Assert.True(second.AccessMap.TrySetWatch(new Gpa(0), 90_000UL << 12, PageAccess.Write, ref grew));
    }
}
