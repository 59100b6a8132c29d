namespace Hyperscope.GuestLinux;

/// <summary>ELF notes of the kernel's image.</summary>
internal static class BuildNotes
{
    private const uint BuildId = 3;
    private const int MaxLength = 1 << 16;

    /// <summary>The build id in hex, or nothing.</summary>
    public static async Task<string> ReadIdAsync(GuestReader reader, KernelRange notes, CancellationToken cancellation)
    {
        byte[] bytes = new byte[Math.Min(notes.Length, MaxLength)];
        int length = await reader.TryReadAsync(notes.Start, bytes, cancellation).ConfigureAwait(false);
        return IdIn(bytes.AsSpan(0, length));
    }

    /// <summary>The build id among notes, in hex, or nothing.</summary>
    public static string IdIn(ReadOnlySpan<byte> notes)
    {
        while (notes.Length >= 12)
        {
            uint nameSize = BinaryPrimitives.ReadUInt32LittleEndian(notes), size = BinaryPrimitives.ReadUInt32LittleEndian(notes[4..]);
            uint type = BinaryPrimitives.ReadUInt32LittleEndian(notes[8..]);
            long data = 12 + ((nameSize + 3L) & ~3L), end = data + ((size + 3L) & ~3L);
            if (end > notes.Length)
                return "";
            if (type == BuildId && nameSize == 4 && notes.Slice(12, 4).SequenceEqual("GNU\0"u8))
                return Convert.ToHexStringLower(notes.Slice((int)data, (int)Math.Min(size, 64)));
            notes = notes[(int)end..];
        }

        return "";
    }
}
