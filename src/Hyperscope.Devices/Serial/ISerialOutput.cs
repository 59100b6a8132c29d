namespace Hyperscope.Devices;

/// <summary>Where a serial port's characters go.</summary>
public interface ISerialOutput
{
    /// <summary>Takes one character. May block, which holds up the guest's transmitter. Must not call the serial port.</summary>
    void Write(byte value);
}
