using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Hyperscope.Conformance;

/// <summary>Builds request payloads byte by byte, right ones and wrong ones.</summary>
public sealed class PayloadBuilder
{
    private readonly List<byte> _bytes = [];

    /// <summary>An empty payload.</summary>
    public static PayloadBuilder New => new();

    /// <summary>A payload that starts with the vCPU block.</summary>
    public static PayloadBuilder Vcpu(int index, ushort padding1 = 0, uint padding2 = 0) => New.U16((ushort)index).U16(padding1).U32(padding2);

    /// <summary>Appends a byte.</summary>
    public PayloadBuilder U8(int value)
    {
        _bytes.Add((byte)value);
        return this;
    }

    /// <summary>Appends a u16.</summary>
    public PayloadBuilder U16(int value)
    {
        Span<byte> bytes = stackalloc byte[2];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, (ushort)value);
        return Raw(bytes);
    }

    /// <summary>Appends a u32.</summary>
    public PayloadBuilder U32(uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return Raw(bytes);
    }

    /// <summary>Appends a u64.</summary>
    public PayloadBuilder U64(ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return Raw(bytes);
    }

    /// <summary>Appends zero bytes.</summary>
    public PayloadBuilder Zeros(int count)
    {
        for (int index = 0; index < count; index++)
            _bytes.Add(0);
        return this;
    }

    /// <summary>Appends bytes.</summary>
    public PayloadBuilder Raw(ReadOnlySpan<byte> bytes)
    {
        foreach (byte value in bytes)
            _bytes.Add(value);
        return this;
    }

    /// <summary>Appends a structure.</summary>
    public PayloadBuilder Struct<T>(in T value)
        where T : unmanaged => Raw(MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));

    /// <summary>The payload.</summary>
    public byte[] ToArray() => [.. _bytes];
}
