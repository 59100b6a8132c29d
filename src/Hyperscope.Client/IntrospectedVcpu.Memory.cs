namespace Hyperscope.Client;

public sealed partial class IntrospectedVcpu
{
    /// <summary>Reads virtual memory of any length, through this vCPU's paging.</summary>
    /// <exception cref="KvmiException">A page is not mapped or has no memory; the text names its address.</exception>
    public async ValueTask ReadVirtualAsync(Gva gva, Memory<byte> buffer, CancellationToken cancellation = default)
    {
        int done = await TryReadVirtualAsync(gva, buffer, cancellation).ConfigureAwait(false);
        if (done != buffer.Length)
            throw NoMemory("read", gva + (ulong)done, buffer.Length - done);
    }

    /// <summary>Reads virtual memory as far as it is mapped.</summary>
    /// <returns>Bytes read, up to the first page that is not mapped or has no memory.</returns>
    public async ValueTask<int> TryReadVirtualAsync(Gva gva, Memory<byte> buffer, CancellationToken cancellation = default)
    {
        int done = 0;
        await foreach ((int offset, int length, Gpa? gpa) in TranslateRange(gva, buffer.Length, cancellation).ConfigureAwait(false))
        {
            int read = gpa is { } address
                ? await Vm.TryReadPhysicalAsync(address, buffer.Slice(offset, length), cancellation).ConfigureAwait(false)
                : 0;
            done += read;
            if (read != length)
                break;
        }

        return done;
    }

    /// <summary>Writes virtual memory of any length, through this vCPU's paging; the guest's own write protection does not apply.</summary>
    /// <exception cref="KvmiException">A page is not mapped or has no memory; the text names its address. What lies before it is
    /// written.</exception>
    public async ValueTask WriteVirtualAsync(Gva gva, ReadOnlyMemory<byte> data, CancellationToken cancellation = default)
    {
        int done = await TryWriteVirtualAsync(gva, data, cancellation).ConfigureAwait(false);
        if (done != data.Length)
            throw NoMemory("write", gva + (ulong)done, data.Length - done);
    }

    /// <summary>Writes virtual memory as far as it is mapped.</summary>
    /// <returns>Bytes written, up to the first page that is not mapped or has no memory.</returns>
    public async ValueTask<int> TryWriteVirtualAsync(Gva gva, ReadOnlyMemory<byte> data, CancellationToken cancellation = default)
    {
        int done = 0;
        await foreach ((int offset, int length, Gpa? gpa) in TranslateRange(gva, data.Length, cancellation).ConfigureAwait(false))
        {
            int written = gpa is { } address
                ? await Vm.TryWritePhysicalAsync(address, data.Slice(offset, length), cancellation).ConfigureAwait(false)
                : 0;
            done += written;
            if (written != length)
                break;
        }

        return done;
    }

    private KvmiException NoMemory(string verb, Gva gva, int length) =>
        new(MessageId.VcpuTranslateGva, $"vCPU {Index}, {verb} of {length} bytes at gva {gva}", KvmError.NotFound);

    // Translates all pages of a range, a window of them at a time, and joins neighbours that are neighbours in physical memory as well.
    private async IAsyncEnumerable<(int Offset, int Length, Gpa? Gpa)> TranslateRange(
        Gva gva, int length, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellation)
    {
        PageSplit.CheckRange(gva.Value, length);
        var window = new ValueTask<VcpuTranslateGvaReply>[Math.Min(PageSplit.Count(gva.Value, length), PageSplit.Window)];
        for (int offset = 0; offset < length;)
        {
            int first = offset;
            int count = 0;
            for (; count < window.Length && offset < length; count++)
            {
                window[count] = Ask<VcpuTranslateGva, VcpuTranslateGvaReply>(
                    new VcpuTranslateGva(Index, gva + (ulong)offset), cancellation);
                offset += PageSplit.NextLength(gva.Value + (ulong)offset, length - offset);
            }

            Gpa?[] frames = await PageSplit.AwaitAll(window, count, static reply => reply.Gpa).ConfigureAwait(false);
            for (int i = 0; i < count;)
            {
                int size = PageSplit.NextLength(gva.Value + (ulong)first, length - first);
                Gpa? start = frames[i++];
                while (start is { } gpa && i < count && frames[i] == gpa + (ulong)size)
                {
                    size += PageSplit.NextLength(gva.Value + (ulong)(first + size), length - first - size);
                    i++;
                }

                yield return (first, size, start);
                first += size;
            }
        }
    }
}
