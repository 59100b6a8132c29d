using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Restricts guest frames in a view, or lifts restrictions: <see cref="VmSetPageAccess"/> with a view.</summary>
/// <remarks>Request 8 bytes and a <see cref="PageAccessEntry"/> for each frame; no reply data. Errors: as there, and EINVAL if there is no
/// such view. It is permitted where VM_SET_PAGE_ACCESS is. An extension of v9. Source: protocol.md.</remarks>
/// <param name="view">The view.</param>
/// <param name="count">Number of entries that follow, up to <see cref="KvmiConstants.MaxPageAccessEntries"/>.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmSetViewPageAccess(ushort view, ushort count) : ITailedCommand<VmSetViewPageAccess>
{
    /// <summary>The view.</summary>
    public readonly ushort View = view;

    /// <summary>Number of entries that follow.</summary>
    public readonly ushort Count = count;

    private readonly uint _padding;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VmSetViewPageAccess;

    /// <inheritdoc/>
    public static bool ShortTailCloses => false;

    /// <inheritdoc/>
    public int TailSize => Count * 16;

    /// <inheritdoc/>
    public bool IsWellFormed => _padding == 0;
}
