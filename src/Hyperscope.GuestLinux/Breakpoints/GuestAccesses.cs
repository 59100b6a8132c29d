using System.Diagnostics.CodeAnalysis;

namespace Hyperscope.GuestLinux;

/// <summary>What to do when a vCPU is about to execute the instruction at a breakpoint. The event is answered by others.</summary>
/// <param name="Look">Looks at it while the vCPU waits.</param>
/// <param name="IsIdle">Says that there is nothing to look at, on the connection's own thread, which is cheaper by far: it may use
/// <see cref="IntrospectedVm.Send{T}(IBytesCommand{T}, CancellationToken)"/>. Null: there always is.</param>
public sealed record GuestBreakpoint(Func<VmEvent<AccessEvent>, ValueTask> Look, Func<VmEvent<AccessEvent>, bool>? IsIdle = null);

/// <summary>The ACCESS events of a guest's connection, for all who want some of them. A connection has one taker for each kind of event: this is
/// that taker, so that a guard and a watch work side by side on one <see cref="LinuxGuest"/>.</summary>
/// <remarks>Safe from any thread. Needs a VM that watches bytes.</remarks>
[SuppressMessage("Design", "CA1001", Justification = "a semaphore whose wait handle nobody asks for holds nothing to dispose of")]
public sealed class GuestAccesses
{
    private readonly LinuxGuest _guest;
    private readonly SemaphoreSlim _gate = new(1, 1); // who may start or end something
    private readonly Lock _places = new();
    private readonly Dictionary<ulong, GuestBreakpoint[]> _breakpoints = []; // by gpa
    private Func<VmEvent<AccessEvent>, ValueTask>? _taker;
    private IDisposable? _registration;
    private bool _isForgone;

    internal GuestAccesses(LinuxGuest guest) => _guest = guest;

    /// <summary>Whether the VM can.</summary>
    public async ValueTask<bool> AreKnownAsync(CancellationToken cancellation = default) =>
        await _guest.Vm.CheckCommandAsync(MessageId.VmSetWatches, cancellation).ConfigureAwait(false) == KvmError.None
        && await _guest.Vm.CheckEventAsync(EventId.Access, cancellation).ConfigureAwait(false) == KvmError.None;

