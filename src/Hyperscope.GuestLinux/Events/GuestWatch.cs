using System.Threading.Channels;

namespace Hyperscope.GuestLinux;

/// <summary>Events of a guest, as they happen: <c>await foreach (GuestEvent e in watch)</c>. Ends with the connection, or when disposed.</summary>
/// <remarks>The guest waits while an event is decoded, which takes some round trips, and never for the reader of this. Nothing is lost
/// without being counted. It uses <see cref="LinuxGuest.Accesses"/>, so there may be several, and a guard, on one guest; on a VM that cannot watch
/// instructions it takes the BREAKPOINT and PF events, and a connection has one at a time.</remarks>
public sealed class GuestWatch : IAsyncEnumerable<GuestEvent>, IAsyncDisposable
{
    private readonly LinuxGuest _guest;
    private readonly GuestEventOptions _options;
    private readonly TaskMembers _members;
    private readonly Channel<GuestEvent> _events;
    private readonly Dictionary<ulong, EventDecoder> _decoders = [];
    private readonly CancellationTokenSource _end = new();
    private IBreakpoints? _breakpoints;
    private long _hits, _delivered, _dropped, _undecoded;
    private int _isDisposed;

    private GuestWatch(LinuxGuest guest, GuestEventOptions options)
    {
        _guest = guest;
        _options = options;
        _members = TaskMembers.Of(guest);
        _events = Channel.CreateBounded<GuestEvent>(new BoundedChannelOptions(options.Capacity) { SingleReader = true });
    }

    /// <summary>Times that the guest was stopped.</summary>
    public long Hits => Interlocked.Read(ref _hits);

    /// <summary>Events that passed the filter and were handed on.</summary>
    public long Delivered => Interlocked.Read(ref _delivered);

    /// <summary>Events that were lost because the reader was too slow.</summary>
    public long Dropped => Interlocked.Read(ref _dropped);

    /// <summary>Events that were lost because guest memory did not hold what it should.</summary>
    public long Undecoded => Interlocked.Read(ref _undecoded);

    /// <summary>Why the last of <see cref="Undecoded"/> was; empty if there is none.</summary>
    public string LastFailure { get; private set; } = "";

    /// <summary>Times that a guest function could have run unseen: see <c>docs/guest-linux.md</c>. 0 with watched instructions.</summary>
    public long Gaps => (_breakpoints as PatchedBreakpoints)?.Gaps ?? 0;

    /// <summary>How the guest is stopped, for people.</summary>
    public string Mechanism => _breakpoints?.Mechanism ?? "";

    /// <summary>The functions that are watched.</summary>
    public IReadOnlyList<string> Functions { get; private set; } = [];

    internal static async Task<GuestWatch> StartAsync(LinuxGuest guest, GuestEventOptions options, CancellationToken cancellation)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(options.Capacity, nameof(options));
        var watch = new GuestWatch(guest, options);
        try
        {
            await watch.ArmAsync(cancellation).ConfigureAwait(false);
        }
        catch
        {
            await watch.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        _ = watch.EndWithConnectionAsync();
        return watch;
    }

    /// <inheritdoc/>
    public IAsyncEnumerator<GuestEvent> GetAsyncEnumerator(CancellationToken cancellationToken = default) =>
        _events.Reader.ReadAllAsync(cancellationToken).GetAsyncEnumerator(cancellationToken);

    /// <summary>Lets the guest run unwatched. What was seen can still be read.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _isDisposed, 1) != 0)
            return;
        try
        {
            if (_breakpoints is not null)
                await _breakpoints.DisposeAsync().ConfigureAwait(false);
        }
        finally
        {
            await _end.CancelAsync().ConfigureAwait(false);
            _events.Writer.TryComplete();
        }
    }

    private async Task ArmAsync(CancellationToken cancellation)
    {
        foreach (EventRow row in EventTable.Rows)
        {
            if ((_options.Kinds & row.Kind) == 0 || (row.Kind == GuestEventKinds.FileOpened && _options.OpenPrefixes.Count == 0))
                continue;
            EventPlace place = row.Places.FirstOrDefault(place => _guest.Symbols.TryAddressOf(place.Function, out _))
                ?? throw new LinuxGuestException(
                    $"kallsyms: this kernel has none of {string.Join(", ", row.Places.Select(static place => place.Function))}, so {row.Kind} is not seen");
            _decoders[_guest.Symbols.AddressOf(place.Function).Value] = place.Decode;
        }

        if ((_options.Kinds & GuestEventKinds.SyscallEntered) != 0)
        {
            foreach ((Gva at, EventDecoder decode) in await SyscallCatalog.ChooseAsync(_guest, _options.Syscalls, cancellation).ConfigureAwait(false))
                _decoders[at.Value] = decode;
        }

        Gva[] places = [.. _decoders.Keys.Select(static place => new Gva(place))];
        if (places.Length == 0)
            throw new LinuxGuestException("no kind of event was chosen that can happen");
        Functions = [.. places.Select(_guest.Symbols.Describe)];
        bool canWatch = !_options.PatchText && await _guest.Accesses.AreKnownAsync(cancellation).ConfigureAwait(false);
        _breakpoints = canWatch ? new WatchedBreakpoints(_guest, HandleAsync) : new PatchedBreakpoints(_guest, HandleAsync);
        await _breakpoints.ArmAsync(places, cancellation).ConfigureAwait(false);
    }

    private async Task EndWithConnectionAsync()
    {
        Exception? failure = null;
        try
        {
            await _guest.Vm.Completion.WaitAsync(_end.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            // Disposed.
        }
        catch (Exception reason)
        {
            failure = reason; // the reader's to see
        }

        _events.Writer.TryComplete(failure);
    }

    private async ValueTask HandleAsync(BreakpointHit hit)
    {
        Interlocked.Increment(ref _hits);
        try
        {
            if (!_decoders.TryGetValue(hit.State.Regs.Rip, out EventDecoder? decode))
                return;
            var scene = new EventScene(_guest, _members, _options, hit, DateTimeOffset.UtcNow);
            await scene.IdentifyAsync(_end.Token).ConfigureAwait(false);
            GuestEvent? decoded = IsWantedName(scene.Origin.By) ? await decode(scene, _end.Token).ConfigureAwait(false) : null;
            if (decoded is null || !IsWantedNumber(decoded))
                return;
            if (_events.Writer.TryWrite(decoded))
                Interlocked.Increment(ref _delivered);
            else
                Interlocked.Increment(ref _dropped);
        }
        catch (Exception failure) when (failure is LinuxGuestException or KvmiException or IOException or TimeoutException or OperationCanceledException)
        {
            Interlocked.Increment(ref _undecoded);
            LastFailure = failure.Message;
        }
    }

    private bool IsWantedName(EventTask by) => (_options.Comm is null || by.Comm == _options.Comm)
        && (_options.Pid is not { } pid || (_options.Kinds & GuestEventKinds.Created) != 0 || by.Pid == pid || by.Tgid == pid);

    private bool IsWantedNumber(GuestEvent decoded) => _options.Pid is not { } pid || decoded.Origin.By.Pid == pid || decoded.Origin.By.Tgid == pid
        || (decoded is TaskCreated created && (created.Child.Pid == pid || created.Child.Tgid == pid));
}
