using CsCheck;

namespace Hyperscope.Vm.Tests;

public sealed class AccessMapTests
{
    [Fact]
    public void A_frame_nobody_restricted_has_all_rights_and_costs_nothing()
    {
        var map = new AccessMap();
        long before = map.TableBytes;
        Assert.Equal(PageAccess.All, map[new Gfn(0)]);
        Assert.Equal(PageAccess.All, map[new Gfn(AccessMap.FrameLimit - 1)]);
        Assert.Equal(before, map.TableBytes);
        Assert.Equal(0, map.RestrictedFrames);
    }

    [Fact]
    public void Setting_full_rights_where_there_is_no_entry_makes_none()
    {
        var map = new AccessMap();
        long before = map.TableBytes;
        Assert.Equal(PageAccess.All, map.Set(new Gfn(7_000_000), PageAccess.All));
        Assert.Equal(before, map.TableBytes);
        Assert.Equal(0, map.Version);
    }

    [Fact]
    public void Neighbours_that_share_a_byte_do_not_disturb_each_other()
    {
        var map = new AccessMap();
        map.Set(new Gfn(10), PageAccess.Read);
        map.Set(new Gfn(11), PageAccess.Execute);
        Assert.Equal((PageAccess.Read, PageAccess.Execute), (map[new Gfn(10)], map[new Gfn(11)]));
        Assert.Equal(PageAccess.Read, map.Set(new Gfn(10), PageAccess.All));
        Assert.Equal((PageAccess.All, PageAccess.Execute), (map[new Gfn(10)], map[new Gfn(11)]));
        Assert.Equal(1, map.RestrictedFrames);
    }

    [Fact]
    public void Memory_stays_below_one_byte_a_frame_of_a_restricted_region()
    {
        var map = new AccessMap();
        const ulong Frames = 1 << 18; // 1 GiB
        for (ulong gfn = 0; gfn < Frames; gfn++)
            map.Set(new Gfn(gfn), PageAccess.Read);
        Assert.Equal((long)Frames, map.RestrictedFrames);
        Assert.InRange(map.TableBytes, 1, (long)Frames);
    }

    [Fact]
    public void A_frame_out_of_range_and_unknown_rights_are_refused_by_name()
    {
        var map = new AccessMap();
        Assert.Contains("0x10000000000", Assert.Throws<ArgumentOutOfRangeException>(() => map.Set(new Gfn(AccessMap.FrameLimit), PageAccess.Read)).Message, StringComparison.Ordinal);
        Assert.Contains("0x8", Assert.Throws<ArgumentOutOfRangeException>(() => map.Set(new Gfn(0), (PageAccess)8)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void It_behaves_like_a_dictionary() => Gen.Select(Gen.ULong[0, 20_000], Gen.Byte[0, 7]).List[1, 200].Sample(changes =>
    {
        var map = new AccessMap();
        var model = new SortedDictionary<ulong, PageAccess>();
        foreach ((ulong gfn, byte bits) in changes)
        {
            var access = (PageAccess)bits;
            if (map.Set(new Gfn(gfn), access) != model.GetValueOrDefault(gfn, PageAccess.All))
                return false;
            if (access == PageAccess.All)
                model.Remove(gfn);
            else
                model[gfn] = access;
        }

        List<(ulong, PageAccess)> seen = [];
        map.ForEachRestricted(new Gfn(0), AccessMap.FrameLimit, (gfn, access) => seen.Add((gfn.Value, access)));
        bool same = map.RestrictedFrames == model.Count && seen.SequenceEqual(model.Select(static pair => (pair.Key, pair.Value)));
        map.Clear();
        return same && map.RestrictedFrames == 0 && map[new Gfn(changes[0].Item1)] == PageAccess.All;
    });

    [Theory]
    [InlineData("rwx", PageAccess.All)]
    [InlineData("r-x", PageAccess.Read | PageAccess.Execute)]
    [InlineData("---", PageAccess.None)]
    [InlineData("5", PageAccess.Read | PageAccess.Execute)]
    [InlineData("w", PageAccess.Write)]
    public void Rights_are_read_from_letters_or_a_digit(string text, PageAccess expected)
    {
        Assert.True(PageAccessText.TryParse(text, out PageAccess access));
        Assert.Equal(expected, access);
        Assert.True(PageAccessText.TryParse(access.ToText(), out PageAccess again));
        Assert.Equal(access, again);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("8")]
    [InlineData("rwz")]
    public void Other_text_is_no_rights(string? text) => Assert.False(PageAccessText.TryParse(text, out _));
}
