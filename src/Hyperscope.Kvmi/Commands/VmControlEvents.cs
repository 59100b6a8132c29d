using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Switches a VM event, of which UNHOOK is the only one, on or off (C name KVMI_VM_CONTROL_EVENTS).</summary>
/// <remarks>Request 8 bytes, no reply data. Errors, in order: EINVAL (dirty padding, enable above 1), EINVAL (not a VM event), EPERM
/// (the event is disallowed, also when switching off). Source: kvmi-abi.md 2.5.5.</remarks>
/// <param name="eventId">The event.</param>
/// <param name="enable">On or off.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmControlEvents(EventId eventId, bool enable) : ICommand<VmControlEvents>
{
    /// <summary>The event.</summary>
    public readonly EventId EventId = eventId;

    private readonly byte _enable = (byte)(enable ? 1 : 0);
    private readonly byte _padding1;
    private readonly uint _padding2;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VmControlEvents;

    /// <summary>On or off.</summary>
    public bool Enable => _enable != 0;

    /// <inheritdoc/>
    public bool IsWellFormed => _enable <= 1 && (_padding1 | _padding2) == 0;
}
