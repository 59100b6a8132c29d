using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Reads all registers and some MSRs of a vCPU (C name KVMI_VCPU_GET_REGISTERS).</summary>
/// <remarks>Request 16 bytes and a u32 index for each MSR; reply data 472 bytes and a <see cref="KvmMsrEntry"/> for each MSR, in request
/// order. A payload without all indexes closes the connection. Errors, in order: EINVAL (dirty padding), EINVAL (more than
/// <see cref="KvmiConstants.MaxRegisterMsrs"/>), ENOMEM, EINVAL (unknown MSR). Source: kvmi-abi.md 2.5.11.</remarks>
/// <param name="vcpu">The vCPU.</param>
/// <param name="msrCount">Number of MSR indexes that follow.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuGetRegisters(VcpuIndex vcpu, ushort msrCount = 0)
    : ICommand<VcpuGetRegisters, VcpuGetRegistersReply>, ITailedCommand<VcpuGetRegisters>
{
    /// <summary>The vCPU.</summary>
    public readonly VcpuHeader Vcpu = new(vcpu);

    /// <summary>Number of MSR indexes that follow.</summary>
    public readonly ushort MsrCount = msrCount;

    private readonly ushort _padding1;
    private readonly uint _padding2;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VcpuGetRegisters;

    /// <inheritdoc/>
    public static bool HasVcpu => true;

    /// <inheritdoc/>
    public static bool ShortTailCloses => true;

    /// <inheritdoc/>
    public int TailSize => MsrCount * sizeof(uint);

    /// <inheritdoc/>
    public bool IsWellFormed => Vcpu.IsWellFormed && (_padding1 | _padding2) == 0;
}

/// <summary>Reply data of <see cref="VcpuGetRegisters"/> (C name <c>kvmi_vcpu_get_registers_reply</c>). 472 bytes, then
/// <see cref="MsrCount"/> times <see cref="KvmMsrEntry"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct VcpuGetRegistersReply
{
    private uint _mode;
    private readonly uint _padding;

    /// <summary>General registers.</summary>
    public KvmRegs Regs;

    /// <summary>Segment, table and control registers.</summary>
    public KvmSregs Sregs;

    /// <summary>Number of MSR entries that follow.</summary>
    public uint MsrCount;

    private readonly uint _msrPadding;

    /// <summary>2, 4 or 8.</summary>
    public CpuMode Mode
    {
        readonly get => (CpuMode)_mode;
        set => _mode = (uint)value;
    }

    /// <summary>All padding is zero.</summary>
    public readonly bool IsWellFormed => (_padding | _msrPadding) == 0;
}
