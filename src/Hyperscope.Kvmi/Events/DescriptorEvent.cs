using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>A descriptor-table register is about to be loaded or stored (C name KVMI_EVENT_DESCRIPTOR).</summary>
/// <remarks>8 bytes. CONTINUE carries the instruction out, RETRY resumes at rip. Source: kvmi-abi.md 2.6.7.</remarks>
/// <param name="table">Which register.</param>
/// <param name="isWrite">Loaded, not stored.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct DescriptorEvent(DescriptorTable table, bool isWrite) : IEvent<DescriptorEvent>
{
    /// <summary>Which register.</summary>
    public readonly DescriptorTable Table = table;

    private readonly byte _write = (byte)(isWrite ? 1 : 0);
    private readonly Padding6 _padding;

    /// <inheritdoc/>
    public static EventId Id => EventId.Descriptor;

    /// <inheritdoc/>
    public static EventActions Accepts => EventActions.Continue | EventActions.Retry | EventActions.Crash;

    /// <summary>The register is loaded, not stored.</summary>
    public bool IsWrite => _write != 0;

    /// <inheritdoc/>
    public bool IsWellFormed => _write <= 1 && _padding.IsZero;
}
