using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Asks for a frame that has no memory and can be given some: the first behind all memory (C name
/// KVMI_VM_GET_NEXT_AVAILABLE_GFN).</summary>
/// <remarks>No request data, reply 8 bytes. Errors: ENOMEM (none is left). An extension of v9. Source: protocol.md.</remarks>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmGetNextGfn : ICommand<VmGetNextGfn, VmGetMaxGfnReply>
{
    /// <inheritdoc/>
    public static MessageId Id => MessageId.VmGetNextGfn;

    /// <inheritdoc/>
    public static int WireSize => 0;

    /// <inheritdoc/>
    public bool IsWellFormed => true;
}
