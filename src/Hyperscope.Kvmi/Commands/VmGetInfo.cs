using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Asks for the number of vCPUs (C name KVMI_VM_GET_INFO).</summary>
/// <remarks>No request data, no errors of its own. Source: kvmi-abi.md 2.5.4.</remarks>
public readonly struct VmGetInfo : ICommand<VmGetInfo, VmGetInfoReply>
{
    /// <inheritdoc/>
    public static MessageId Id => MessageId.VmGetInfo;

    /// <inheritdoc/>
    public static int WireSize => 0;

    /// <inheritdoc/>
    public bool IsWellFormed => true;
}

/// <summary>Reply data of <see cref="VmGetInfo"/> (C name <c>kvmi_vm_get_info_reply</c>). 16 bytes.</summary>
/// <param name="vcpuCount">Number of vCPUs.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmGetInfoReply(uint vcpuCount)
{
    /// <summary>Number of vCPUs; valid indexes are 0 to this minus 1.</summary>
    public readonly uint VcpuCount = vcpuCount;

    private readonly Padding12 _padding;

    /// <summary>All padding is zero.</summary>
    public bool IsWellFormed => _padding.IsZero;
}
