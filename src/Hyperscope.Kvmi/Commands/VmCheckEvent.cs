using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Asks whether an event id is known and allowed (C name KVMI_VM_CHECK_EVENT).</summary>
/// <remarks>Request 8 bytes (<c>kvmi_vm_check</c>), no reply data, always allowed. Errors, in order: EINVAL (dirty padding), ENOENT
/// (unknown id), EPERM (disallowed). Source: kvmi-abi.md 2.5.3.</remarks>
/// <param name="subject">The id in question.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmCheckEvent(EventId subject) : ICommand<VmCheckEvent>
{
    private readonly ushort _id = (ushort)subject;
    private readonly ushort _padding1;
    private readonly uint _padding2;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VmCheckEvent;

    /// <summary>The id in question.</summary>
    public EventId Subject => (EventId)_id;

    /// <inheritdoc/>
    public bool IsWellFormed => (_padding1 | _padding2) == 0;
}
