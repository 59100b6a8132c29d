using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Hyperscope.Compare;

/// <summary>Processor time, which a busy machine distorts far less than the time of day.</summary>
internal static partial class CpuTime
{
    /// <summary>Runs a process to its end and returns its user and system time in seconds.</summary>
    public static double OfProcess(ProcessStartInfo start, out string output, out int exitCode) => OfProcess(start, null, out output, out exitCode);

    /// <summary>The same; <paramref name="watch"/> reads what else the process writes, on a thread of its own.</summary>
    public static double OfProcess(ProcessStartInfo start, Action<Process>? watch, out string output, out int exitCode)
    {
        start.RedirectStandardOutput = true;
        double before = OfChildren();
        using Process process = Process.Start(start)!;
        using Task watching = Task.Run(() => watch?.Invoke(process));
        output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        watching.Wait();
        exitCode = process.ExitCode;
        return OfChildren() - before;
    }

    /// <summary>Time of the calling thread in seconds.</summary>
    public static double OfThread()
    {
        if (ClockGetTime(ThreadClock, out TimeSpec time) != 0)
            throw new Win32Exception();
        return time.Seconds + (time.Nanoseconds * 1e-9);
    }

    private const int Children = -1, ThreadClock = 3;

    private static double OfChildren()
    {
        if (GetResourceUsage(Children, out Usage usage) != 0)
            throw new Win32Exception();
        return usage.UserSeconds + usage.SystemSeconds + ((usage.UserMicroseconds + usage.SystemMicroseconds) * 1e-6);
    }

    [LibraryImport("libc", EntryPoint = "getrusage", SetLastError = true)]
    private static partial int GetResourceUsage(int who, out Usage usage);

    [LibraryImport("libc", EntryPoint = "clock_gettime", SetLastError = true)]
    private static partial int ClockGetTime(int clock, out TimeSpec time);

    [StructLayout(LayoutKind.Sequential)]
    private struct TimeSpec
    {
        public long Seconds, Nanoseconds;
    }

    [StructLayout(LayoutKind.Sequential)]
    private unsafe struct Usage
    {
        public long UserSeconds, UserMicroseconds, SystemSeconds, SystemMicroseconds;
        private fixed long _rest[14];
    }
}
