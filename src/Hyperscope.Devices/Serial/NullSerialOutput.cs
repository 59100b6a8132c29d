namespace Hyperscope.Devices;

/// <summary>Nobody listens to the serial port: characters go nowhere, and no thread waits for them.</summary>
public sealed class NullSerialOutput : ISerialOutput
{
    private NullSerialOutput()
    {
    }

    /// <summary>The one there is; it has no state.</summary>
    public static NullSerialOutput Instance { get; } = new();

    /// <inheritdoc/>
    public void Write(byte value)
    {
    }
}
