using Hyperscope.Vm;

namespace Hyperscope.Devices;

/// <summary>A device of 8-bit registers: wider accesses become byte accesses at ascending offsets, as the ISA bus makes them.</summary>
public abstract class BytePortDevice : IPortDevice
{
    /// <inheritdoc/>
    public uint ReadPort(int offset, int size)
    {
        if (size == 1)
            return Read(offset);
        uint value = 0;
        for (int i = 0; i < size; i++)
            value |= (uint)Read(offset + i) << (8 * i);
        return value;
    }

    /// <inheritdoc/>
    public void WritePort(int offset, int size, uint value)
    {
        for (int i = 0; i < size; i++)
            Write(offset + i, (byte)(value >> (8 * i)));
    }

    /// <summary>Reads the register at an offset, 0xff where there is none.</summary>
    protected abstract byte Read(int offset);

    /// <summary>Writes the register at an offset; nothing happens where there is none.</summary>
    protected abstract void Write(int offset, byte value);
}
