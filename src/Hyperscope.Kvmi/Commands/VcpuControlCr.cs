using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Selects a control register for the CR event (C name KVMI_VCPU_CONTROL_CR).</summary>
/// <remarks>Request 16 bytes, no reply data. Errors, in order: EINVAL (dirty padding, enable above 1), EINVAL (not CR0, CR3 or CR4).
/// Source: kvmi-abi.md 2.5.15.</remarks>
/// <param name="vcpu">The vCPU.</param>
/// <param name="cr">0, 3 or 4.</param>
/// <param name="enable">On or off.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuControlCr(VcpuIndex vcpu, byte cr, bool enable) : ICommand<VcpuControlCr>
{
    /// <summary>The vCPU.</summary>
    public readonly VcpuHeader Vcpu = new(vcpu);

    /// <summary>0, 3 or 4.</summary>
    public readonly byte Cr = cr;

    private readonly byte _enable = (byte)(enable ? 1 : 0);
    private readonly ushort _padding1;
    private readonly uint _padding2;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VcpuControlCr;

    /// <inheritdoc/>
    public static bool HasVcpu => true;

    /// <summary>On or off.</summary>
    public bool Enable => _enable != 0;

    /// <inheritdoc/>
    public bool IsWellFormed => Vcpu.IsWellFormed && _enable <= 1 && (_padding1 | _padding2) == 0;
}
