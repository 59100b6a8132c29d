using System.Runtime.InteropServices;

namespace Hyperscope.LinuxHost;

/// <summary>The kernel refused a call.</summary>
/// <param name="errno">The error number, as in errno.h.</param>
/// <param name="call">The call that failed.</param>
public sealed class LinuxException(int errno, string call)
    : IOException($"{call}: {Marshal.GetPInvokeErrorMessage(errno)} (errno {errno})")
{
    /// <summary>The error number, as in errno.h.</summary>
    public int Errno { get; } = errno;

    /// <summary>The call that failed.</summary>
    public string Call { get; } = call;

    /// <summary>Makes the exception for the last P/Invoke on this thread.</summary>
    public static LinuxException FromLastCall(string call) => new(Marshal.GetLastPInvokeError(), call);
}
