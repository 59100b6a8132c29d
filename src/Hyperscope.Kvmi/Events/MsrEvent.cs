using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>A selected MSR is about to change (C name KVMI_EVENT_MSR).</summary>
/// <remarks>24 bytes; the reply carries <see cref="NewValueReply"/>. Source: kvmi-abi.md 2.6.8.</remarks>
/// <param name="msr">MSR index.</param>
/// <param name="oldValue">Current value.</param>
/// <param name="newValue">Value about to be written.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct MsrEvent(uint msr, ulong oldValue, ulong newValue) : IEvent<MsrEvent, NewValueReply>
{
    /// <summary>MSR index.</summary>
    public readonly uint Msr = msr;

    private readonly uint _padding;

    /// <summary>Current value.</summary>
    public readonly ulong OldValue = oldValue;

    /// <summary>Value about to be written.</summary>
    public readonly ulong NewValue = newValue;

    /// <inheritdoc/>
    public static EventId Id => EventId.Msr;

    /// <inheritdoc/>
    public static EventActions Accepts => EventActions.Continue | EventActions.Crash;

    /// <inheritdoc/>
    public bool IsWellFormed => _padding == 0;
}
