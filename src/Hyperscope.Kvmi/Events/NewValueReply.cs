using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Reply data of CR and MSR events (C names <c>kvmi_event_cr_reply</c>, <c>kvmi_event_msr_reply</c>). 8 bytes.</summary>
/// <param name="newValue">What is written instead: the event's new value to allow, its old value to block.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct NewValueReply(ulong newValue)
{
    /// <summary>What is written instead.</summary>
    public readonly ulong NewValue = newValue;
}
