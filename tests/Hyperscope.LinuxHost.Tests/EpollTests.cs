namespace Hyperscope.LinuxHost.Tests;

public sealed class EpollTests
{
    [Fact]
    public void Only_ready_descriptors_are_reported_with_their_tags()
    {
        using var epoll = new Epoll();
        using var first = new EventFd();
        using var second = new EventFd();
        epoll.Add(first.Handle, EpollEvents.In, 0x1122334455667788);
        epoll.Add(second.Handle, EpollEvents.In, ulong.MaxValue);
        var ready = new EpollReady[4];
        Assert.Equal(0, epoll.Wait(ready, 0));

        second.Signal();
        Assert.Equal(1, epoll.Wait(ready, -1));
        Assert.Equal(new EpollReady(EpollEvents.In, ulong.MaxValue), ready[0]);

        first.Signal();
        Assert.Equal(2, epoll.Wait(ready, -1));
        Assert.Contains(new EpollReady(EpollEvents.In, 0x1122334455667788), ready);

        epoll.Remove(second.Handle);
        Assert.Equal(1, epoll.Wait(ready, -1));
    }

    [Fact]
    public void A_one_shot_descriptor_is_silent_until_armed_again()
    {
        using var epoll = new Epoll();
        using var wake = new EventFd();
        wake.Signal();
        epoll.Add(wake.Handle, EpollEvents.In | EpollEvents.OneShot, 7);
        var ready = new EpollReady[4];

        Assert.Equal(1, epoll.Wait(ready, -1));
        Assert.Equal(0, epoll.Wait(ready, 0));
        epoll.Modify(wake.Handle, EpollEvents.In | EpollEvents.OneShot, 8);
        Assert.Equal(1, epoll.Wait(ready, -1));
        Assert.Equal(8ul, ready[0].Tag);
    }

    [Fact]
    public void A_peer_that_closed_is_reported_as_hang_up()
    {
        using var epoll = new Epoll();
        (StreamSocket first, StreamSocket second) = StreamSocket.CreatePair();
        using (first)
        {
            epoll.Add(first.Handle, EpollEvents.In | EpollEvents.ReadHangUp, 1);
            second.Dispose();
            var ready = new EpollReady[1];
            Assert.Equal(1, epoll.Wait(ready, -1));
            Assert.True(ready[0].Events.HasFlag(EpollEvents.HangUp));
        }
    }
}
