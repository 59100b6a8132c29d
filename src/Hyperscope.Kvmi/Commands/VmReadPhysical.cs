using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Reads guest-physical memory inside one page (C name KVMI_VM_READ_PHYSICAL). Page restrictions do not apply.</summary>
/// <remarks>Request 16 bytes; reply data exactly <see cref="Size"/> bytes. Errors, in order: EINVAL (size 0 or above 4096, crosses a
/// page, dirty padding), ENOENT (no memory there). Source: kvmi-abi.md 2.5.6.</remarks>
/// <param name="gpa">First byte.</param>
/// <param name="size">Bytes, 1 to 4096.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmReadPhysical(Gpa gpa, ushort size) : IBytesCommand<VmReadPhysical>
{
    /// <summary>First byte.</summary>
    public readonly Gpa Gpa = gpa;

    /// <summary>Bytes, 1 to 4096.</summary>
    public readonly ushort Size = size;

    private readonly ushort _padding1;
    private readonly uint _padding2;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VmReadPhysical;

    /// <inheritdoc/>
    public int ReplySize => Size;

    /// <summary>The range is 1 to 4096 bytes inside one page.</summary>
    public bool IsInsideOnePage => Size != 0 && Gpa.PageOffset + Size <= KvmiConstants.MaxPhysicalAccess;

    /// <inheritdoc/>
    public bool IsWellFormed => (_padding1 | _padding2) == 0;
}
