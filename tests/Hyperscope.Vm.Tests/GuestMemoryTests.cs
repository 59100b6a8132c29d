namespace Hyperscope.Vm.Tests;

public sealed class GuestMemoryTests
{
    [Fact]
    public void What_was_written_is_read_back_across_pages_and_slots()
    {
        using var memory = new GuestMemory();
        memory.AddSlot(new Gpa(0), 0x2000);
        memory.AddSlot(new Gpa(0x2000), 0x1000);
        byte[] data = [.. Enumerable.Range(0, 0x1800).Select(static value => (byte)(value * 7))];
        Assert.True(memory.TryWrite(new Gpa(0x1000), data));
        byte[] back = new byte[data.Length];
        Assert.True(memory.TryRead(new Gpa(0x1000), back));
        Assert.Equal(data, back);
    }

    [Fact]
    public void A_write_that_runs_into_a_hole_changes_nothing()
    {
        using var memory = new GuestMemory();
        memory.AddSlot(new Gpa(0), 0x1000);
        Assert.False(memory.TryWrite(new Gpa(0xFFC), [1, 2, 3, 4, 5]));
        Assert.True(memory.TryRead(new Gpa(0xFFC), out uint value));
        Assert.Equal(0u, value);
        Assert.False(memory.TryRead(new Gpa(0x1000), out byte _));
        Assert.False(memory.TryRead(new Gpa(ulong.MaxValue), out byte _));
    }

    [Fact]
    public void A_read_only_slot_takes_loads_but_no_writes()
    {
        using var memory = new GuestMemory();
        memory.AddSlot(new Gpa(0x1000), 0x1000, isReadOnly: true);
        Assert.False(memory.TryWrite(new Gpa(0x1000), [1]));
        Assert.True(memory.TryLoad(new Gpa(0x1000), [2]));
        Assert.True(memory.TryRead(new Gpa(0x1000), out byte value));
        Assert.Equal(2, value);
        Assert.Equal(0UL, memory.MaxGfn.Value);
    }

