using Hyperscope.Vm;

namespace Hyperscope.Devices.Tests;

/// <summary>Remembers a line's level and counts its rising edges.</summary>
internal sealed class RecordingLine : IInterruptLine
{
    public bool Level { get; private set; }

    public int RisingEdges { get; private set; }

    public void Set(bool asserted)
    {
        if (asserted && !Level)
            RisingEdges++;
        Level = asserted;
    }
}
