using System.Runtime.InteropServices;

namespace Hyperscope.LinuxHost;

/// <summary>A signal that does nothing but end a blocking system call of one thread.</summary>
public static unsafe partial class ThreadSignal
{
    // A real-time signal that neither the C library nor the runtime uses.
    private const int Number = 34 + 10;
    private const int Restart = 0x1000_0000; // SA_RESTART: calls that can be restarted are; KVM_RUN cannot
    private const long ThreadKill = 234, ThreadId = 186; // tgkill, gettid

    private static readonly Lazy<bool> Installed = new(Install);

    /// <summary>The kernel's id of the calling thread; the signal is ready to be sent to it.</summary>
    /// <exception cref="LinuxException">sigaction failed.</exception>
    public static int Prepare()
    {
        _ = Installed.Value;
        return (int)Syscall(ThreadId, 0, 0, 0);
    }

    /// <summary>Sends it. A thread that has ended gets nothing.</summary>
    public static void Send(int threadId) => _ = Syscall(ThreadKill, Environment.ProcessId, threadId, Number);

    // A managed handler could not run on a thread that is executing managed code. Any function of the C library that takes an int and does
    // nothing else serves; abs is one.
    private static bool Install()
    {
        nint library = NativeLibrary.Load("libc.so.6");
        var action = new SignalAction { Handler = NativeLibrary.GetExport(library, "abs"), Flags = Restart };
        return Sigaction(Number, &action, null) == 0 ? true : throw LinuxException.FromLastCall($"sigaction of signal {Number}");
    }

    // struct sigaction of the C library on x86-64: 152 bytes.
    [StructLayout(LayoutKind.Sequential)]
    private struct SignalAction
    {
        public nint Handler;
        public fixed ulong Mask[16];
        public int Flags;
        public nint Restorer;
    }

    [LibraryImport("libc", EntryPoint = "sigaction", SetLastError = true)]
    private static partial int Sigaction(int number, SignalAction* action, SignalAction* old);

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial long Syscall(long number, long first, long second, long third);
}
