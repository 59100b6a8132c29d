using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Kicks one vCPU out of the guest; one PAUSE_VCPU event follows each success (C name KVMI_VCPU_PAUSE).</summary>
/// <remarks>Request 16 bytes, no reply data. Errors, in order: EINVAL (dirty padding, wait above 1), EPERM (the pause event is
/// disallowed), EINVAL (no such vCPU), EBUSY (more than <see cref="KvmiConstants.PauseLimit"/> requests pending).
/// Source: kvmi-abi.md 2.5.9.</remarks>
/// <param name="vcpu">The vCPU; one that was not started yet is accepted.</param>
/// <param name="wait">Answer only after the vCPU has left guest mode.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuPause(VcpuIndex vcpu, bool wait) : ICommand<VcpuPause>
{
    /// <summary>The vCPU.</summary>
    public readonly VcpuHeader Vcpu = new(vcpu);

    private readonly byte _wait = (byte)(wait ? 1 : 0); // bool is not blittable, so keep the byte
    private readonly byte _padding1;
    private readonly ushort _padding2;
    private readonly uint _padding3;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VcpuPause;

    /// <inheritdoc/>
    public static bool HasVcpu => true;

    /// <summary>Answer only after the vCPU has left guest mode.</summary>
    public bool Wait => _wait != 0;

    /// <inheritdoc/>
    public bool IsWellFormed => Vcpu.IsWellFormed && _wait <= 1 && (_padding3 | _padding2 | _padding1) == 0;
}
