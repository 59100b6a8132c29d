using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Selects an MSR for the MSR event (C name KVMI_VCPU_CONTROL_MSR). Only writes are watched.</summary>
/// <remarks>Request 16 bytes, no reply data. Errors, in order: EINVAL (dirty padding, enable above 1), EINVAL (index outside 0 to 0x1fff
/// and 0xc0000000 to 0xc0001fff). Source: kvmi-abi.md 2.5.22.</remarks>
/// <param name="vcpu">The vCPU.</param>
/// <param name="msr">MSR index.</param>
/// <param name="enable">On or off.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuControlMsr(VcpuIndex vcpu, uint msr, bool enable) : ICommand<VcpuControlMsr>
{
    /// <summary>The vCPU.</summary>
    public readonly VcpuHeader Vcpu = new(vcpu);

    private readonly byte _enable = (byte)(enable ? 1 : 0);
    private readonly byte _padding1;
    private readonly ushort _padding2;

    /// <summary>MSR index.</summary>
    public readonly uint Msr = msr;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VcpuControlMsr;

    /// <inheritdoc/>
    public static bool HasVcpu => true;

    /// <summary>On or off.</summary>
    public bool Enable => _enable != 0;

    /// <inheritdoc/>
    public bool IsWellFormed => Vcpu.IsWellFormed && _enable <= 1 && (_padding1 | _padding2) == 0;
}
