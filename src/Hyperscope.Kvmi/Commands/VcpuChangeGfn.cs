using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Shows in a view the memory of one frame at another (C name KVMI_VCPU_CHANGE_GFN).</summary>
/// <remarks>Request 32 bytes, no reply data. Errors: EINVAL (dirty padding, no such view, a frame out of range), ENOENT (no memory
/// at the new frame), ENOMEM (2^18 frames are remapped). In effect on all vCPUs when the reply is sent. Rights and watches stay with the
/// old frame's number. An extension of v9. Source: protocol.md.</remarks>
/// <param name="vcpu">Any vCPU; of meaning with <see cref="CurrentView"/>.</param>
/// <param name="view">The view, or <see cref="CurrentView"/>.</param>
/// <param name="gfn">The frame that the guest names.</param>
/// <param name="backing">The frame whose memory it gets; the same, or all ones: its own again.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuChangeGfn(VcpuIndex vcpu, ushort view, Gfn gfn, Gfn backing) : ICommand<VcpuChangeGfn>
{
    /// <summary>Stands for the view that the vCPU is in.</summary>
    public const ushort CurrentView = ushort.MaxValue;

    /// <summary>Any vCPU.</summary>
    public readonly VcpuHeader Vcpu = new(vcpu);

    /// <summary>The view.</summary>
    public readonly ViewNumber View = new(view);

    /// <summary>The frame that the guest names.</summary>
    public readonly Gfn Gfn = gfn;

    /// <summary>The frame whose memory it gets.</summary>
    public readonly Gfn Backing = backing;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VcpuChangeGfn;

    /// <inheritdoc/>
    public static bool HasVcpu => true;

    /// <inheritdoc/>
    public bool IsWellFormed => Vcpu.IsWellFormed && View.IsWellFormed;
}
