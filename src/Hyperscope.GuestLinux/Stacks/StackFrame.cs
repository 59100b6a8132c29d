namespace Hyperscope.GuestLinux;

/// <summary>How a frame was found.</summary>
public enum FrameSource
{
    /// <summary>It is where the vCPU stands.</summary>
    Current,

    /// <summary>By the kernel's own unwind tables.</summary>
    Unwound,

    /// <summary>An exception or interrupt came here; by the kernel's own unwind tables.</summary>
    Interrupted,

    /// <summary>A return address that lies on the stack: it may be left over from a call that is long over.</summary>
    Scanned,
}

/// <summary>A frame of a call stack.</summary>
/// <param name="Ip">Where it goes on.</param>
/// <param name="Sp">Its stack pointer there.</param>
/// <param name="Symbol">The function, as <c>name+0x12</c>, with its module if it is in one.</param>
/// <param name="Source">How it was found.</param>
public sealed record StackFrame(Gva Ip, Gva Sp, string Symbol, FrameSource Source);

/// <summary>A call stack.</summary>
/// <param name="Frames">From the innermost one on.</param>
/// <param name="End">Why there are no more: <c>user mode</c>, <c>end of stack</c>, or what went wrong.</param>
/// <param name="IsComplete">It reaches user mode or the start of the thread without guessing.</param>
public sealed record CallStack(IReadOnlyList<StackFrame> Frames, string End, bool IsComplete);
