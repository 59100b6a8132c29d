using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Asks for the end of guest memory (C name KVMI_VM_GET_MAX_GFN).</summary>
/// <remarks>No request data, no errors of its own. Source: kvmi-abi.md 2.5.17.</remarks>
public readonly struct VmGetMaxGfn : ICommand<VmGetMaxGfn, VmGetMaxGfnReply>
{
    /// <inheritdoc/>
    public static MessageId Id => MessageId.VmGetMaxGfn;

    /// <inheritdoc/>
    public static int WireSize => 0;

    /// <inheritdoc/>
    public bool IsWellFormed => true;
}

/// <summary>Reply data of <see cref="VmGetMaxGfn"/> (C name <c>kvmi_vm_get_max_gfn_reply</c>). 8 bytes.</summary>
/// <param name="gfn">One past the highest frame.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmGetMaxGfnReply(Gfn gfn)
{
    /// <summary>One past the highest frame of writable memory; 0 if there is none.</summary>
    public readonly Gfn Gfn = gfn;
}
