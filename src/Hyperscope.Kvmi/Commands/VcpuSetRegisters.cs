using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Replaces the general registers, rip and rflags when the pending event is answered (C name KVMI_VCPU_SET_REGISTERS).</summary>
/// <remarks>Request 152 bytes, no reply data. Errors: EOPNOTSUPP (the vCPU does not wait for an event reply).
/// Source: kvmi-abi.md 2.5.12.</remarks>
/// <param name="vcpu">The vCPU.</param>
/// <param name="regs">All 18 registers.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuSetRegisters(VcpuIndex vcpu, in KvmRegs regs) : ICommand<VcpuSetRegisters>
{
    /// <summary>The vCPU.</summary>
    public readonly VcpuHeader Vcpu = new(vcpu);

    /// <summary>All 18 registers.</summary>
    public readonly KvmRegs Regs = regs;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VcpuSetRegisters;

    /// <inheritdoc/>
    public static bool HasVcpu => true;

    /// <inheritdoc/>
    public bool IsWellFormed => Vcpu.IsWellFormed;
}
