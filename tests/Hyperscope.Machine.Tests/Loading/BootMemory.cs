using System.Buffers.Binary;

namespace Hyperscope.Machine.Tests;

/// <summary>Looks into the pieces of a boot image as the guest would see them.</summary>
internal static class BootMemory
{
    public static byte[] Read(this BootImage image, ulong address, int length)
    {
        byte[] bytes = new byte[length];
        foreach (MemoryPiece piece in image.Pieces)
        {
            for (int i = 0; i < length; i++)
            {
                ulong offset = address + (ulong)i - piece.Address.Value;
                if (offset < piece.Length)
                    bytes[i] = offset < (ulong)piece.Bytes.Length ? piece.Bytes.Span[(int)offset] : (byte)0;
            }
        }

        return bytes;
    }

    public static uint Double(this BootImage image, ulong address) => BinaryPrimitives.ReadUInt32LittleEndian(image.Read(address, 4));

    public static ulong Quad(this BootImage image, ulong address) => BinaryPrimitives.ReadUInt64LittleEndian(image.Read(address, 8));

    public static string Text(this BootImage image, ulong address)
    {
        byte[] bytes = image.Read(address, 256);
        return System.Text.Encoding.Latin1.GetString(bytes, 0, Array.IndexOf(bytes, (byte)0));
    }
}
