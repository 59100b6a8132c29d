using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Has a vCPU see memory by another view (C name KVMI_VCPU_SET_EPT_VIEW).</summary>
/// <remarks>Request 16 bytes, no reply data. Errors: EINVAL (dirty padding, no such view), EOPNOTSUPP. In effect when the reply is sent; no
/// other vCPU is disturbed. An extension of v9. Source: protocol.md.</remarks>
/// <param name="vcpu">The vCPU.</param>
/// <param name="view">The view.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuSwitchView(VcpuIndex vcpu, ushort view) : ICommand<VcpuSwitchView>
{
    /// <summary>The vCPU.</summary>
    public readonly VcpuHeader Vcpu = new(vcpu);

    /// <summary>The view.</summary>
    public readonly ViewNumber View = new(view);

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VcpuSwitchView;

    /// <inheritdoc/>
    public static bool HasVcpu => true;

    /// <inheritdoc/>
    public bool IsWellFormed => Vcpu.IsWellFormed && View.IsWellFormed;
}
