using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>The guest is about to execute CPUID (C name KVMI_EVENT_CPUID). CONTINUE executes it, unless the tool has moved rip: then it was
/// answered by the tool.</summary>
/// <remarks>16 bytes; rip is at the instruction. An extension of v9. Source: kvmi-dialect-libkvmi.md 5.</remarks>
/// <param name="function">eax.</param>
/// <param name="index">ecx.</param>
/// <param name="instructionLength">Bytes of the instruction.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct CpuidEvent(uint function, uint index, byte instructionLength) : IEvent<CpuidEvent>
{
    /// <summary>eax.</summary>
    public readonly uint Function = function;

    /// <summary>ecx.</summary>
    public readonly uint Index = index;

    /// <summary>Bytes of the instruction.</summary>
    public readonly byte InstructionLength = instructionLength;

    private readonly Padding7 _padding;

    /// <inheritdoc/>
    public static EventId Id => EventId.Cpuid;

    /// <inheritdoc/>
    public static EventActions Accepts => EventActions.Continue | EventActions.Crash;

    /// <inheritdoc/>
    public bool IsWellFormed => _padding.IsZero;
}
