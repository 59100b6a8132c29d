using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>XCR0 was changed (C name KVMI_EVENT_XSETBV). A notification: the reply cannot undo it.</summary>
/// <remarks>24 bytes. Source: kvmi-abi.md 2.6.6.</remarks>
/// <param name="xcr">0.</param>
/// <param name="oldValue">Previous value.</param>
/// <param name="newValue">Value in place now.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct XsetbvEvent(byte xcr, ulong oldValue, ulong newValue) : IEvent<XsetbvEvent>
{
    /// <summary>0.</summary>
    public readonly byte Xcr = xcr;

    private readonly Padding7 _padding;

    /// <summary>Previous value.</summary>
    public readonly ulong OldValue = oldValue;

    /// <summary>Value in place now.</summary>
    public readonly ulong NewValue = newValue;

    /// <inheritdoc/>
    public static EventId Id => EventId.Xsetbv;

    /// <inheritdoc/>
    public static EventActions Accepts => EventActions.Continue | EventActions.Crash;

    /// <inheritdoc/>
    public bool IsWellFormed => _padding.IsZero;
}
