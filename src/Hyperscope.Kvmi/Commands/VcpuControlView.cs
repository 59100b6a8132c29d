using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Lets the guest switch a vCPU to a view by itself (VMFUNC, function 0), or not any more (C name
/// KVMI_VCPU_CONTROL_EPT_VIEW).</summary>
/// <remarks>Request 16 bytes, no reply data. Errors: EINVAL (dirty padding, visible above 1, no such view), EOPNOTSUPP. VMFUNC with a view
/// that is not visible raises #UD. An extension of v9. Source: protocol.md.</remarks>
/// <param name="vcpu">The vCPU.</param>
/// <param name="view">The view.</param>
/// <param name="visible">The guest may switch to it.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuControlView(VcpuIndex vcpu, ushort view, bool visible) : ICommand<VcpuControlView>
{
    /// <summary>The vCPU.</summary>
    public readonly VcpuHeader Vcpu = new(vcpu);

    /// <summary>The view.</summary>
    public readonly ushort View = view;

    private readonly byte _visible = (byte)(visible ? 1 : 0);
    private readonly byte _padding1;
    private readonly uint _padding2;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VcpuControlView;

    /// <inheritdoc/>
    public static bool HasVcpu => true;

    /// <summary>The guest may switch to it.</summary>
    public bool Visible => _visible != 0;

    /// <inheritdoc/>
    public bool IsWellFormed => Vcpu.IsWellFormed && _visible <= 1 && (_padding1 | _padding2) == 0;
}
