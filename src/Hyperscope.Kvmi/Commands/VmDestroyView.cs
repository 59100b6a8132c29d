using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Destroys a view with its rights, watches and remapped frames (C name KVMI_VM_DESTROY_EPT_VIEW).</summary>
/// <remarks>Request 8 bytes, no reply data. Errors: EINVAL (dirty padding, no such view, view 0), EBUSY (a vCPU is in it). An extension of
/// v9. Source: protocol.md.</remarks>
/// <param name="view">The view.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmDestroyView(ushort view) : ICommand<VmDestroyView>
{
    /// <summary>The view.</summary>
    public readonly ViewNumber View = new(view);

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VmDestroyView;

    /// <inheritdoc/>
    public bool IsWellFormed => View.IsWellFormed;
}
