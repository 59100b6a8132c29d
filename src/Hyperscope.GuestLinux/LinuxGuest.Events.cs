namespace Hyperscope.GuestLinux;

public sealed partial class LinuxGuest
{
    /// <summary>Watches what happens in the guest from now on.</summary>
    /// <param name="options">What of it.</param>
    /// <param name="cancellation">Gives up starting.</param>
    /// <exception cref="LinuxGuestException">This kernel has no such function or system call; the text names it.</exception>
    /// <exception cref="InvalidOperationException">The connection has another watch, or a handler of the events that it needs.</exception>
    public Task<GuestWatch> WatchAsync(GuestEventOptions? options = null, CancellationToken cancellation = default) =>
        GuestWatch.StartAsync(this, options ?? new GuestEventOptions(), cancellation);
}
