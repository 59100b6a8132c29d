using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>A selected control register is about to change (C name KVMI_EVENT_CR).</summary>
/// <remarks>24 bytes; the reply carries <see cref="NewValueReply"/>. Source: kvmi-abi.md 2.6.4.</remarks>
/// <param name="cr">0, 3 or 4.</param>
/// <param name="oldValue">Current value.</param>
/// <param name="newValue">Value about to be written.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct CrEvent(byte cr, ulong oldValue, ulong newValue) : IEvent<CrEvent, NewValueReply>
{
    /// <summary>0, 3 or 4.</summary>
    public readonly byte Cr = cr;

    private readonly Padding7 _padding;

    /// <summary>Current value.</summary>
    public readonly ulong OldValue = oldValue;

    /// <summary>Value about to be written.</summary>
    public readonly ulong NewValue = newValue;

    /// <inheritdoc/>
    public static EventId Id => EventId.Cr;

    /// <inheritdoc/>
    public static EventActions Accepts => EventActions.Continue | EventActions.Crash;

    /// <inheritdoc/>
    public bool IsWellFormed => _padding.IsZero;
}
