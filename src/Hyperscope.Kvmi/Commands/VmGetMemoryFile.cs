using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Asks for the path of the file that guest memory is in: offset in it is guest-physical address.</summary>
/// <remarks>No request data, reply the path in UTF-8. Whether it can be opened is between tool and kernel. Errors: EOPNOTSUPP (there is
/// none). An extension of v9. Source: protocol.md.</remarks>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmGetMemoryFile : IBytesCommand<VmGetMemoryFile>
{
    /// <inheritdoc/>
    public static MessageId Id => MessageId.VmGetMemoryFile;

    /// <inheritdoc/>
    public static int WireSize => 0;

    /// <inheritdoc/>
    public int ReplySize => 0;

    /// <inheritdoc/>
    public bool IsWellFormed => true;
}
