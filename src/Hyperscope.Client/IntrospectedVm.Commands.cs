using System.Runtime.CompilerServices;

namespace Hyperscope.Client;

public sealed partial class IntrospectedVm
{
    private readonly PageAccessLedger? _ledger;

    /// <summary>The rights that this connection gave to pages and that are not <c>rwx</c>, in order of frames.</summary>
    /// <remarks>This is what this tool asked for: the protocol has no way to ask the VM, and says nothing of pages that were skipped for
    /// having no memory. Empty unless <see cref="IntrospectionOptions.RememberPageAccess"/> is set.</remarks>
    public IReadOnlyList<KeyValuePair<Gfn, PageAccess>> PageAccesses => _ledger?.Restricted() ?? [];

    /// <summary>Sends a command that has no reply data.</summary>
    public ValueTask SendAsync<TCommand>(ICommand<TCommand> command, CancellationToken cancellation = default)
        where TCommand : unmanaged, ICommand<TCommand> =>
        _connection.RunAsync((TCommand)command, default(ReadOnlyMemory<byte>), cancellation);

    /// <summary>Sends a command and returns its reply.</summary>
    public ValueTask<TReply> SendAsync<TCommand, TReply>(ICommand<TCommand, TReply> command, CancellationToken cancellation = default)
        where TCommand : unmanaged, ICommand<TCommand>
        where TReply : unmanaged =>
        _connection.RunAsync(
            (TCommand)command, default(ReadOnlyMemory<byte>), ReplyReaders.Fixed<TReply>.Read, default, cancellation);

    /// <summary>Sends a command and returns the bytes of its reply.</summary>
    public ValueTask<byte[]> SendAsync<TCommand>(IBytesCommand<TCommand> command, CancellationToken cancellation = default)
        where TCommand : unmanaged, ICommand<TCommand> =>
        _connection.RunAsync((TCommand)command, default(ReadOnlyMemory<byte>), ReplyReaders.Copy, default, cancellation);

    /// <summary>Sends a command with the data that follows it.</summary>
    public ValueTask SendAsync<TCommand>(
        ITailedCommand<TCommand> command, ReadOnlyMemory<byte> tail, CancellationToken cancellation = default)
        where TCommand : unmanaged, ITailedCommand<TCommand> => _connection.RunAsync((TCommand)command, tail, cancellation);

    /// <summary>Sends a command that has no reply data and blocks until it is answered. Made for handlers of <see cref="On{T}"/>, where it
    /// goes on reading; events that arrive meanwhile wait until the handler returns.</summary>
    public void Send<TCommand>(ICommand<TCommand> command, CancellationToken cancellation = default)
        where TCommand : unmanaged, ICommand<TCommand> =>
        _connection.Run((TCommand)command, default(ReadOnlyMemory<byte>), Nothing.Read, default, cancellation);

    /// <summary>Sends a command and blocks until its reply is there.</summary>
    /// <inheritdoc cref="Send{TCommand}(ICommand{TCommand}, CancellationToken)"/>
    public TReply Send<TCommand, TReply>(ICommand<TCommand, TReply> command, CancellationToken cancellation = default)
        where TCommand : unmanaged, ICommand<TCommand>
        where TReply : unmanaged =>
        _connection.Run((TCommand)command, default(ReadOnlyMemory<byte>), ReplyReaders.Fixed<TReply>.Read, default, cancellation);

    /// <summary>Sends a command and blocks until the bytes of its reply are there.</summary>
    /// <inheritdoc cref="Send{TCommand}(ICommand{TCommand}, CancellationToken)"/>
    public byte[] Send<TCommand>(IBytesCommand<TCommand> command, CancellationToken cancellation = default)
        where TCommand : unmanaged, ICommand<TCommand> =>
        _connection.Run((TCommand)command, default(ReadOnlyMemory<byte>), ReplyReaders.Copy, default, cancellation);

    /// <summary>Sends a command with the data that follows it and blocks until it is answered.</summary>
    /// <inheritdoc cref="Send{TCommand}(ICommand{TCommand}, CancellationToken)"/>
    public void Send<TCommand>(ITailedCommand<TCommand> command, ReadOnlyMemory<byte> tail, CancellationToken cancellation = default)
        where TCommand : unmanaged, ITailedCommand<TCommand> =>
        _connection.Run((TCommand)command, tail, Nothing.Read, default, cancellation);

