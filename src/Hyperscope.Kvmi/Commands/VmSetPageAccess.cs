using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Restricts guest frames, or lifts restrictions (C name KVMI_VM_SET_PAGE_ACCESS).</summary>
/// <remarks>Request 8 bytes and a <see cref="PageAccessEntry"/> for each frame; no reply data. Errors: EINVAL (dirty padding; payload
/// without all entries) with nothing applied; otherwise all entries are applied and the first error is reported: EINVAL (unknown
/// rights, dirty padding, visible above 1, no memory there), ENOMEM. Source: kvmi-abi.md 2.5.23.</remarks>
/// <param name="count">Number of entries that follow, up to <see cref="KvmiConstants.MaxPageAccessEntries"/>.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmSetPageAccess(ushort count) : ITailedCommand<VmSetPageAccess>
{
    /// <summary>Number of entries that follow.</summary>
    public readonly ushort Count = count;

    private readonly ushort _padding1;
    private readonly uint _padding2;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VmSetPageAccess;

    /// <inheritdoc/>
    public static bool ShortTailCloses => false;

    /// <inheritdoc/>
    public int TailSize => Count * 16;

    /// <inheritdoc/>
    public bool IsWellFormed => (_padding1 | _padding2) == 0;
}

/// <summary>The rights of one frame (C name <c>kvmi_page_access_entry</c>). 16 bytes.</summary>
/// <param name="gpa">Any address in the frame; the low 12 bits are ignored.</param>
/// <param name="access">The accesses allowed.</param>
/// <param name="visible">Fail if there is no memory, instead of skipping the frame silently.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct PageAccessEntry(Gpa gpa, PageAccess access, bool visible = true)
{
    /// <summary>Any address in the frame.</summary>
    public readonly Gpa Gpa = gpa;

    /// <summary>The accesses allowed.</summary>
    public readonly PageAccess Access = access;

    private readonly byte _visible = (byte)(visible ? 1 : 0);
    private readonly ushort _padding1;
    private readonly uint _padding2;

    /// <summary>Fail if there is no memory.</summary>
    public bool Visible => _visible != 0;

    /// <summary>No unknown rights, no dirty padding, visible is 0 or 1.</summary>
    public bool IsWellFormed => Access <= PageAccess.All && _visible <= 1 && (_padding1 | _padding2) == 0;
}
