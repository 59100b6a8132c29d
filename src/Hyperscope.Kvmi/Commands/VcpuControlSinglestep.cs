using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Switches single-stepping on or off (C name KVMI_VCPU_CONTROL_SINGLESTEP).</summary>
/// <remarks>Request 16 bytes, no reply data. Errors, in order: EINVAL (enable above 1), EINVAL (dirty padding), EPERM (SINGLESTEP is
/// disallowed), EOPNOTSUPP (not possible here). Source: kvmi-abi.md 2.5.24, 4.8.</remarks>
/// <param name="vcpu">The vCPU.</param>
/// <param name="enable">On or off.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuControlSinglestep(VcpuIndex vcpu, bool enable) : ICommand<VcpuControlSinglestep>
{
    /// <summary>The vCPU.</summary>
    public readonly VcpuHeader Vcpu = new(vcpu);

    private readonly byte _enable = (byte)(enable ? 1 : 0);
    private readonly Padding7 _padding;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VcpuControlSinglestep;

    /// <inheritdoc/>
    public static bool HasVcpu => true;

    /// <summary>On or off.</summary>
    public bool Enable => _enable != 0;

    /// <inheritdoc/>
    public bool IsWellFormed => Vcpu.IsWellFormed && _enable <= 1 && _padding.IsZero;
}
