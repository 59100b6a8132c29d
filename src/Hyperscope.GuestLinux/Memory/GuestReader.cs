using System.Text;

namespace Hyperscope.GuestLinux;

/// <summary>Reads virtual memory of the guest as it is at one moment: each page is fetched once and kept.</summary>
/// <remarks>Make a new one for each question (<see cref="LinuxGuest.OpenMemory()"/>), because what was read does not change any more. Not
/// safe for concurrent use. Restrictions of pages do not apply and no events are raised. Methods throw
/// <see cref="GuestAddressException"/> where there is no memory, and what a command of the connection throws.</remarks>
public sealed class GuestReader
{
    private readonly PageCache _cache;
    private readonly AddressSpace _space;
    private readonly byte[] _scratch = new byte[8];

    internal GuestReader(PageCache cache, AddressSpace space)
    {
        _cache = cache;
        _space = space;
    }

    /// <summary>The guest-physical address of its top page table.</summary>
    public Gpa Root => _space.Root;

    internal AddressSpace Space => _space;

    /// <summary>The same moment seen through other page tables, such as those of a process.</summary>
    public GuestReader WithRoot(Gpa root) => new(_cache, new AddressSpace(_cache, root, _space.IsFiveLevel));

    /// <summary>Where an address lies in physical memory, or null.</summary>
    public ValueTask<Gpa?> TranslateAsync(Gva gva, CancellationToken cancellation = default) => _space.TranslateAsync(gva, cancellation);

    /// <summary>All mapped ranges from <paramref name="start"/> to <paramref name="end"/>, at most <paramref name="limit"/>.</summary>
    public async ValueTask<IReadOnlyList<MappedRange>> MappingsAsync(
        Gva start, Gva end, int limit = 65536, CancellationToken cancellation = default) =>
        await _space.MappingsAsync(start, end, limit, cancellation).ConfigureAwait(false);

    /// <summary>Reads as far as memory is mapped.</summary>
    /// <returns>Bytes read.</returns>
    public async ValueTask<int> TryReadAsync(Gva gva, Memory<byte> buffer, CancellationToken cancellation = default)
    {
        int done = 0;
        while (done < buffer.Length)
        {
            Gva at = gva + (ulong)done;
            int length = Math.Min(buffer.Length - done, Gfn.PageSize - at.PageOffset);
            if (done == 0 && length < buffer.Length)
                await PrefetchAsync([(gva, buffer.Length)], cancellation).ConfigureAwait(false);
            Gpa? gpa = await _space.TranslateAsync(at, cancellation).ConfigureAwait(false);
            if (gpa is null)
                break;
            byte[]? page = await _cache.GetAsync(gpa.Value.Value >> Gfn.PageShift, cancellation).ConfigureAwait(false);
            if (page is null)
                break;
            page.AsSpan(at.PageOffset, length).CopyTo(buffer.Span[done..]);
            done += length;
        }

        return done;
    }

    /// <summary>Reads all of a range.</summary>
    public async ValueTask ReadAsync(Gva gva, Memory<byte> buffer, CancellationToken cancellation = default)
    {
        int done = await TryReadAsync(gva, buffer, cancellation).ConfigureAwait(false);
        if (done != buffer.Length)
            GuestAddressException.Throw(gva + (ulong)done, buffer.Length - done);
    }

    /// <summary>Reads a large range with few, long commands and without keeping it. What is not mapped reads as zero.</summary>
    /// <returns>Bytes that are mapped.</returns>
    public async ValueTask<long> ReadBulkAsync(Gva gva, Memory<byte> buffer, CancellationToken cancellation = default)
    {
        long mapped = 0;
        var reads = new List<(int Offset, int Length, ValueTask<int> Read)>();
        for (int offset = 0; offset < buffer.Length;)
        {
            int first = offset;
            Gpa? start = await _space.TranslateAsync(gva + (ulong)offset, cancellation).ConfigureAwait(false);
            Gpa? next;
            do
            {
                offset += Math.Min(buffer.Length - offset, Gfn.PageSize - (gva + (ulong)offset).PageOffset);
                next = offset < buffer.Length ? await _space.TranslateAsync(gva + (ulong)offset, cancellation).ConfigureAwait(false) : null;
            }
            while (offset < buffer.Length && offset - first < 1 << 19
                && (start is null ? next is null : next == start.Value + (ulong)(offset - first)));

            Memory<byte> part = buffer[first..offset];
            if (start is { } gpa)
                reads.Add((first, part.Length, _cache.Memory.TryReadAsync(gpa, part, cancellation)));
            else
                part.Span.Clear();
        }

        System.Runtime.ExceptionServices.ExceptionDispatchInfo? failure = null;
        foreach ((int offset, int length, ValueTask<int> read) in reads)
        {
            try
            {
                int done = await read.ConfigureAwait(false);
                buffer.Slice(offset + done, length - done).Span.Clear();
                mapped += done;
            }
            catch (Exception caught)
            {
                failure ??= System.Runtime.ExceptionServices.ExceptionDispatchInfo.Capture(caught);
            }
        }

        failure?.Throw();
        return mapped;
    }

