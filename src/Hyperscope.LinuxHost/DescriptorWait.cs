using System.Runtime.InteropServices;

namespace Hyperscope.LinuxHost;

/// <summary>How a wait on descriptors ended.</summary>
public enum WaitOutcome
{
    /// <summary>The descriptor is ready, or its other end is gone; the next call on it says which.</summary>
    Ready,

    /// <summary>The cancelling eventfd was signalled.</summary>
    Cancelled,

    /// <summary>The time ran out.</summary>
    TimedOut,
}

/// <summary>poll(2) over one descriptor and up to two eventfds that call the wait off.</summary>
internal static partial class DescriptorWait
{
    public const short In = 1;  // POLLIN
    public const short Out = 4; // POLLOUT

    public static WaitOutcome Run(
        FileDescriptorHandle fd, short events, FileDescriptorHandle? cancel, FileDescriptorHandle? stop, int timeoutMilliseconds)
    {
        bool fdHeld = false, cancelHeld = false, stopHeld = false;
        try
        {
            fd.DangerousAddRef(ref fdHeld);
            cancel?.DangerousAddRef(ref cancelHeld);
            stop?.DangerousAddRef(ref stopHeld);
            return RunHeld(fd.Number, events, cancel?.Number ?? -1, stop?.Number ?? -1, timeoutMilliseconds);
        }
        finally
        {
            if (fdHeld)
                fd.DangerousRelease();
            if (cancelHeld)
                cancel!.DangerousRelease();
            if (stopHeld)
                stop!.DangerousRelease();
        }
    }

    private static unsafe WaitOutcome RunHeld(int fd, short events, int cancel, int stop, int timeoutMilliseconds)
    {
        long deadline = timeoutMilliseconds < 0 ? long.MaxValue : Environment.TickCount64 + timeoutMilliseconds;

        // poll skips entries with a negative descriptor. The array lives on this stack for the whole call.
        PollEntry* entries = stackalloc PollEntry[3];
        while (true)
        {
            entries[0] = new PollEntry(fd, events);
            entries[1] = new PollEntry(cancel, In);
            entries[2] = new PollEntry(stop, In);
            int remaining = timeoutMilliseconds < 0 ? -1 : (int)Math.Max(0, deadline - Environment.TickCount64);
            int ready = Poll(entries, 3, remaining);
            if (ready == 0)
                return WaitOutcome.TimedOut;
            if (ready > 0)
                return (entries[1].Returned | entries[2].Returned) != 0 ? WaitOutcome.Cancelled : WaitOutcome.Ready;
            if (Marshal.GetLastPInvokeError() != Errno.Interrupted)
                throw LinuxException.FromLastCall("poll");
        }
    }

    [LibraryImport("libc", EntryPoint = "poll", SetLastError = true)]
    private static unsafe partial int Poll(PollEntry* entries, nuint count, int timeoutMilliseconds);

    // struct pollfd
    private struct PollEntry(int fd, short events)
    {
        public readonly int Fd = fd;
        public readonly short Events = events;
        public short Returned = 0; // the kernel's answer
    }
}
