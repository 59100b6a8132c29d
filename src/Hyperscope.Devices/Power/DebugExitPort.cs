using Hyperscope.Vm;

namespace Hyperscope.Devices;

/// <summary>Ends the run with the status <c>(value &lt;&lt; 1) | 1</c> when written; reads as all ones. Usually 4 ports from 0xf4.</summary>
/// <remarks>The status is never 0, so a guest that says "success" differs from a machine that never ran. Known elsewhere as
/// isa-debug-exit.</remarks>
public sealed class DebugExitPort(IMachineControl machine) : IPortDevice
{
    /// <summary>Number of ports.</summary>
    public const int PortCount = 4;

    /// <summary>The exit status that a written value stands for.</summary>
    public static int StatusOf(uint value) => unchecked((int)((value << 1) | 1));

    /// <inheritdoc/>
    public uint ReadPort(int offset, int size) => uint.MaxValue;

    /// <inheritdoc/>
    public void WritePort(int offset, int size, uint value) => machine.RequestExit(StatusOf(value));
}
