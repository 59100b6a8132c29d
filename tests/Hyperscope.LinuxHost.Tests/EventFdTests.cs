namespace Hyperscope.LinuxHost.Tests;

public sealed class EventFdTests
{
    [Fact]
    public void A_signal_stays_until_cleared()
    {
        using var wake = new EventFd();
        Assert.False(wake.Wait(0));
        wake.Signal();
        wake.Signal();
        Assert.True(wake.Wait(0));
        Assert.True(wake.Wait(-1));
        Assert.True(wake.Clear());
        Assert.False(wake.Clear());
        Assert.False(wake.Wait(0));
    }

    [Fact]
    public void A_signal_after_disposal_does_nothing()
    {
        var wake = new EventFd();
        wake.Dispose();
        wake.Signal();
        Assert.True(wake.Handle.IsClosed);
    }
}