    [Theory]
    [InlineData(0x1000, 0)]
    [InlineData(0x1001, 0x1000)]
    [InlineData(0x1000, 0x1001)]
    [InlineData(0x0, 0x2000)]
    [InlineData(0x2000, 0x1000)]
    [InlineData(0xF_FFFF_FFFF_F000, 0x2000)]
    public void A_slot_that_is_empty_unaligned_overlapping_or_too_high_is_refused(ulong gpa, ulong bytes)
    {
        using var memory = new GuestMemory();
        memory.AddSlot(new Gpa(0x1000), 0x2000);
        ArgumentException refusal = Assert.Throws<ArgumentException>(() => memory.AddSlot(new Gpa(gpa), bytes));
        Assert.Contains($"{bytes} bytes", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(1, memory.Slots.Length);
    }

    [Fact]
    public void Max_gfn_is_one_past_the_highest_writable_slot()
    {
        using var memory = new GuestMemory();
        Assert.Equal(0UL, memory.MaxGfn.Value);
        memory.AddSlot(new Gpa(1UL << 32), 0x3000);
        memory.AddSlot(new Gpa(0), 0x1000);
        memory.AddSlot(new Gpa(2UL << 32), 0x1000, isReadOnly: true);
        Assert.Equal((1UL << 20) + 3, memory.MaxGfn.Value);
    }

    [Fact]
    public void Trackers_hear_of_slots_and_translations_are_invalid_before_memory_goes_away()
    {
        using var memory = new GuestMemory();
        var tracker = new Recorder();
        memory.PageTracker.Subscribe(tracker);
        memory.TranslationsInvalid += () => tracker.Log.Add("invalid");
        MemorySlot slot = memory.AddSlot(new Gpa(0x1000), 0x1000);
        memory.RemoveSlot(slot);
        Assert.Equal(["created 0x1000..0x1fff", "invalid", "flushed 0x1000..0x1fff", "invalid"], tracker.Log);
        Assert.Throws<ArgumentException>(() => memory.RemoveSlot(slot));
        memory.PageTracker.Unsubscribe(tracker);
        memory.AddSlot(new Gpa(0x1000), 0x1000);
        Assert.Equal(5, tracker.Log.Count);
    }

    [Fact]
    public void A_slot_added_again_is_empty()
    {
        using var memory = new GuestMemory();
        MemorySlot slot = memory.AddSlot(new Gpa(0), 0x1000);
        Assert.True(memory.TryWrite(new Gpa(0), [0xFF]));
        memory.RemoveSlot(slot);
        memory.AddSlot(new Gpa(0), 0x1000);
        Assert.True(memory.TryRead(new Gpa(0), out byte value));
        Assert.Equal(0, value);
    }

    [Fact]
    public void Readers_survive_slots_that_come_and_go()
    {
        using var memory = new GuestMemory();
        using var stop = new CancellationTokenSource();
        var reader = new Thread(() =>
        {
            byte[] buffer = new byte[0x3000];
            while (!stop.IsCancellationRequested)
                _ = memory.TryRead(new Gpa(0), buffer);
        });
        reader.Start();
        for (int round = 0; round < 200; round++)
            memory.RemoveSlot(memory.AddSlot(new Gpa(0), 0x4000));
        stop.Cancel();
        Assert.True(reader.Join(TimeSpan.FromSeconds(30)));
        Assert.Equal(0, memory.Slots.Length);
    }

    [Fact]
    public void All_trackers_are_asked_and_the_strictest_verdict_wins()
    {
        var tracker = new PageTracker();
        Recorder allow = new(), retry = new() { Verdict = PageTrackVerdict.Retry }, late = new();
        tracker.Subscribe(allow);
        tracker.Subscribe(retry);
        tracker.Subscribe(late);
        var access = new PageTrackAccess(new Gva(0x5008), new Gpa(0x1008), PageAccess.Write, 4, [1, 2, 3, 4]);
        Assert.Equal(PageTrackVerdict.Retry, tracker.BeforeAccess(null!, access));
        Assert.All([allow, retry, late], static recorder => Assert.Equal(["Write 0x5008 0x1008 4 01020304"], recorder.Log));
    }

    private sealed class Recorder : IPageTrackSubscriber
    {
        public List<string> Log { get; } = [];

        public PageTrackVerdict Verdict { get; init; }

        public PageTrackVerdict BeforeAccess(IVcpu vcpu, in PageTrackAccess access)
        {
            Log.Add($"{access.Kind} {access.Gva} {access.Gpa} {access.Length} {Convert.ToHexString(access.NewData)}");
            return Verdict;
        }

        public void SlotCreated(MemorySlot slot) => Log.Add($"created {slot}");

        public void SlotFlushed(MemorySlot slot) => Log.Add($"flushed {slot}");
    }

    [Fact]
    public void Memory_is_in_its_file_at_its_own_address_and_gone_from_there_when_removed()
    {
        string path = Path.Combine(Path.GetTempPath(), $"guest-memory-{Guid.NewGuid():N}");
        try
        {
            using var memory = new GuestMemory(path);
            Assert.Null(memory.FilePath);
            MemorySlot slot = memory.AddSlot(new Gpa(0x10_0000), 0x2000);
            Assert.Equal(path, memory.FilePath);
            Assert.True(memory.TryWrite(new Gpa(0x10_1000), [1, 2, 3]));
            Assert.Equal([1, 2, 3], Contents());
            memory.RemoveSlot(slot);
            Assert.Equal([0, 0, 0], Contents());
            memory.AddSlot(new Gpa(0x10_1000), 0x1000);
            Span<byte> seen = stackalloc byte[3];
            Assert.True(memory.TryRead(new Gpa(0x10_1000), seen));
            Assert.Equal([0, 0, 0], seen.ToArray());
        }
        finally
        {
            File.Delete(path);
        }

        byte[] Contents()
        {
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
            file.Position = 0x10_1000;
            byte[] bytes = new byte[3];
            file.ReadExactly(bytes);
            return bytes;
        }
    }
}
