using Hyperscope.Vm;

namespace Hyperscope.Devices;

/// <summary>The reset register at 0xcf9 among the eight ports of PCI configuration mechanism 1, of which nothing else exists.</summary>
/// <remarks>Attach at 0xcf8. Owning all eight keeps a 32-bit configuration write at 0xcf8 from reaching the reset register. Setting
/// bit 2 resets the machine. Has no lock of its own.</remarks>
public sealed class ResetControlPort(IMachineControl machine) : IPortDevice
{
    /// <summary>Number of ports.</summary>
    public const int PortCount = 8;

    /// <summary>Offset of the register.</summary>
    public const int RegisterOffset = 1;

    /// <summary>What a guest writes for a full reset.</summary>
    public const byte FullReset = 0x06;

    private const byte ResetBit = 0x04, Kept = 0x0a;

    private byte _value;

    /// <inheritdoc/>
    public uint ReadPort(int offset, int size) => offset == RegisterOffset && size == 1 ? Volatile.Read(ref _value) : uint.MaxValue;

    /// <inheritdoc/>
    public void WritePort(int offset, int size, uint value)
    {
        if (offset != RegisterOffset || size != 1)
            return;
        Volatile.Write(ref _value, (byte)(value & Kept));
        if ((value & ResetBit) != 0)
            machine.RequestReset();
    }
}