    /// <summary>Asks for protocol version and features.</summary>
    public ValueTask<GetVersionReply> GetVersionAsync(CancellationToken cancellation = default) =>
        Ask<GetVersion, GetVersionReply>(default, cancellation);

    /// <summary>Asks for the number of vCPUs, and brings <see cref="Vcpus"/> up to date.</summary>
    public async ValueTask<VmGetInfoReply> GetInfoAsync(CancellationToken cancellation = default)
    {
        VmGetInfoReply info = await Ask<VmGetInfo, VmGetInfoReply>(default, cancellation).ConfigureAwait(false);
        SetVcpuCount(info.VcpuCount);
        return info;
    }

    /// <summary>Asks whether a command is known and allowed.</summary>
    /// <returns><see cref="KvmError.None"/>, <see cref="KvmError.NotFound"/> or <see cref="KvmError.NotPermitted"/>.</returns>
    public ValueTask<KvmError> CheckCommandAsync(MessageId command, CancellationToken cancellation = default) =>
        VerdictOf(Tell(new VmCheckCommand(command), cancellation));

    /// <summary>Asks whether an event is known and allowed.</summary>
    /// <inheritdoc cref="CheckCommandAsync"/>
    public ValueTask<KvmError> CheckEventAsync(EventId eventId, CancellationToken cancellation = default) =>
        VerdictOf(Tell(new VmCheckEvent(eventId), cancellation));

    /// <summary>Switches the UNHOOK event on or off.</summary>
    public ValueTask ControlEventAsync(EventId eventId, bool enable, CancellationToken cancellation = default) =>
        Tell(new VmControlEvents(eventId, enable), cancellation);

    /// <summary>Switches an event on for the VM, or for all of its vCPUs.</summary>
    public ValueTask EnableAsync(EventId eventId, CancellationToken cancellation = default) =>
        SwitchAsync(eventId, enable: true, cancellation);

    /// <summary>Switches an event off for the VM, or for all of its vCPUs.</summary>
    public ValueTask DisableAsync(EventId eventId, CancellationToken cancellation = default) =>
        SwitchAsync(eventId, enable: false, cancellation);

    /// <summary>Chooses whether the VM undoes interceptions of this tool when it leaves. Page restrictions are lifted in any
    /// case.</summary>
    public ValueTask ControlCleanupAsync(bool enable, CancellationToken cancellation = default) =>
        Tell(new VmControlCleanup(enable), cancellation);

    /// <summary>Asks for the end of guest memory: one past the highest frame.</summary>
    public async ValueTask<Gfn> GetMaxGfnAsync(CancellationToken cancellation = default) =>
        (await Ask<VmGetMaxGfn, VmGetMaxGfnReply>(default, cancellation).ConfigureAwait(false)).Gfn;

    /// <summary>Stops every vCPU. A <see cref="PauseVcpuEvent"/> follows for each; when this completes, none executes guest code.</summary>
    public async ValueTask PauseAsync(CancellationToken cancellation = default)
    {
        var pauses = new ValueTask[Vcpus.Count];
        for (int i = 0; i < pauses.Length; i++)
            pauses[i] = Vcpus[i].PauseAsync(wait: true, cancellation);
        await AwaitAll(pauses).ConfigureAwait(false);
    }

    /// <summary>Sets the rights of the page that <paramref name="gpa"/> lies in. Access beyond them raises a
    /// <see cref="PageFaultEvent"/> on vCPUs where that is enabled.</summary>
    public ValueTask SetPageAccessAsync(Gpa gpa, PageAccess access, CancellationToken cancellation = default) =>
        SetPageAccessAsync(new[] { new PageAccessEntry(gpa, access) }.AsMemory(), cancellation);

    /// <summary>Sets the rights of one page.</summary>
    public ValueTask SetPageAccessAsync(Gfn gfn, PageAccess access, CancellationToken cancellation = default) =>
        SetPageAccessAsync(gfn.Address, access, cancellation);

    /// <summary>Sets the rights of <paramref name="count"/> neighbouring pages.</summary>
    public ValueTask SetPageAccessAsync(Gfn first, int count, PageAccess access, CancellationToken cancellation = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        var entries = new PageAccessEntry[count];
        for (int i = 0; i < count; i++)
            entries[i] = new PageAccessEntry(new Gfn(first.Value + (ulong)i).Address, access);
        return SetPageAccessAsync(entries.AsMemory(), cancellation);
    }