    /// <summary>Fetches the pages of many ranges at once, so that reading them afterwards takes no round trip. Unmapped ones are skipped; of
    /// more than are kept at a time, the first are fetched.</summary>
    public async ValueTask PrefetchAsync(IEnumerable<(Gva Gva, int Length)> ranges, CancellationToken cancellation = default)
    {
        var frames = new HashSet<ulong>();
        int left = 4 * PageCache.MaxPages; // where and how long ranges are is for the guest to say
        foreach ((Gva gva, int length) in ranges)
        {
            ulong end = gva.Value + (ulong)Math.Max(length, 1) - 1;
            if (end < gva.Value)
                continue;
            for (ulong page = gva.Value >> Gfn.PageShift; page <= end >> Gfn.PageShift; page++)
            {
                if (left-- <= 0 || frames.Count == PageCache.MaxPages)
                    break;
                Gpa? gpa = await _space.TranslateAsync(new Gva(page << Gfn.PageShift), cancellation).ConfigureAwait(false);
                if (gpa is { } mapped && mapped.Value >> 52 == 0)
                    frames.Add(mapped.Value >> Gfn.PageShift);
            }
        }

        await _cache.PrefetchAsync(frames, cancellation).ConfigureAwait(false);
    }

    /// <summary>Reads a byte.</summary>
    public async ValueTask<byte> ReadByteAsync(Gva gva, CancellationToken cancellation = default)
    {
        await ReadAsync(gva, _scratch.AsMemory(0, 1), cancellation).ConfigureAwait(false);
        return _scratch[0];
    }

    /// <summary>Reads 2 bytes.</summary>
    public async ValueTask<ushort> ReadUInt16Async(Gva gva, CancellationToken cancellation = default)
    {
        await ReadAsync(gva, _scratch.AsMemory(0, 2), cancellation).ConfigureAwait(false);
        return BinaryPrimitives.ReadUInt16LittleEndian(_scratch);
    }

    /// <summary>Reads 4 bytes.</summary>
    public async ValueTask<uint> ReadUInt32Async(Gva gva, CancellationToken cancellation = default)
    {
        await ReadAsync(gva, _scratch.AsMemory(0, 4), cancellation).ConfigureAwait(false);
        return BinaryPrimitives.ReadUInt32LittleEndian(_scratch);
    }

    /// <summary>Reads 8 bytes.</summary>
    public async ValueTask<ulong> ReadUInt64Async(Gva gva, CancellationToken cancellation = default)
    {
        await ReadAsync(gva, _scratch, cancellation).ConfigureAwait(false);
        return BinaryPrimitives.ReadUInt64LittleEndian(_scratch);
    }

    /// <summary>Reads a pointer.</summary>
    public async ValueTask<Gva> ReadPointerAsync(Gva gva, CancellationToken cancellation = default) =>
        new(await ReadUInt64Async(gva, cancellation).ConfigureAwait(false));

    /// <summary>Reads a string up to its NUL, its first <paramref name="maximum"/> bytes or the end of mapped memory. Bytes that are no
    /// printable ASCII become <c>\xNN</c>.</summary>
    public async ValueTask<string> ReadCStringAsync(Gva gva, int maximum = 256, CancellationToken cancellation = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maximum);
        byte[] bytes = new byte[maximum];
        int done = 0;
        while (done < maximum)
        {
            int length = Math.Min(maximum - done, Gfn.PageSize - (gva + (ulong)done).PageOffset);
            int read = await TryReadAsync(gva + (ulong)done, bytes.AsMemory(done, length), cancellation).ConfigureAwait(false);
            if (done == 0 && read == 0)
                GuestAddressException.Throw(gva, 1);
            int end = bytes.AsSpan(done, read).IndexOf((byte)0);
            if (end >= 0)
                return GuestText.Of(bytes.AsSpan(0, done + end));
            done += read;
            if (read != length)
                break;
        }

        return GuestText.Of(bytes.AsSpan(0, done));
    }

    /// <summary>Reads a whole structure at once.</summary>
    public ValueTask<StructView> ReadStructAsync(BtfStruct type, Gva gva, CancellationToken cancellation = default) =>
        ReadSliceAsync(new BtfSlice(type, 0, type.Size), gva, cancellation);

    /// <summary>Reads the part of a structure that holds the members one is interested in.</summary>
    public async ValueTask<StructView> ReadSliceAsync(BtfSlice slice, Gva gva, CancellationToken cancellation = default)
    {
        if (slice.Length > BtfSlice.MaxLength)
            throw new LinuxGuestException($"BTF: {slice.Length} bytes of struct {slice.Type.Name} are above {BtfSlice.MaxLength}");
        byte[] bytes = new byte[slice.Length];
        await ReadAsync(gva + (ulong)slice.Offset, bytes, cancellation).ConfigureAwait(false);
        return new StructView(slice.Type, gva, slice.Offset, bytes);
    }
}

/// <summary>Text that a guest wrote.</summary>
internal static class GuestText
{
    /// <summary>Printable ASCII as it is, everything else as <c>\xNN</c>: nothing a guest writes may steer a terminal.</summary>
    public static string Of(ReadOnlySpan<byte> bytes)
    {
        if (!bytes.ContainsAnyExceptInRange((byte)0x20, (byte)0x7e))
            return Encoding.ASCII.GetString(bytes);
        var text = new StringBuilder(bytes.Length + 16);
        foreach (byte value in bytes)
        {
            if (value is >= 0x20 and <= 0x7e)
                text.Append((char)value);
            else
                text.Append(CultureInfo.InvariantCulture, $"\\x{value:x2}");
        }

        return text.ToString();
    }

    /// <summary>The same for a fixed array that ends at its first NUL.</summary>
    public static string OfArray(ReadOnlySpan<byte> bytes)
    {
        int end = bytes.IndexOf((byte)0);
        return Of(end < 0 ? bytes : bytes[..end]);
    }
}
