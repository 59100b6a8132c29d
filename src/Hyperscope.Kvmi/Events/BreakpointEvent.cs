using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>INT3 at rip (C name KVMI_EVENT_BREAKPOINT). CONTINUE raises #BP, RETRY resumes at rip.</summary>
/// <remarks>16 bytes. Source: kvmi-abi.md 2.6.3.</remarks>
/// <param name="gpa">Physical address of the instruction, or null.</param>
/// <param name="instructionLength">1 for CC.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct BreakpointEvent(Gpa? gpa, byte instructionLength) : IEvent<BreakpointEvent>
{
    private readonly ulong _gpa = gpa?.Value ?? ulong.MaxValue;

    /// <summary>Length of the instruction in bytes, 1 for CC.</summary>
    public readonly byte InstructionLength = instructionLength;

    private readonly Padding7 _padding;

    /// <inheritdoc/>
    public static EventId Id => EventId.Breakpoint;

    /// <inheritdoc/>
    public static EventActions Accepts => EventActions.Continue | EventActions.Retry | EventActions.Crash;

    /// <summary>Physical address of the instruction, or null if untranslatable (all ones on the wire).</summary>
    public Gpa? Gpa => _gpa == ulong.MaxValue ? null : new Gpa(_gpa);

    /// <inheritdoc/>
    public bool IsWellFormed => _padding.IsZero;
}