    /// <summary>Sets the rights of many pages.</summary>
    public ValueTask SetPageAccessAsync(
        IEnumerable<KeyValuePair<Gfn, PageAccess>> pages, CancellationToken cancellation = default) =>
        SetPageAccessAsync(
            pages.Select(static page => new PageAccessEntry(page.Key.Address, page.Value)).ToArray().AsMemory(), cancellation);

    /// <summary>Sets the rights of many pages, 511 in a message, all messages at once.</summary>
    /// <exception cref="KvmiException">The first error of the first message that has one. All other entries are applied: nothing is
    /// rolled back.</exception>
    public async ValueTask SetPageAccessAsync(ReadOnlyMemory<PageAccessEntry> entries, CancellationToken cancellation = default)
    {
        int messages = (entries.Length + KvmiConstants.MaxPageAccessEntries - 1) / KvmiConstants.MaxPageAccessEntries;
        var replies = new ValueTask[Math.Min(messages, PageSplit.Window)];
        while (!entries.IsEmpty)
        {
            int count = 0;
            ReadOnlyMemory<PageAccessEntry> rest = entries;
            for (; count < replies.Length && !rest.IsEmpty; count++)
            {
                ReadOnlyMemory<PageAccessEntry> batch = rest[..Math.Min(rest.Length, KvmiConstants.MaxPageAccessEntries)];
                replies[count] = _connection.RunAsync(new VmSetPageAccess((ushort)batch.Length), batch, cancellation);
                rest = rest[batch.Length..];
            }

            _ledger?.Note(entries[..^rest.Length].Span);
            await AwaitAll(replies.AsMemory(0, count)).ConfigureAwait(false);
            entries = rest;
        }
    }

    /// <summary>Leaves the VM in good order: asks it to undo interceptions, sets the pages that this connection remembers back to
    /// <c>rwx</c> (<see cref="IntrospectionOptions.RememberPageAccess"/>), then ends the connection. What the VM refuses is left to its own
    /// clean-up.</summary>
    public async ValueTask UnhookAsync(CancellationToken cancellation = default)
    {
        try
        {
            PageAccessEntry[] pages =
                [.. PageAccesses.Select(static page => new PageAccessEntry(page.Key.Address, PageAccess.All, visible: false))];
            await SetPageAccessAsync(pages, cancellation).ConfigureAwait(false);
            await ControlCleanupAsync(enable: true, cancellation).ConfigureAwait(false);
        }
        catch (Exception refused) when (refused is KvmiException or IOException or TimeoutException)
        {
            // The connection ends next, and with it the restrictions.
        }

        await DisposeAsync().ConfigureAwait(false);
    }

    private static async ValueTask<KvmError> VerdictOf(ValueTask check)
    {
        try
        {
            await check.ConfigureAwait(false);
            return KvmError.None;
        }
        catch (KvmiException refused) when (refused.Error is KvmError.NotFound or KvmError.NotPermitted)
        {
            return refused.Error;
        }
    }

    private static async ValueTask AwaitAll(ReadOnlyMemory<ValueTask> tasks)
    {
        System.Runtime.ExceptionServices.ExceptionDispatchInfo? failure = null;
        for (int i = 0; i < tasks.Length; i++)
        {
            try
            {
                await tasks.Span[i].ConfigureAwait(false);
            }
            catch (Exception caught)
            {
                failure ??= System.Runtime.ExceptionServices.ExceptionDispatchInfo.Capture(caught);
            }
        }

        failure?.Throw();
    }

    private async ValueTask SwitchAsync(EventId eventId, bool enable, CancellationToken cancellation)
    {
        if (eventId is EventId.Unhook or EventId.CreateVcpu)
        {
            await ControlEventAsync(eventId, enable, cancellation).ConfigureAwait(false);
            return;
        }

        var replies = new ValueTask[Vcpus.Count];
        for (int i = 0; i < replies.Length; i++)
            replies[i] = Vcpus[i].ControlEventAsync(eventId, enable, cancellation);
        await AwaitAll(replies).ConfigureAwait(false);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ValueTask Tell<TCommand>(in TCommand command, CancellationToken cancellation)
        where TCommand : unmanaged, ICommand<TCommand> => _connection.RunAsync(command, default(ReadOnlyMemory<byte>), cancellation);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ValueTask<TReply> Ask<TCommand, TReply>(in TCommand command, CancellationToken cancellation)
        where TCommand : unmanaged, ICommand<TCommand, TReply>
        where TReply : unmanaged =>
        _connection.RunAsync(command, default(ReadOnlyMemory<byte>), ReplyReaders.Fixed<TReply>.Read, default, cancellation);
}
