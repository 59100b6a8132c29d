using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Switches a vCPU event on or off (C name KVMI_VCPU_CONTROL_EVENTS).</summary>
/// <remarks>Request 16 bytes, no reply data. Errors, in order: EINVAL (dirty padding, enable above 1), EINVAL (not a vCPU event), EPERM
/// (the event is disallowed), EBUSY (BREAKPOINT: owned by somebody else, on twice, off without on), EOPNOTSUPP (DESCRIPTOR: cannot be
/// intercepted). The last two leave the new setting in place. PAUSE_VCPU, TRAP and SINGLESTEP: no effect.
/// Source: kvmi-abi.md 2.5.10.</remarks>
/// <param name="vcpu">The vCPU.</param>
/// <param name="eventId">The event.</param>
/// <param name="enable">On or off.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuControlEvents(VcpuIndex vcpu, EventId eventId, bool enable) : ICommand<VcpuControlEvents>
{
    /// <summary>The vCPU.</summary>
    public readonly VcpuHeader Vcpu = new(vcpu);

    /// <summary>The event.</summary>
    public readonly EventId EventId = eventId;

    private readonly byte _enable = (byte)(enable ? 1 : 0);
    private readonly byte _padding1;
    private readonly uint _padding2;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VcpuControlEvents;

    /// <inheritdoc/>
    public static bool HasVcpu => true;

    /// <summary>On or off.</summary>
    public bool Enable => _enable != 0;

    /// <inheritdoc/>
    public bool IsWellFormed => Vcpu.IsWellFormed && _enable <= 1 && (_padding1 | _padding2) == 0;
}
