namespace Hyperscope.Client;

/// <summary>Runs a call that blocks in the kernel on a thread of its own.</summary>
internal static class BlockingCall
{
    /// <summary>Runs <paramref name="call"/>, whose eventfd is signalled on cancellation.</summary>
    public static async Task<T> RunAsync<T>(Func<EventFd, T> call, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        using var wake = new EventFd();
        await using CancellationTokenRegistration registration =
            cancellation.UnsafeRegister(static state => ((EventFd)state!).Signal(), wake);
        return await Task.Factory.StartNew(
            () => call(wake), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
    }
}
