namespace Hyperscope.Devices;

/// <summary>Port 0x92: fast reset (bit 0). The A20 bit (1) is only kept; A20 is always on.</summary>
/// <remarks>Has no lock of its own.</remarks>
public sealed class SystemControlPortA(IMachineControl machine) : BytePortDevice
{
    /// <summary>Number of ports.</summary>
    public const int PortCount = 1;

    private const byte Reset = 0x01, A20 = 0x02;

    private byte _value = A20;

    /// <inheritdoc/>
    protected override byte Read(int offset) => offset == 0 ? Volatile.Read(ref _value) : (byte)0xff;

    /// <inheritdoc/>
    protected override void Write(int offset, byte value)
    {
        if (offset != 0)
            return;
        Volatile.Write(ref _value, (byte)(value & A20));
        if ((value & Reset) != 0)
            machine.RequestReset();
    }
}
