using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Watches ranges of bytes. An access to a watched byte raises a page fault although the page is unrestricted; accesses beside
/// them raise nothing.</summary>
/// <remarks>Request 8 bytes and a <see cref="WatchEntry"/> for each range; no reply data. Errors: EINVAL (dirty padding, no such view;
/// payload without all entries) with nothing applied; otherwise all entries are applied and the first error is reported: EINVAL (unknown
/// kinds, dirty padding, length 0 or above <see cref="KvmiConstants.MaxWatchLength"/>, no memory somewhere in the range), ENOMEM (the bound
/// of VM_GET_WATCH_INFO). An entry with an error is not applied. In effect on all vCPUs when the reply is sent. An extension of v9.
/// Source: protocol.md.</remarks>
/// <param name="count">Number of entries that follow, up to <see cref="KvmiConstants.MaxWatchEntries"/>.</param>
/// <param name="view">The view they are for.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmSetWatches(ushort count, ushort view = 0) : ITailedCommand<VmSetWatches>
{
    /// <summary>The view they are for.</summary>
    public readonly ushort View = view;

    /// <summary>Number of entries that follow.</summary>
    public readonly ushort Count = count;

    private readonly uint _padding;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VmSetWatches;

    /// <inheritdoc/>
    public static bool ShortTailCloses => false;

    /// <inheritdoc/>
    public int TailSize => Count * 16;

    /// <inheritdoc/>
    public bool IsWellFormed => _padding == 0;
}

/// <summary>A range of bytes and what it is watched for. 16 bytes.</summary>
/// <remarks>It replaces what the bytes were watched for before, so <see cref="PageAccess.None"/> ends a watch.</remarks>
/// <param name="gpa">First byte.</param>
/// <param name="length">Bytes, up to <see cref="KvmiConstants.MaxWatchLength"/>; the range may cross pages.</param>
/// <param name="kinds">The kinds of access that are reported.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct WatchEntry(Gpa gpa, uint length, PageAccess kinds)
{
    /// <summary>First byte.</summary>
    public readonly Gpa Gpa = gpa;

    /// <summary>Bytes.</summary>
    public readonly uint Length = length;

    /// <summary>The kinds of access that are reported.</summary>
    public readonly PageAccess Kinds = kinds;

    private readonly Padding3 _padding;

    /// <summary>No unknown kinds, no dirty padding, a length in range.</summary>
    public bool IsWellFormed => Kinds <= PageAccess.All && _padding.IsZero && Length is > 0 and <= KvmiConstants.MaxWatchLength;
}
