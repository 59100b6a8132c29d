using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>An access that the frame's rights deny (C name KVMI_EVENT_PF). CONTINUE carries it out, RETRY executes the instruction
/// again.</summary>
/// <remarks>24 bytes; rip is at the instruction. Source: kvmi-abi.md 2.6.9, 5.4.</remarks>
/// <param name="gva">Linear address, or <see cref="Vm.Gva.Unknown"/>.</param>
/// <param name="gpa">Physical address.</param>
/// <param name="access">Exactly one of read, write, execute.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct PageFaultEvent(Gva gva, Gpa gpa, PageAccess access) : IEvent<PageFaultEvent>
{
    /// <summary>Linear address, or <see cref="Vm.Gva.Unknown"/>.</summary>
    public readonly Gva Gva = gva;

    /// <summary>Physical address, with page offset.</summary>
    public readonly Gpa Gpa = gpa;

    /// <summary>Exactly one of read, write, execute.</summary>
    public readonly PageAccess Access = access;

    private readonly byte _padding1;
    private readonly ushort _padding2;
    private readonly uint _padding3;

    /// <inheritdoc/>
    public static EventId Id => EventId.PageFault;

    /// <inheritdoc/>
    public static EventActions Accepts => EventActions.Continue | EventActions.Retry | EventActions.Crash;

    /// <inheritdoc/>
    public bool IsWellFormed => (_padding3 | _padding2 | _padding1) == 0;
}
