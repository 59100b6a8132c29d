using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Reads an extended control register, of which XCR0 is the only one (C name KVMI_VCPU_GET_XCR).</summary>
/// <remarks>Request 16 bytes, reply data 8. Errors: EINVAL (dirty padding, xcr not 0). Source: kvmi-abi.md 2.5.18.</remarks>
/// <param name="vcpu">The vCPU.</param>
/// <param name="xcr">0.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuGetXcr(VcpuIndex vcpu, byte xcr = 0) : ICommand<VcpuGetXcr, VcpuGetXcrReply>
{
    /// <summary>The vCPU.</summary>
    public readonly VcpuHeader Vcpu = new(vcpu);

    /// <summary>0.</summary>
    public readonly byte Xcr = xcr;

    private readonly Padding7 _padding;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VcpuGetXcr;

    /// <inheritdoc/>
    public static bool HasVcpu => true;

    /// <inheritdoc/>
    public bool IsWellFormed => Vcpu.IsWellFormed && _padding.IsZero;
}

/// <summary>Reply data of <see cref="VcpuGetXcr"/> (C name <c>kvmi_vcpu_get_xcr_reply</c>). 8 bytes.</summary>
/// <param name="value">The register.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuGetXcrReply(ulong value)
{
    /// <summary>The register.</summary>
    public readonly ulong Value = value;
}
