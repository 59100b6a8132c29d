using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Loads an XSAVE image in standard format, at once (C name KVMI_VCPU_SET_XSAVE).</summary>
/// <remarks>Request 8 bytes and up to 4096 bytes of image, the missing rest counting as zero; no reply data. A payload below 8 bytes
/// closes the connection. Errors, in order: EINVAL (image above 4096 bytes), ENOMEM, EINVAL (image not acceptable).
/// Source: kvmi-abi.md 2.5.20.</remarks>
/// <param name="vcpu">The vCPU.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuSetXsave(VcpuIndex vcpu) : ITailedCommand<VcpuSetXsave>
{
    /// <summary>The vCPU.</summary>
    public readonly VcpuHeader Vcpu = new(vcpu);

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VcpuSetXsave;

    /// <inheritdoc/>
    public static bool HasVcpu => true;

    /// <inheritdoc/>
    public static bool ShortTailCloses => true;

    /// <inheritdoc/>
    public int TailSize => 0;

    /// <inheritdoc/>
    public bool IsWellFormed => Vcpu.IsWellFormed;
}
