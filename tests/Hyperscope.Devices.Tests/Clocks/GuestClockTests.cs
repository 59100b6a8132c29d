using Hyperscope.Vm;

namespace Hyperscope.Devices.Tests;

public sealed class GuestClockTests
{
    [Fact]
    public void Timers_fire_in_order_of_deadline_at_their_own_time()
    {
        var clock = new ManualGuestClock();
        var fired = new List<(char Name, long Now)>();
        using IGuestTimer late = clock.CreateTimer(() => fired.Add(('l', clock.Now)));
        using IGuestTimer early = clock.CreateTimer(() => fired.Add(('e', clock.Now)));
        late.Arm(20);
        early.Arm(10);
        Assert.Equal(10, clock.NextDeadline);
        clock.AdvanceTo(9);
        Assert.Empty(fired);
        clock.AdvanceTo(100);
        Assert.Equal([('e', 10), ('l', 20)], fired);
        Assert.Equal(100, clock.Now);
        Assert.Null(clock.NextDeadline);
    }

    [Fact]
    public void A_timer_that_rearms_itself_fires_again_within_one_advance()
    {
        var clock = new ManualGuestClock();
        int count = 0;
        IGuestTimer? timer = null;
        timer = clock.CreateTimer(() =>
        {
            count++;
            timer!.Arm(clock.Now + 10);
        });
        timer.Arm(10);
        clock.Advance(105);
        Assert.Equal(10, count);
        timer.Dispose();
        clock.Advance(100);
        Assert.Equal(10, count);
    }

    [Fact]
    public void Disarmed_timer_does_not_fire_and_time_never_goes_back()
    {
        var clock = new ManualGuestClock();
        int count = 0;
        using IGuestTimer timer = clock.CreateTimer(() => count++);
        timer.Arm(10);
        timer.Arm(null);
        clock.AdvanceTo(50);
        clock.AdvanceTo(40);
        Assert.Equal(50, clock.Now);
        Assert.Equal(0, count);
        timer.Arm(5); // in the past: due at once, at the present time
        clock.AdvanceTo(50);
        Assert.Equal(1, count);
        Assert.Equal(50, clock.Now);
    }

    [Fact]
    public void Advancing_allocates_nothing()
    {
        var clock = new ManualGuestClock();
        IGuestTimer? timer = null;
        timer = clock.CreateTimer(() => timer!.Arm(clock.Now + 1000));
        timer.Arm(0);
        clock.Advance(10_000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        clock.Advance(1_000_000);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        timer.Dispose();
    }

    [Fact]
    public void Host_clock_fires_after_the_deadline_and_not_before()
    {
        using var clock = new HostGuestClock();
        using var fired = new ManualResetEventSlim();
        long at = 0;
        using IGuestTimer never = clock.CreateTimer(() => throw new InvalidOperationException("disarmed"));
        using IGuestTimer timer = clock.CreateTimer(() =>
        {
            at = clock.Now;
            fired.Set();
        });
        clock.Pause(); // however long this thread is held up, no deadline passes
        long deadline = clock.Now + 3_000_000;
        never.Arm(deadline);
        never.Arm(null);
        timer.Arm(long.MaxValue - 1);
        timer.Arm(deadline);
        clock.Resume();
        fired.Wait(TestContext.Current.CancellationToken);
        Assert.True(at >= deadline);
    }

    [Fact]
    public void Host_clock_stands_still_while_paused_and_can_skip_ahead()
    {
        using var clock = new HostGuestClock();
        using var fired = new ManualResetEventSlim();
        using IGuestTimer timer = clock.CreateTimer(fired.Set);
        clock.Pause();
        long now = clock.Now;
        Assert.Equal(now, clock.Now);
        timer.Arm(now + 3_600_000_000_000);
        clock.SkipTo(now + 3_600_000_000_000);
        Assert.Equal(now + 3_600_000_000_000, clock.Now);
        clock.Resume();
        fired.Wait(TestContext.Current.CancellationToken);
        Assert.True(clock.Now >= now + 3_600_000_000_000);
    }
}
