using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Asks for a vCPU's TSC frequency (C name KVMI_VCPU_GET_INFO).</summary>
/// <remarks>Request 8 bytes, no errors of its own. Source: kvmi-abi.md 2.5.8.</remarks>
/// <param name="vcpu">The vCPU.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuGetInfo(VcpuIndex vcpu) : ICommand<VcpuGetInfo, VcpuGetInfoReply>
{
    /// <summary>The vCPU.</summary>
    public readonly VcpuHeader Vcpu = new(vcpu);

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VcpuGetInfo;

    /// <inheritdoc/>
    public static bool HasVcpu => true;

    /// <inheritdoc/>
    public bool IsWellFormed => Vcpu.IsWellFormed;
}

/// <summary>Reply data of <see cref="VcpuGetInfo"/> (C name <c>kvmi_vcpu_get_info_reply</c>). 8 bytes.</summary>
/// <param name="tscSpeed">Guest TSC frequency in Hz.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuGetInfoReply(ulong tscSpeed)
{
    /// <summary>Guest TSC frequency in Hz, 0 if unknown.</summary>
    public readonly ulong TscSpeed = tscSpeed;
}
