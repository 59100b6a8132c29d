using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Makes a view of guest memory in which nothing is restricted (C name KVMI_VM_CREATE_EPT_VIEW).</summary>
/// <remarks>No request data, reply <see cref="ViewNumber"/>. Errors: EOPNOTSUPP (no views here), ENOMEM (512 views exist). An extension of
/// v9. Source: protocol.md.</remarks>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmCreateView : ICommand<VmCreateView, ViewNumber>
{
    /// <inheritdoc/>
    public static MessageId Id => MessageId.VmCreateView;

    /// <inheritdoc/>
    public static int WireSize => 0;

    /// <inheritdoc/>
    public bool IsWellFormed => true;
}

/// <summary>The number of a view. 8 bytes.</summary>
/// <param name="view">0 to 511.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct ViewNumber(ushort view)
{
    /// <summary>0 to 511.</summary>
    public readonly ushort View = view;

    private readonly Padding6 _padding;

    /// <summary>All padding is zero.</summary>
    public bool IsWellFormed => _padding.IsZero;
}