    /// <summary>Takes all accesses that are no breakpoint's.</summary>
    /// <param name="taker">Answers each.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <exception cref="InvalidOperationException">There is such a taker already, or the connection has another handler of these events.</exception>
    public async Task TakeAsync(Func<VmEvent<AccessEvent>, ValueTask> taker, CancellationToken cancellation = default)
    {
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            if (_taker is not null)
                throw new InvalidOperationException("the accesses of this guest are taken already; there can be one guard on a connection");
            await StartAsync(cancellation).ConfigureAwait(false);
            _taker = taker;
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Ends that. What is restricted or watched still goes through from now on.</summary>
    public async Task ReleaseAsync(CancellationToken cancellation = default)
    {
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            _taker = null;
            await EndIfUnusedAsync(cancellation).ConfigureAwait(false);
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Stops vCPUs at instructions. Nothing in the guest is changed.</summary>
    /// <param name="places">First bytes of instructions.</param>
    /// <param name="handler">Used each time; several at one place are used one after the other.</param>
    /// <param name="cancellation">Gives up.</param>
    public async Task AddBreakpointsAsync(IReadOnlyCollection<Gpa> places, GuestBreakpoint handler, CancellationToken cancellation = default)
    {
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            await StartAsync(cancellation).ConfigureAwait(false);
            var added = new List<WatchEntry>();
            lock (_places)
            {
                foreach (Gpa place in places)
                {
                    GuestBreakpoint[] present = _breakpoints.GetValueOrDefault(place.Value, []);
                    _breakpoints[place.Value] = [.. present, handler];
                    if (present.Length == 0)
                        added.Add(new WatchEntry(place, 1, PageAccess.Execute));
                }
            }

            if (added.Count == 0)
                return;
            try
            {
                await _guest.Vm.SetWatchesAsync(added.ToArray(), 0, cancellation).ConfigureAwait(false);
            }
            catch
            {
                // Some of them may be there.
                await ForgetAsync(places, handler, CancellationToken.None).ConfigureAwait(false);
                throw;
            }
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Ends that for places and a handler.</summary>
    public async Task RemoveBreakpointsAsync(IReadOnlyCollection<Gpa> places, GuestBreakpoint handler, CancellationToken cancellation = default)
    {
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            await ForgetAsync(places, handler, cancellation).ConfigureAwait(false);
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Leaves the events of pages to somebody who patches text: while ACCESS events are enabled, there are no others of pages.</summary>
    /// <exception cref="InvalidOperationException">There are breakpoints, or there is a taker.</exception>
    internal async Task ForgoAsync(CancellationToken cancellation)
    {
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            if (_registration is not null)
                throw new InvalidOperationException("a guard or a watch takes the accesses of this guest; its text cannot be patched meanwhile");
            _isForgone = true;
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Ends that.</summary>
    internal async Task TakeBackAsync()
    {
        await _gate.WaitAsync().ConfigureAwait(false);
        _isForgone = false;
        _gate.Release();
    }

    private async Task ForgetAsync(IReadOnlyCollection<Gpa> places, GuestBreakpoint handler, CancellationToken cancellation)
    {
        try
        {
            var removed = new List<WatchEntry>();
            lock (_places)
            {
                foreach (Gpa place in places)
                {
                    if (!_breakpoints.TryGetValue(place.Value, out GuestBreakpoint[]? present))
                        continue;
                    GuestBreakpoint[] rest = [.. present.Where(other => other != handler)];
                    if (rest.Length != 0)
                    {
                        _breakpoints[place.Value] = rest;
                        continue;
                    }

                    _breakpoints.Remove(place.Value);
                    removed.Add(new WatchEntry(place, 1, PageAccess.None));
                }
            }

            if (removed.Count != 0)
                await _guest.Vm.SetWatchesAsync(removed.ToArray(), 0, cancellation).ConfigureAwait(false);
        }
        finally
        {
            await EndIfUnusedAsync(cancellation).ConfigureAwait(false);
        }
    }

    private async Task StartAsync(CancellationToken cancellation)
    {
        if (_registration is not null)
            return;
        if (_isForgone)
            throw new InvalidOperationException("a watch that patches this guest's text takes the events of its pages");
        IDisposable registration = _guest.Vm.OnSplit<AccessEvent>(IsDealtWith, HandleAsync);
        try
        {
            await _guest.Vm.EnableAsync(EventId.Access, cancellation).ConfigureAwait(false);
        }
        catch
        {
            registration.Dispose();
            throw;
        }

        _registration = registration;
    }

    private async Task EndIfUnusedAsync(CancellationToken cancellation)
    {
        if (_registration is null || _taker is not null || _breakpoints.Count != 0)
            return;
        try
        {
            await _guest.Vm.DisableAsync(EventId.Access, cancellation).ConfigureAwait(false);
        }
        finally
        {
            _registration.Dispose();
            _registration = null;
        }
    }

    private GuestBreakpoint[] BreakpointsAt(Gpa gpa)
    {
        lock (_places)
            return _breakpoints.GetValueOrDefault(gpa.Value, []);
    }

    private bool IsDealtWith(VmEvent<AccessEvent> access)
    {
        if (access.Access != PageAccess.Execute)
            return false;
        GuestBreakpoint[] handlers = BreakpointsAt(access.Gpa);
        if (handlers.Length == 0)
            return false;
        foreach (GuestBreakpoint handler in handlers)
        {
            if (handler.IsIdle is not { } isIdle || !isIdle(access))
                return false;
        }

        Answers.IfPending(access.Untyped, EventAction.Continue);
        return true;
    }

    private async ValueTask HandleAsync(VmEvent<AccessEvent> access)
    {
        GuestBreakpoint[] handlers = access.Access == PageAccess.Execute ? BreakpointsAt(access.Gpa) : [];
        if (handlers.Length == 0 && _taker is { } taker)
        {
            await taker(access).ConfigureAwait(false);
            return;
        }

        try
        {
            foreach (GuestBreakpoint handler in handlers)
                await handler.Look(access).ConfigureAwait(false);
        }
        finally
        {
            Answers.IfPending(access.Untyped, EventAction.Continue);
        }
    }
}
