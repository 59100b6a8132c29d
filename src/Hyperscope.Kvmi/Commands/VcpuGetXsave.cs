using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Reads the XSAVE image in standard format (C name KVMI_VCPU_GET_XSAVE).</summary>
/// <remarks>Request 8 bytes; reply data 4096 bytes, receivers take the length from the header. Errors: ENOMEM.
/// Source: kvmi-abi.md 2.5.19.</remarks>
/// <param name="vcpu">The vCPU.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuGetXsave(VcpuIndex vcpu) : IBytesCommand<VcpuGetXsave>
{
    /// <summary>The vCPU.</summary>
    public readonly VcpuHeader Vcpu = new(vcpu);

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VcpuGetXsave;

    /// <inheritdoc/>
    public static bool HasVcpu => true;

    /// <inheritdoc/>
    public int ReplySize => KvmiConstants.XsaveSize;

    /// <inheritdoc/>
    public bool IsWellFormed => Vcpu.IsWellFormed;
}
