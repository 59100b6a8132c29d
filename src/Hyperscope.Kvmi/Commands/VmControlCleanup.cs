using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Chooses whether an unhook also undoes interceptions (C name KVMI_VM_CONTROL_CLEANUP).</summary>
/// <remarks>Request 8 bytes, no reply data. Off after a hook. Page restrictions and single-step are undone in any case. Errors: EINVAL
/// (dirty padding, enable above 1). Source: kvmi-abi.md 2.5.14.</remarks>
/// <param name="enable">Undo them.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VmControlCleanup(bool enable) : ICommand<VmControlCleanup>
{
    private readonly byte _enable = (byte)(enable ? 1 : 0);
    private readonly byte _padding1;
    private readonly ushort _padding2;
    private readonly uint _padding3;

    /// <inheritdoc/>
    public static MessageId Id => MessageId.VmControlCleanup;

    /// <summary>Undo interceptions.</summary>
    public bool Enable => _enable != 0;

    /// <inheritdoc/>
    public bool IsWellFormed => _enable <= 1 && (_padding3 | _padding2 | _padding1) == 0;
}
