using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Asks which memory type the MTRRs give an address (C name KVMI_VCPU_GET_MTRR_TYPE).</summary>
/// <remarks>Request 16 bytes, reply data 8, no errors of its own. Source: kvmi-abi.md 2.5.21.</remarks>
/// <param name="vcpu">The vCPU.</param>
/// <param name="gpa">The address.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuGetMtrrType(VcpuIndex vcpu, Gpa gpa) : ICommand<VcpuGetMtrrType, VcpuGetMtrrTypeReply>
{
    /// <summary>The vCPU.</summary>
    public readonly VcpuHeader Vcpu = new(vcpu);

    /// <summary>The address.</summary>
    public readonly Gpa Gpa = gpa;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VcpuGetMtrrType;

    /// <inheritdoc/>
    public static bool HasVcpu => true;

    /// <inheritdoc/>
    public bool IsWellFormed => Vcpu.IsWellFormed;
}

/// <summary>Reply data of <see cref="VcpuGetMtrrType"/> (C name <c>kvmi_vcpu_get_mtrr_type_reply</c>). 8 bytes.</summary>
/// <param name="type">The memory type.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuGetMtrrTypeReply(MemoryType type)
{
    /// <summary>The memory type.</summary>
    public readonly MemoryType Type = type;

    private readonly Padding7 _padding;

    /// <summary>All padding is zero.</summary>
    public bool IsWellFormed => _padding.IsZero;
}
