using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hyperscope.LinuxHost;

/// <summary>What to wait for on a descriptor, and what was found (EPOLL*).</summary>
[Flags]
public enum EpollEvents : uint
{
    /// <summary>Nothing; errors and hang-ups are reported regardless.</summary>
    None = 0,

    /// <summary>Readable (EPOLLIN).</summary>
    In = 1,

    /// <summary>Writable (EPOLLOUT).</summary>
    Out = 4,

    /// <summary>Error (EPOLLERR), only reported.</summary>
    Error = 8,

    /// <summary>Hang-up (EPOLLHUP), only reported.</summary>
    HangUp = 0x10,

    /// <summary>The peer stopped writing (EPOLLRDHUP).</summary>
    ReadHangUp = 0x2000,

    /// <summary>Report once, then stay silent until modified (EPOLLONESHOT).</summary>
    OneShot = 1u << 30,

    /// <summary>Report changes only (EPOLLET).</summary>
    EdgeTriggered = 1u << 31,
}

/// <summary>One descriptor that is ready.</summary>
/// <param name="Events">What was found.</param>
/// <param name="Tag">The number given when it was added.</param>
public readonly record struct EpollReady(EpollEvents Events, ulong Tag);

/// <summary>Waits on many descriptors at once. Safe from any thread.</summary>
public sealed partial class Epoll : IDisposable
{
    private const int CloseOnExec = 0x80000; // EPOLL_CLOEXEC
    private const int MaxEvents = 32;

    // struct epoll_event is packed on x86-64 and nowhere else.
    private static readonly bool Packed = RuntimeInformation.ProcessArchitecture == Architecture.X64;
    private static readonly int DataOffset = Packed ? 4 : 8;
    private static readonly int EntrySize = Packed ? 12 : 16;

    private readonly FileDescriptorHandle _handle;

    /// <summary>Creates an empty set.</summary>
    /// <exception cref="LinuxException">epoll_create1 failed.</exception>
    public Epoll()
    {
        _handle = EpollCreate(CloseOnExec);
        if (_handle.IsInvalid)
            throw LinuxException.FromLastCall("epoll_create1");
    }

    private enum Operation
    {
        Add = 1,
        Delete = 2,
        Modify = 3,
    }

    /// <summary>Adds a descriptor; <paramref name="tag"/> comes back with its events.</summary>
    /// <exception cref="LinuxException">epoll_ctl failed.</exception>
    public void Add(FileDescriptorHandle fd, EpollEvents events, ulong tag) => Control(Operation.Add, fd, events, tag);

    /// <summary>Changes what is waited for, and arms a one-shot descriptor again.</summary>
    /// <exception cref="LinuxException">epoll_ctl failed.</exception>
    public void Modify(FileDescriptorHandle fd, EpollEvents events, ulong tag) => Control(Operation.Modify, fd, events, tag);

    /// <summary>Removes a descriptor.</summary>
    /// <exception cref="LinuxException">epoll_ctl failed.</exception>
    public void Remove(FileDescriptorHandle fd) => Control(Operation.Delete, fd, EpollEvents.None, 0);

    /// <summary>Blocks until a descriptor is ready or <paramref name="timeoutMilliseconds"/> have passed (-1: no limit).</summary>
    /// <returns>How many entries of <paramref name="ready"/> were filled, at most 32; 0 on timeout.</returns>
    /// <exception cref="LinuxException">epoll_wait failed.</exception>
    public unsafe int Wait(Span<EpollReady> ready, int timeoutMilliseconds)
    {
        ArgumentOutOfRangeException.ThrowIfZero(ready.Length);
        int count = Math.Min(ready.Length, MaxEvents);
        long deadline = timeoutMilliseconds < 0 ? long.MaxValue : Environment.TickCount64 + timeoutMilliseconds;

        // The kernel fills at most count entries of at most 16 bytes.
        byte* buffer = stackalloc byte[MaxEvents * 16];
        while (true)
        {
            int remaining = timeoutMilliseconds < 0 ? -1 : (int)Math.Max(0, deadline - Environment.TickCount64);
            int found = EpollWait(_handle, buffer, count, remaining);
            for (int i = 0; i < found; i++)
            {
                byte* entry = buffer + (i * EntrySize);
                ready[i] = new EpollReady(
                    (EpollEvents)Unsafe.ReadUnaligned<uint>(entry), Unsafe.ReadUnaligned<ulong>(entry + DataOffset));
            }

            if (found >= 0)
                return found;
            if (Marshal.GetLastPInvokeError() != Errno.Interrupted)
                throw LinuxException.FromLastCall("epoll_wait");
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    private unsafe void Control(Operation operation, FileDescriptorHandle fd, EpollEvents events, ulong tag)
    {
        byte* entry = stackalloc byte[16];
        Unsafe.WriteUnaligned(entry, (uint)events);
        Unsafe.WriteUnaligned(entry + DataOffset, tag);
        if (EpollControl(_handle, (int)operation, fd, entry) < 0)
            throw LinuxException.FromLastCall($"epoll_ctl {operation} of descriptor {fd.Number}");
    }

    [LibraryImport("libc", EntryPoint = "epoll_create1", SetLastError = true)]
    private static partial FileDescriptorHandle EpollCreate(int flags);

    [LibraryImport("libc", EntryPoint = "epoll_ctl", SetLastError = true)]
    private static unsafe partial int EpollControl(FileDescriptorHandle epoll, int operation, FileDescriptorHandle fd, byte* entry);

    [LibraryImport("libc", EntryPoint = "epoll_wait", SetLastError = true)]
    private static unsafe partial int EpollWait(FileDescriptorHandle epoll, byte* entries, int count, int timeoutMilliseconds);
}
