using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Reads a CPUID leaf as the guest would see it; the reply data is a <see cref="CpuidResult"/> (C name KVMI_VCPU_GET_CPUID).</summary>
/// <remarks>Request 16 bytes, reply data 16. Errors: ENOENT (no such leaf). Source: kvmi-abi.md 2.5.13.</remarks>
/// <param name="vcpu">The vCPU.</param>
/// <param name="function">Leaf (EAX).</param>
/// <param name="index">Sub-leaf (ECX).</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuGetCpuid(VcpuIndex vcpu, uint function, uint index) : ICommand<VcpuGetCpuid, CpuidResult>
{
    /// <summary>The vCPU.</summary>
    public readonly VcpuHeader Vcpu = new(vcpu);

    /// <summary>Leaf (EAX).</summary>
    public readonly uint Function = function;

    /// <summary>Sub-leaf (ECX).</summary>
    public readonly uint Index = index;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VcpuGetCpuid;

    /// <inheritdoc/>
    public static bool HasVcpu => true;

    /// <inheritdoc/>
    public bool IsWellFormed => Vcpu.IsWellFormed;
}
