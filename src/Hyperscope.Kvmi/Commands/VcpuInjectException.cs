using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Injects an exception at the next entry; a TRAP event tells what really went in (C name KVMI_VCPU_INJECT_EXCEPTION).</summary>
/// <remarks>Request 24 bytes, no reply data. Errors, in order: EPERM (TRAP is disallowed), EINVAL (dirty padding), EBUSY (the previous
/// injection was not reported yet). Source: kvmi-abi.md 2.5.16, 4.7.</remarks>
/// <param name="vcpu">The vCPU.</param>
/// <param name="vector">Exception vector.</param>
/// <param name="errorCode">Used only for vectors that push an error code.</param>
/// <param name="address">Faulting linear address, used for vector 14.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuInjectException(VcpuIndex vcpu, byte vector, uint errorCode = 0, ulong address = 0)
    : ICommand<VcpuInjectException>
{
    /// <summary>The vCPU.</summary>
    public readonly VcpuHeader Vcpu = new(vcpu);

    /// <summary>Exception vector.</summary>
    public readonly byte Vector = vector;

    private readonly byte _padding1;
    private readonly ushort _padding2;

    /// <summary>Used only for vectors that push an error code.</summary>
    public readonly uint ErrorCode = errorCode;

    /// <summary>Faulting linear address, used for vector 14.</summary>
    public readonly ulong Address = address;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VcpuInjectException;

    /// <inheritdoc/>
    public static bool HasVcpu => true;

    /// <inheritdoc/>
    public bool IsWellFormed => Vcpu.IsWellFormed && (_padding1 | _padding2) == 0;
}
