using Hyperscope.Vm;

namespace Hyperscope.Devices;

/// <summary>A wire that leads nowhere.</summary>
public sealed class NoInterruptLine : IInterruptLine
{
    private NoInterruptLine()
    {
    }

    /// <summary>The only one.</summary>
    public static NoInterruptLine Instance { get; } = new();

    /// <inheritdoc/>
    public void Set(bool asserted)
    {
    }
}
