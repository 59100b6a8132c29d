using System.Globalization;
using System.Runtime.CompilerServices;
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

    /// <summary>Makes the exception for the last P/Invoke on this thread. Formatting the text can overwrite the error number, so the
    /// handler takes it first.</summary>
    public static LinuxException FromLastCall(ref LastCallText call) => new(call.Errno, call.Text.ToStringAndClear());

    /// <summary>An interpolated string that notes the thread's last error before it formats anything.</summary>
    [InterpolatedStringHandler]
    public ref struct LastCallText
    {
        internal readonly int Errno;
        internal DefaultInterpolatedStringHandler Text;

        /// <summary>Notes the error number.</summary>
        public LastCallText(int literalLength, int formattedCount)
        {
            Errno = Marshal.GetLastPInvokeError();
            Text = new DefaultInterpolatedStringHandler(literalLength, formattedCount, CultureInfo.InvariantCulture);
        }

        /// <summary>Appends text as it is.</summary>
        public void AppendLiteral(string value) => Text.AppendLiteral(value);

        /// <summary>Appends a value.</summary>
        public void AppendFormatted<T>(T value) => Text.AppendFormatted(value);
    }
}
