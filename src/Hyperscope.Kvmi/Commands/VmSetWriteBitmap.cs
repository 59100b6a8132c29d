using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Watches writes by pieces of 128 bytes (C name KVMI_VM_SET_PAGE_WRITE_BITMAP): a short form of VM_SET_WATCHES.</summary>
/// <remarks>It decides about all writes to the page: the page's own w right is restored. Request 8 bytes and a <see cref="WriteBitmapEntry"/> for each frame; no reply data. Errors: as VM_SET_WATCHES. An extension of
/// v9. Source: protocol.md.</remarks>
/// <param name="view">The view.</param>
/// <param name="count">Number of entries that follow, up to <see cref="KvmiConstants.MaxWatchEntries"/>.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmSetWriteBitmap(ushort view, ushort count) : ITailedCommand<VmSetWriteBitmap>
{
    /// <summary>The view.</summary>
    public readonly ushort View = view;

    /// <summary>Number of entries that follow.</summary>
    public readonly ushort Count = count;

    private readonly uint _padding;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VmSetWriteBitmap;

    /// <inheritdoc/>
    public static bool ShortTailCloses => false;

    /// <inheritdoc/>
    public int TailSize => Count * 16;

    /// <inheritdoc/>
    public bool IsWellFormed => _padding == 0;
}

/// <summary>Which pieces of a frame may be written. 16 bytes.</summary>
/// <param name="gpa">Any address in the frame.</param>
/// <param name="writable">Bit n: writes to bytes 128 n to 128 n + 127 raise nothing.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct WriteBitmapEntry(Gpa gpa, uint writable)
{
    /// <summary>Any address in the frame.</summary>
    public readonly Gpa Gpa = gpa;

    /// <summary>Bit n: writes to bytes 128 n to 128 n + 127 raise nothing.</summary>
    public readonly uint Writable = writable;

    private readonly uint _padding;

    /// <summary>No dirty padding.</summary>
    public bool IsWellFormed => _padding == 0;
}
