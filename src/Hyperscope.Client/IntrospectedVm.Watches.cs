namespace Hyperscope.Client;

// Extensions of v9: a VM without them refuses with KvmError.UnknownCommand, and CheckCommandAsync finds out beforehand.
public sealed partial class IntrospectedVm
{
    /// <summary>Watches bytes: an access of one of these kinds to one of them raises an <see cref="AccessEvent"/> or, where that is not
    /// enabled, a <see cref="PageFaultEvent"/>. Accesses beside them, on the same page, cost no round trip.</summary>
    /// <param name="gpa">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="kinds">Replaces what these bytes were watched for; none ends the watch. <see cref="PageAccess.Execute"/> on an
    /// instruction's first byte is a breakpoint that the guest cannot see.</param>
    /// <param name="cancellation">Gives up waiting.</param>
    /// <exception cref="KvmiException">InvalidArgument: no memory there. OutOfMemory: too many watches, see
    /// <see cref="GetWatchInfoAsync"/>.</exception>
    public ValueTask SetWatchAsync(Gpa gpa, int length, PageAccess kinds, CancellationToken cancellation = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(length);
        var entries = new List<WatchEntry>();
        for (uint done = 0; done < (uint)length; done += KvmiConstants.MaxWatchLength)
            entries.Add(new WatchEntry(gpa + done, Math.Min((uint)length - done, KvmiConstants.MaxWatchLength), kinds));
        return SetWatchesAsync(entries.ToArray(), 0, cancellation);
    }

    /// <summary>Watches many ranges, 511 in a message, all messages at once.</summary>
    /// <param name="entries">Where ranges overlap, the later one counts.</param>
    /// <param name="view">The view they are for.</param>
    /// <param name="cancellation">Gives up waiting.</param>
    /// <exception cref="KvmiException">The first error of the first message that has one. All other entries are applied.</exception>
    public async ValueTask SetWatchesAsync(ReadOnlyMemory<WatchEntry> entries, ushort view = 0, CancellationToken cancellation = default)
    {
        while (!entries.IsEmpty)
        {
            var replies = new List<ValueTask>();
            for (; replies.Count < PageSplit.Window && !entries.IsEmpty;)
            {
                ReadOnlyMemory<WatchEntry> batch = entries[..Math.Min(entries.Length, KvmiConstants.MaxWatchEntries)];
                replies.Add(_connection.RunAsync(new VmSetWatches((ushort)batch.Length, view), batch, cancellation));
                entries = entries[batch.Length..];
            }

            await AwaitAll(replies.ToArray()).ConfigureAwait(false);
        }
    }

    /// <summary>Asks how many watches there are, what they cost, and how many accesses they let pass inside the VM.</summary>
    public ValueTask<VmGetWatchInfoReply> GetWatchInfoAsync(CancellationToken cancellation = default) =>
        Ask<VmGetWatchInfo, VmGetWatchInfoReply>(default, cancellation);
}
