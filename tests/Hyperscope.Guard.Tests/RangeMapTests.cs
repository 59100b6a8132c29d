using Hyperscope.Vm;

namespace Hyperscope.Guard.Tests;

public sealed class RangeMapTests
{
    private static readonly GuardRule Rule = RuleCatalog.Find("idt").Create(GuardPolicy.Parse("rules: [{kind: idt}]").Rules[0]);

    [Fact]
    public void Watch_is_touched_by_accesses_that_overlap_it_and_no_others()
    {
        var map = new RangeMap();
        map.Add(Range(0x1ffc, 8, PageAccess.Write, isWatch: true));
        Assert.Null(map.Find(new Gpa(0x1ff8), 4, PageAccess.Write));
        Assert.NotNull(map.Find(new Gpa(0x1ff8), 8, PageAccess.Write));
        Assert.NotNull(map.Find(new Gpa(0x2003), 1, PageAccess.Write));
        Assert.Null(map.Find(new Gpa(0x2004), 4, PageAccess.Write));
        Assert.Null(map.Find(new Gpa(0x2000), 4, PageAccess.Read));
        Assert.Equal(0, map.RestrictedPages);
    }

    [Fact]
    public void Restriction_is_of_whole_pages()
    {
        var map = new RangeMap();
        map.Add(Range(0x1800, 0x1000, PageAccess.Write, isWatch: false));
        Assert.NotNull(map.Find(new Gpa(0x1000), 1, PageAccess.Write));
        Assert.NotNull(map.Find(new Gpa(0x2fff), 1, PageAccess.Write));
        Assert.Null(map.Find(new Gpa(0x3000), 1, PageAccess.Write));
        Assert.Equal(2, map.RestrictedPages);
    }

    [Fact]
    public void The_smallest_range_answers_and_rights_add_up()
    {
        var map = new RangeMap();
        GuardedRange page = Range(0x1000, 0x1000, PageAccess.Write | PageAccess.Execute, isWatch: false), bytes = Range(0x1010, 8, PageAccess.Write, isWatch: true);
        map.Add(page);
        map.Add(bytes);
        Assert.Same(bytes, map.Find(new Gpa(0x1010), 1, PageAccess.Write));
        Assert.Same(page, map.Find(new Gpa(0x1010), 1, PageAccess.Execute));
        map.Remove(page);
        Assert.Equal(PageAccess.None, map.KindsOf(1, withWatches: false));
        Assert.Equal(PageAccess.Write, map.KindsOf(1, withWatches: true));
        Assert.Single(map.Clear());
        Assert.Null(map.Find(new Gpa(0x1010), 1, PageAccess.Write));
    }

    private static GuardedRange Range(ulong gpa, ulong length, PageAccess kinds, bool isWatch) =>
        new(Rule, "x", new Gva(gpa), new Gpa(gpa), length, kinds, isWatch);
}
