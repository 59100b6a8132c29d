using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Asks how many watches there are, and what they cost.</summary>
/// <remarks>No request data, reply 40 bytes. An extension of v9. Source: protocol.md.</remarks>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmGetWatchInfo : ICommand<VmGetWatchInfo, VmGetWatchInfoReply>
{
    /// <inheritdoc/>
    public static MessageId Id => MessageId.VmGetWatchInfo;

    /// <inheritdoc/>
    public static int WireSize => 0;

    /// <inheritdoc/>
    public bool IsWellFormed => true;
}

/// <summary>Reply data of <see cref="VmGetWatchInfo"/>. 40 bytes.</summary>
/// <param name="frames">Frames with a watched byte.</param>
/// <param name="tableBytes">Memory in use.</param>
/// <param name="tableLimit">The bound of that.</param>
/// <param name="passed">Accesses beside watched bytes.</param>
/// <param name="asked">Accesses that were restricted or watched.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmGetWatchInfoReply(ulong frames, ulong tableBytes, ulong tableLimit, ulong passed, ulong asked)
{
    /// <summary>Frames with a watched byte, in all views.</summary>
    public readonly ulong Frames = frames;

    /// <summary>Bytes of memory that watches use, in all views.</summary>
    public readonly ulong TableBytes = tableBytes;

    /// <summary>What they may use at most; VM_SET_WATCHES answers ENOMEM above.</summary>
    public readonly ulong TableLimit = tableLimit;

    /// <summary>Accesses since the VM started that found their page watched, touched no watched byte and went on inside the VM.</summary>
    public readonly ulong Passed = passed;

    /// <summary>Accesses since the VM started that were denied by the rights of a page or by a watch: each is an event, if that is
    /// enabled.</summary>
    public readonly ulong Asked = asked;
}
