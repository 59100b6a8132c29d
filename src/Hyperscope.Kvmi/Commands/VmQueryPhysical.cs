using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Asks for the block of memory that a frame lies in, so that it can be mapped from the memory file (C name
/// KVMI_VM_QUERY_PHYSICAL).</summary>
/// <remarks>Request 8 bytes, reply 16. Errors: ENOENT (no memory there). See <see cref="VmGetMemoryFile"/>. An extension of v9. Source:
/// protocol.md.</remarks>
/// <param name="gfn">Any frame.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmQueryPhysical(Gfn gfn) : ICommand<VmQueryPhysical, VmQueryPhysicalReply>
{
    /// <summary>Any frame.</summary>
    public readonly Gfn Gfn = gfn;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VmQueryPhysical;

    /// <inheritdoc/>
    public bool IsWellFormed => true;
}

/// <summary>Reply data of <see cref="VmQueryPhysical"/>. 16 bytes.</summary>
/// <param name="first">First frame of the block.</param>
/// <param name="pages">Number of frames.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmQueryPhysicalReply(Gfn first, ulong pages)
{
    /// <summary>First frame of the block.</summary>
    public readonly Gfn First = first;

    /// <summary>Number of frames.</summary>
    public readonly ulong Pages = pages;
}
