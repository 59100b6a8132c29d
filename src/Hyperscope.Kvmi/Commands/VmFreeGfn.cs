using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Takes away the memory that a frame was given by VM_ALLOCATE_GFN (C name KVMI_VM_FREE_GFN).</summary>
/// <remarks>Request 8 bytes, no reply data. Errors: ENOENT (it was not). What is left at the end of the
/// session is freed. An extension of v9. Source: protocol.md.</remarks>
/// <param name="gfn">The frame.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmFreeGfn(Gfn gfn) : ICommand<VmFreeGfn>
{
    /// <summary>The frame.</summary>
    public readonly Gfn Gfn = gfn;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VmFreeGfn;

    /// <inheritdoc/>
    public bool IsWellFormed => true;
}
