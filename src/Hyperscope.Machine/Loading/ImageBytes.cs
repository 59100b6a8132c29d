using System.Buffers.Binary;

namespace Hyperscope.Machine;

/// <summary>An image that is read by named fields: what lies outside it is an <see cref="ImageFormatException"/>.</summary>
/// <param name="Bytes">The image.</param>
/// <param name="Name">What it is, for messages: "kernel", "ELF header".</param>
internal readonly record struct ImageBytes(ReadOnlyMemory<byte> Bytes, string Name)
{
    public int Length => Bytes.Length;

    public byte Byte(ulong offset, string field) => Slice(offset, 1, field).Span[0];

    public ushort Word(ulong offset, string field) => BinaryPrimitives.ReadUInt16LittleEndian(Slice(offset, 2, field).Span);

    public uint Double(ulong offset, string field) => BinaryPrimitives.ReadUInt32LittleEndian(Slice(offset, 4, field).Span);

    public ulong Quad(ulong offset, string field) => BinaryPrimitives.ReadUInt64LittleEndian(Slice(offset, 8, field).Span);

    public ReadOnlyMemory<byte> Slice(ulong offset, ulong length, string field)
    {
        if (offset > (ulong)Length || length > (ulong)Length - offset)
            throw new ImageFormatException($"{Name}: {field} is {length} bytes at offset 0x{offset:x}, but the image has {Length} bytes");
        return Bytes.Slice((int)offset, (int)length);
    }

    public ImageFormatException Error(string problem) => new($"{Name}: {problem}");
}
