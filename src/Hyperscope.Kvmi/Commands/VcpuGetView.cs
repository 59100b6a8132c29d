using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Asks which view a vCPU is in (C name KVMI_VCPU_GET_EPT_VIEW).</summary>
/// <remarks>Request 8 bytes, reply <see cref="ViewNumber"/>. An extension of v9. Source: protocol.md.</remarks>
/// <param name="vcpu">The vCPU.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuGetView(VcpuIndex vcpu) : ICommand<VcpuGetView, ViewNumber>
{
    /// <summary>The vCPU.</summary>
    public readonly VcpuHeader Vcpu = new(vcpu);

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VcpuGetView;

    /// <inheritdoc/>
    public static bool HasVcpu => true;

    /// <inheritdoc/>
    public bool IsWellFormed => Vcpu.IsWellFormed;
}
