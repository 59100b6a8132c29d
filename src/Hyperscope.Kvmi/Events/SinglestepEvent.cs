using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>One instruction was executed, or the step was interrupted (C name KVMI_EVENT_SINGLESTEP).</summary>
/// <remarks>8 bytes, part of the event and not of the reply. Source: kvmi-abi.md 2.6.10.</remarks>
/// <param name="failed">Another exit interrupted the step.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct SinglestepEvent(bool failed) : IEvent<SinglestepEvent>
{
    private readonly byte _failed = (byte)(failed ? 1 : 0);
    private readonly Padding7 _padding;

    /// <inheritdoc/>
    public static EventId Id => EventId.Singlestep;

    /// <inheritdoc/>
    public static EventActions Accepts => EventActions.Continue | EventActions.Crash;

    /// <summary>Another exit interrupted the step.</summary>
    public bool Failed => _failed != 0;

    /// <inheritdoc/>
    public bool IsWellFormed => _failed <= 1 && _padding.IsZero;
}
