namespace Hyperscope.GuestLinux;

/// <summary>Unwind entries of the kernel or of a module: addresses relative to their own place, ascending, and an entry for each.</summary>
internal sealed class OrcTable(GuestReader reader, OrcFormat format, Gva addresses, Gva entries, int count)
{
    private const int MaxCount = 1 << 24;

    /// <summary>The kernel's own table, or null if it has none (CONFIG_UNWINDER_ORC).</summary>
    public static OrcTable? OfKernel(LinuxGuest guest, GuestReader reader, OrcFormat format)
    {
        KernelSymbols symbols = guest.Symbols;
        if (!symbols.TryAddressOf("__start_orc_unwind_ip", out Gva addresses) || !symbols.TryAddressOf("__stop_orc_unwind_ip", out Gva end)
            || !symbols.TryAddressOf("__start_orc_unwind", out Gva entries))
        {
            return null;
        }

        ulong length = end.Value - addresses.Value;
        return length is 0 or > MaxCount * 4UL ? null : new OrcTable(reader, format, addresses, entries, (int)(length / 4));
    }

    /// <summary>The entry for an address: the last one at or below it.</summary>
    public async ValueTask<OrcEntry?> FindAsync(Gva ip, CancellationToken cancellation)
    {
        int low = 0, high = count; // the first entry above lies in [low, high]
        while (low < high)
        {
            int middle = low + (high - low) / 2;
            Gva at = addresses + (ulong)middle * 4;
            ulong start = unchecked(at.Value + (ulong)(int)await reader.ReadUInt32Async(at, cancellation).ConfigureAwait(false));
            if (start <= ip.Value)
                low = middle + 1;
            else
                high = middle;
        }

        if (low == 0)
            return null;
        byte[] bytes = new byte[OrcFormat.EntrySize];
        await reader.ReadAsync(entries + (ulong)(low - 1) * OrcFormat.EntrySize, bytes, cancellation).ConfigureAwait(false);
        return format.Decode(bytes);
    }
}
