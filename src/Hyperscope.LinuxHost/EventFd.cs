using System.Runtime.InteropServices;

namespace Hyperscope.LinuxHost;

/// <summary>A wake-up that a wait on descriptors can include (eventfd).</summary>
/// <remarks>It stays signalled until <see cref="Clear"/>, so one signal wakes every waiter. Safe from any thread.</remarks>
public sealed partial class EventFd : IDisposable
{
    private const int CloseOnExec = 0x80000; // EFD_CLOEXEC
    private const int NonBlocking = 0x800;   // EFD_NONBLOCK

    /// <summary>Creates one that is not signalled.</summary>
    /// <exception cref="LinuxException">eventfd failed.</exception>
    public EventFd()
    {
        Handle = EventFdCreate(0, CloseOnExec | NonBlocking);
        if (Handle.IsInvalid)
            throw LinuxException.FromLastCall("eventfd");
    }

    /// <summary>The descriptor, readable while signalled.</summary>
    public FileDescriptorHandle Handle { get; }

    /// <summary>Wakes all waiters, now and until <see cref="Clear"/>. Does nothing once disposed.</summary>
    public void Signal()
    {
        try
        {
            // EAGAIN means that the counter is full: signalled all the same.
            ulong one = 1;
            while (Write(Handle, in one, sizeof(ulong)) < 0 && Marshal.GetLastPInvokeError() == Errno.Interrupted)
            {
            }
        }
        catch (ObjectDisposedException)
        {
            // Nobody can wait on a closed descriptor, so there is nobody to wake.
        }
    }

    /// <summary>Takes the signal back.</summary>
    /// <returns>Whether it was signalled.</returns>
    public bool Clear()
    {
        nint read;
        do
        {
            read = Read(Handle, out _, sizeof(ulong));
        }
        while (read < 0 && Marshal.GetLastPInvokeError() == Errno.Interrupted);
        return read == sizeof(ulong);
    }

    /// <summary>Blocks until signalled or <paramref name="timeoutMilliseconds"/> have passed (-1: no limit).</summary>
    /// <returns>Whether it is signalled; the signal is not taken.</returns>
    public bool Wait(int timeoutMilliseconds) =>
        DescriptorWait.Run(Handle, DescriptorWait.In, null, null, timeoutMilliseconds) == WaitOutcome.Ready;

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();

    [LibraryImport("libc", EntryPoint = "eventfd", SetLastError = true)]
    private static partial FileDescriptorHandle EventFdCreate(uint initial, int flags);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint Write(FileDescriptorHandle fd, in ulong value, nuint count);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    private static partial nint Read(FileDescriptorHandle fd, out ulong value, nuint count);
}
