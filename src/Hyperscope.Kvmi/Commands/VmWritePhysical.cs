using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Writes guest-physical memory inside one page (C name KVMI_VM_WRITE_PHYSICAL). Page restrictions do not apply.</summary>
/// <remarks>Request 16 bytes and the data; no reply data. A payload without all of the data closes the connection. Errors, in order:
/// EINVAL (size 0 or above 4096, crosses a page), EINVAL (dirty padding), ENOENT (no writable memory there). Source: kvmi-abi.md 2.5.7.</remarks>
/// <param name="gpa">First byte.</param>
/// <param name="size">Bytes, 1 to 4096.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmWritePhysical(Gpa gpa, ushort size) : ITailedCommand<VmWritePhysical>
{
    /// <summary>First byte.</summary>
    public readonly Gpa Gpa = gpa;

    /// <summary>Bytes, 1 to 4096.</summary>
    public readonly ushort Size = size;

    private readonly ushort _padding1;
    private readonly uint _padding2;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VmWritePhysical;

    /// <inheritdoc/>
    public static bool ShortTailCloses => true;

    /// <inheritdoc/>
    public int TailSize => Size;

    /// <summary>The range is 1 to 4096 bytes inside one page.</summary>
    public bool IsInsideOnePage => Size != 0 && Gpa.PageOffset + Size <= KvmiConstants.MaxPhysicalAccess;

    /// <inheritdoc/>
    public bool IsWellFormed => (_padding1 | _padding2) == 0;
}
