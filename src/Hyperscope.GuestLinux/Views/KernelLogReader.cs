using System.Text;

namespace Hyperscope.GuestLinux;

/// <summary>Reads the kernel's log: the ring of printk, without locks since 5.10.</summary>
/// <remarks>Descriptors name blocks in a ring of text; a block starts with the number of its descriptor. Source: Linux
/// kernel/printk/printk_ringbuffer.h.</remarks>
internal sealed class KernelLogReader(LinuxGuest guest, GuestReader reader, Walks walks)
{
    private const int MaxRingBits = 27;
    private const ulong StateMask = 3UL << 62;
    private const ulong Committed = 1, Finalized = 2;

    public async Task<List<KernelLogLine>> AllAsync(CancellationToken cancellation)
    {
        Btf btf = guest.Btf;
        Gva address = await reader.ReadPointerAsync(guest.Symbols.AddressOf("prb"), cancellation).ConfigureAwait(false);
        StructView ring = await reader.ReadStructAsync(btf.StructOf("printk_ringbuffer"), address, cancellation).ConfigureAwait(false);
        uint countBits = ring.UInt32("desc_ring.count_bits"), sizeBits = ring.UInt32("text_data_ring.size_bits");
        if (countBits > MaxRingBits - 6 || sizeBits > MaxRingBits)
        {
            walks.CutOff($"printk: a ring of 2^{countBits} descriptors and 2^{sizeBits} bytes is above 2^{MaxRingBits} bytes", address);
            return [];
        }

        BtfStruct descriptor = btf.StructOf("prb_desc"), info = btf.StructOf("printk_info");
        int count = 1 << (int)countBits;
        byte[] descriptors = await BulkAsync(ring.Pointer("desc_ring.descs"), (long)count * descriptor.Size, cancellation).ConfigureAwait(false);
        byte[] infos = await BulkAsync(ring.Pointer("desc_ring.infos"), (long)count * info.Size, cancellation).ConfigureAwait(false);
        byte[] text = await BulkAsync(ring.Pointer("text_data_ring.data"), 1L << (int)sizeBits, cancellation).ConfigureAwait(false);

        var lines = new List<KernelLogLine>();
        ulong first = ring.Unsigned("desc_ring.tail_id") & ~StateMask, last = ring.Unsigned("desc_ring.head_id") & ~StateMask;
        if ((last - first & ~StateMask) >= (ulong)count)
        {
            walks.CutOff($"printk: descriptors {first} to {last} do not fit a ring of {count}", address);
            first = last - (ulong)(count - 1) & ~StateMask;
        }

        int left = text.Length; // blocks do not overlap

        for (ulong id = first; ; id = (id + 1) & ~StateMask)
        {
            int index = (int)(id & (ulong)(count - 1));
            var entry = new StructView(descriptor, default, 0, descriptors.AsMemory(index * descriptor.Size, descriptor.Size));
            ulong state = entry.Unsigned("state_var");
            if ((state & ~StateMask) == id && state >> 62 is Committed or Finalized)
            {
                var header = new StructView(info, default, 0, infos.AsMemory(index * info.Size, info.Size));
                int length = (int)Math.Min(header.Unsigned("text_len"), (ulong)text.Length);
                if (length > left)
                {
                    walks.CutOff($"printk: lines up to descriptor {id} are longer than the ring of {text.Length} bytes", address);
                    return lines;
                }

                left -= length;
                lines.Add(new KernelLogLine(
                    header.Unsigned("seq"), TimeSpan.FromTicks((long)(header.Unsigned("ts_nsec") / 100)), (int)header.Unsigned("level"),
                    (int)header.Unsigned("facility"),
                    TextOf(text, entry.Unsigned("text_blk_lpos.begin"), entry.Unsigned("text_blk_lpos.next"), length)));
            }

            if (id == last)
                return lines;
        }
    }

    // A block that would run over the end of the ring lies at its start instead; an odd position says that there is none.
    private static string TextOf(byte[] ring, ulong begin, ulong next, int length)
    {
        if ((begin & 1) != 0)
            return "";
        ulong mask = (ulong)ring.Length - 1;
        bool wraps = begin / (ulong)ring.Length != next / (ulong)ring.Length && (next & mask) != 0;
        int start = (wraps ? 0 : (int)(begin & mask)) + 8;
        if (start >= ring.Length)
            return "";
        ReadOnlySpan<byte> bytes = ring.AsSpan(start, Math.Min(length, ring.Length - start));
        var text = new StringBuilder();
        foreach (Range line in bytes.Split((byte)'\n'))
            text.Append(text.Length == 0 && line.Start.Value == 0 ? "" : "\n").Append(GuestText.Of(bytes[line]));
        return text.ToString();
    }

    private async ValueTask<byte[]> BulkAsync(Gva address, long length, CancellationToken cancellation)
    {
        if (length > 1L << MaxRingBits + 1)
            throw new LinuxGuestException($"printk: a table of {length} bytes is above 2^{MaxRingBits + 1}");
        byte[] bytes = new byte[length];
        long mapped = await reader.ReadBulkAsync(address, bytes, cancellation).ConfigureAwait(false);
        if (mapped == 0)
            GuestAddressException.Throw(address, length);
        return bytes;
    }
}
