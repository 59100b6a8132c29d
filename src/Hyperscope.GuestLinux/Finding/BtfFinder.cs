namespace Hyperscope.GuestLinux;

/// <summary>Finds the kernel's description of its types.</summary>
internal static class BtfFinder
{
    /// <summary>Said of a kernel without types.</summary>
    public const string NoTypes = "this kernel has no BTF (it was built without CONFIG_DEBUG_INFO_BTF)";

    private const ulong MaxSize = 64 << 20;

    /// <summary>Finds and parses it.</summary>
    /// <returns>The types, or null and why there are none.</returns>
    public static async Task<(Btf? Btf, string Missing)> FindAsync(FoundKernel found, GuestReader reader, CancellationToken cancellation)
    {
        string missing = NoTypes;
        byte[]? data = null;
        if (found.Symbols.TryAddressOf("__start_BTF", out Gva start) && found.Symbols.TryAddressOf("__stop_BTF", out Gva stop))
        {
            ulong length = stop.Value - start.Value;
            ulong offset = start.Value - found.PartStart.Value;
            if (length is 0 or > MaxSize)
            {
                missing = $"this kernel's BTF of 0x{length:x} bytes at {start} is not believable";
            }
            else if (offset < (ulong)found.Part.Length && offset + length <= (ulong)found.Part.Length)
            {
                data = found.Part.AsSpan((int)offset, (int)length).ToArray();
            }
            else
            {
                data = new byte[length];
                await reader.ReadBulkAsync(start, data, cancellation).ConfigureAwait(false);
            }
        }

        data ??= Scan(found.Part);
        if (data is null)
            return (null, missing);
        try
        {
            return (Btf.Parse(data), "");
        }
        catch (LinuxGuestException damaged)
        {
            return (null, $"this kernel's BTF cannot be used ({damaged.Message})");
        }
    }

    // Kernels that name code only: the section starts with its magic, version 1, flags 0 and a header of 24 bytes.
    private static byte[]? Scan(ReadOnlySpan<byte> part)
    {
        ReadOnlySpan<byte> start = [0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0];
        for (int at = 0; ;)
        {
            int found = part[at..].IndexOf(start);
            if (found < 0)
                return null;
            at += found;
            ReadOnlySpan<byte> header = part[at..];
            if (header.Length < 24)
                return null;
            ulong end = 24UL + Math.Max(
                BinaryPrimitives.ReadUInt32LittleEndian(header[8..]) + (ulong)BinaryPrimitives.ReadUInt32LittleEndian(header[12..]),
                BinaryPrimitives.ReadUInt32LittleEndian(header[16..]) + (ulong)BinaryPrimitives.ReadUInt32LittleEndian(header[20..]));
            if (end is > 65536 and <= MaxSize && end <= (ulong)header.Length)
                return header[..(int)end].ToArray();
            at += start.Length;
        }
    }
}
