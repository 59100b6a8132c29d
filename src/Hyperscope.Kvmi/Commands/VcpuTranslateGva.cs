using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Translates a linear address with a vCPU's paging state (C name KVMI_VCPU_TRANSLATE_GVA).</summary>
/// <remarks>Request 16 bytes, reply data 8, no errors of its own. Source: kvmi-abi.md 2.5.25.</remarks>
/// <param name="vcpu">The vCPU.</param>
/// <param name="gva">The linear address.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuTranslateGva(VcpuIndex vcpu, Gva gva) : ICommand<VcpuTranslateGva, VcpuTranslateGvaReply>
{
    /// <summary>The vCPU.</summary>
    public readonly VcpuHeader Vcpu = new(vcpu);

    /// <summary>The linear address.</summary>
    public readonly Gva Gva = gva;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VcpuTranslateGva;

    /// <inheritdoc/>
    public static bool HasVcpu => true;

    /// <inheritdoc/>
    public bool IsWellFormed => Vcpu.IsWellFormed;
}

/// <summary>Reply data of <see cref="VcpuTranslateGva"/> (C name <c>kvmi_vcpu_translate_gva_reply</c>). 8 bytes.</summary>
/// <param name="gpa">The physical address, or null.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuTranslateGvaReply(Gpa? gpa)
{
    private readonly ulong _gpa = gpa?.Value ?? ulong.MaxValue;

    /// <summary>The physical address, or null if there is no translation (all ones on the wire).</summary>
    public Gpa? Gpa => _gpa == ulong.MaxValue ? null : new Gpa(_gpa);
}
