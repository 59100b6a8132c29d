namespace Hyperscope.Vm.Tests;

public sealed class WatchTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Watches_are_what_a_plain_array_of_bytes_says(int seed)
    {
        const int Room = 5 * 4096;
        var random = new Random(seed);
        var map = new AccessMap();
        var model = new PageAccess[Room];
        for (int round = 0; round < 400; round++)
        {
            int start = random.Next(Room), length = Math.Min(1 + random.Next(random.Next(3) == 0 ? Room : 40), Room - start);
            var kinds = (PageAccess)random.Next(8);
            bool grew = false, expected = model[start..(start + length)].Any(one => (kinds & ~one) != 0);
            Assert.True(map.TrySetWatch(new Gpa((ulong)start), (ulong)length, kinds, ref grew));
            Array.Fill(model, kinds, start, length);
            Assert.Equal(expected, grew);
            for (int probe = 0; probe < 40; probe++)
            {
                int at = random.Next(Room - 16), size = 1 + random.Next(16);
                size = Math.Min(size, 4096 - (at & 0xFFF));
                var kind = (PageAccess)(1 << random.Next(3));
                Assert.Equal(model[at..(at + size)].Any(one => (one & kind) != 0), map.Denies(new Gpa((ulong)at), size, kind));
            }

            Assert.Equal(Enumerable.Range(0, 5).Count(frame => model[(frame * 4096)..((frame + 1) * 4096)].Any(one => one != 0)), map.WatchedFrames);
        }

        bool none = false;
        Assert.True(map.TrySetWatch(new Gpa(0), Room, PageAccess.None, ref none));
        Assert.Equal((false, 0, 0L), (none, map.WatchedFrames, map.WatchTableBytes));
    }

    [Fact]
    public void The_version_of_execute_watches_changes_with_them_and_never_comes_back()
    {
        var map = new AccessMap();
        var seen = new HashSet<long>();
        bool grew = false;
        for (int round = 0; round < 10; round++)
        {
            Assert.True(map.TrySetWatch(new Gpa(0x1000), 1, PageAccess.Execute, ref grew));
            Assert.True(seen.Add(map.ExecuteWatchVersion(1)));
            Assert.True(map.TrySetWatch(new Gpa(0x1008), 1, PageAccess.Write, ref grew));
            Assert.Contains(map.ExecuteWatchVersion(1), seen);
            Assert.True(map.TrySetWatch(new Gpa(0x1000), 1, PageAccess.None, ref grew));
            Assert.Equal(0, map.ExecuteWatchVersion(1));
        }
    }

    [Fact]
    public void Rights_and_watches_of_a_frame_do_not_disturb_each_other()
    {
        var map = new AccessMap();
        bool grew = false;
        Assert.True(map.TrySetWatch(new Gpa(0x1000), 1, PageAccess.Write, ref grew));
        map.Set(new Gfn(1), PageAccess.Read);
        Assert.Equal((PageAccess.Read, 1), (map[new Gfn(1)], map.WatchedFrames));
        map.Set(new Gfn(1), PageAccess.All);
        Assert.True(map.Denies(new Gpa(0x1000), 1, PageAccess.Write));
        Assert.Equal(0, map.RestrictedFrames);
        map.Clear();
        Assert.Equal((0, 0L), (map.WatchedFrames, map.WatchTableBytes));
    }
}
