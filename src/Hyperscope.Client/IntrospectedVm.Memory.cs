namespace Hyperscope.Client;

public sealed partial class IntrospectedVm
{
    /// <summary>Reads guest-physical memory of any length. Page restrictions do not apply and no events are raised.</summary>
    /// <exception cref="KvmiException">A page has no memory; the text names it.</exception>
    public async ValueTask ReadPhysicalAsync(Gpa gpa, Memory<byte> buffer, CancellationToken cancellation = default)
    {
        int done = await TryReadPhysicalAsync(gpa, buffer, cancellation).ConfigureAwait(false);
        if (done != buffer.Length)
            throw NoMemory(MessageId.VmReadPhysical, gpa + (ulong)done, buffer.Length - done);
    }

    /// <summary>Reads guest-physical memory into a new array.</summary>
    /// <exception cref="KvmiException">A page has no memory; the text names it.</exception>
    public async ValueTask<byte[]> ReadPhysicalAsync(Gpa gpa, int length, CancellationToken cancellation = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        byte[] buffer = GC.AllocateUninitializedArray<byte>(length);
        await ReadPhysicalAsync(gpa, buffer, cancellation).ConfigureAwait(false);
        return buffer;
    }

    /// <summary>Reads guest-physical memory as far as there is any. Pages are read in parallel.</summary>
    /// <returns>Bytes read, up to the first page without memory.</returns>
    public async ValueTask<int> TryReadPhysicalAsync(Gpa gpa, Memory<byte> buffer, CancellationToken cancellation = default)
    {
        PageSplit.CheckRange(gpa.Value, buffer.Length);
        var window = new ValueTask<int>[Math.Min(PageSplit.Count(gpa.Value, buffer.Length), PageSplit.Window)];
        int done = 0;
        while (done < buffer.Length)
        {
            int count = 0;
            int offset = done;
            for (; count < window.Length && offset < buffer.Length; count++)
            {
                Gpa address = gpa + (ulong)offset;
                int length = PageSplit.NextLength(address.Value, buffer.Length - offset);
                window[count] = _connection.RunAsync(
                    new VmReadPhysical(address, (ushort)length),
                    default(ReadOnlyMemory<byte>),
                    ReplyReaders.Fill,
                    buffer.Slice(offset, length),
                    cancellation);
                offset += length;
            }

            int read = await CountUntilHole(window.AsMemory(0, count)).ConfigureAwait(false);
            done += read;
            if (done != offset)
                break;
        }

        return done;
    }

    /// <summary>Writes guest-physical memory of any length. Page restrictions do not apply and no events are raised.</summary>
    /// <exception cref="KvmiException">A page has no memory; the text names it. Pages behind it may be written.</exception>
    public async ValueTask WritePhysicalAsync(Gpa gpa, ReadOnlyMemory<byte> data, CancellationToken cancellation = default)
    {
        int done = await TryWritePhysicalAsync(gpa, data, cancellation).ConfigureAwait(false);
        if (done != data.Length)
            throw NoMemory(MessageId.VmWritePhysical, gpa + (ulong)done, data.Length - done);
    }

    /// <summary>Writes guest-physical memory as far as there is any. Pages are written in parallel, so pages behind a hole may be
    /// written too.</summary>
    /// <returns>Bytes written, up to the first page without writable memory.</returns>
    public async ValueTask<int> TryWritePhysicalAsync(Gpa gpa, ReadOnlyMemory<byte> data, CancellationToken cancellation = default)
    {
        PageSplit.CheckRange(gpa.Value, data.Length);
        var window = new ValueTask<int>[Math.Min(PageSplit.Count(gpa.Value, data.Length), PageSplit.Window)];
        int done = 0;
        while (done < data.Length)
        {
            int count = 0;
            int offset = done;
            for (; count < window.Length && offset < data.Length; count++)
            {
                Gpa address = gpa + (ulong)offset;
                int length = PageSplit.NextLength(address.Value, data.Length - offset);
                window[count] = WritePageAsync(address, data.Slice(offset, length), cancellation);
                offset += length;
            }

            int written = await CountUntilHole(window.AsMemory(0, count)).ConfigureAwait(false);
            done += written;
            if (done != offset)
                break;
        }

        return done;
    }

    private static KvmiException NoMemory(MessageId command, Gpa gpa, int length) =>
        new(command, $"{length} bytes at gpa {gpa}", KvmError.NotFound);

    // Awaits every page, so that no reply can still arrive in the caller's buffer, and sums up to the first one without memory.
    private static async ValueTask<int> CountUntilHole(ReadOnlyMemory<ValueTask<int>> pages)
    {
        System.Runtime.ExceptionServices.ExceptionDispatchInfo? failure = null;
        int sum = 0;
        bool isHole = false;
        for (int i = 0; i < pages.Length; i++)
        {
            try
            {
                int length = await pages.Span[i].ConfigureAwait(false);
                sum += isHole ? 0 : length;
            }
            catch (KvmiException missing) when (missing.Error == KvmError.NotFound)
            {
                isHole = true;
            }
            catch (Exception caught)
            {
                failure ??= System.Runtime.ExceptionServices.ExceptionDispatchInfo.Capture(caught);
            }
        }

        failure?.Throw();
        return sum;
    }

    private async ValueTask<int> WritePageAsync(Gpa gpa, ReadOnlyMemory<byte> data, CancellationToken cancellation)
    {
        await _connection.RunAsync(new VmWritePhysical(gpa, (ushort)data.Length), data, cancellation).ConfigureAwait(false);
        return data.Length;
    }
}
