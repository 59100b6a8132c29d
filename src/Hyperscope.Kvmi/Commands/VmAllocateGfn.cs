using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Gives a frame a page of zeroed memory that the guest was not told of (C name KVMI_VM_ALLOC_GFN).</summary>
/// <remarks>Request 8 bytes, no reply data. Errors: EINVAL (there is memory or a device, or no such frame), ENOMEM (256 frames have been allocated). What is left at the end of the
/// session is freed. An extension of v9. Source: protocol.md.</remarks>
/// <param name="gfn">The frame.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmAllocateGfn(Gfn gfn) : ICommand<VmAllocateGfn>
{
    /// <summary>The frame.</summary>
    public readonly Gfn Gfn = gfn;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VmAllocateGfn;

    /// <inheritdoc/>
    public bool IsWellFormed => true;
}
