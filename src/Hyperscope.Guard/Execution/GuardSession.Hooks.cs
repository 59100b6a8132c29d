using System.Diagnostics;

namespace Hyperscope.Guard;

public sealed partial class GuardSession
{
    private readonly Lock _hookGate = new();
    private readonly Dictionary<ulong, GuardHook[]> _hooks = []; // by gpa
    private readonly GuestBreakpoint _breakpoint;
    private KernelValues? _kernel;
    private long _unfollowed;
    private volatile string _lastFailure = "";

    internal KernelValues Kernel => _kernel ??= new KernelValues(Vm, Guest);

    /// <summary>Has functions of the kernel's text watched for being entered.</summary>
    internal async Task HookAsync(IReadOnlyList<(string Symbol, GuardHook Hook)> hooks, CancellationToken cancellation)
    {
        var added = new List<Gpa>();
        lock (_hookGate)
        {
            foreach ((string symbol, GuardHook hook) in hooks)
            {
                Gpa gpa = PlaceOf(symbol);
                GuardHook[] present = _hooks.GetValueOrDefault(gpa.Value, []);
                _hooks[gpa.Value] = [.. present, hook];
                if (present.Length == 0)
                    added.Add(gpa);
            }
        }

        if (!HasExtensions)
            return;
        try
        {
            await Guest.Accesses.AddBreakpointsAsync(added, _breakpoint, cancellation).ConfigureAwait(false);
        }
        catch
        {
            await UnhookAsync(hooks, CancellationToken.None).ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Ends that.</summary>
    internal async Task UnhookAsync(IReadOnlyList<(string Symbol, GuardHook Hook)> hooks, CancellationToken cancellation)
    {
        var removed = new List<Gpa>();
        lock (_hookGate)
        {
            foreach ((string symbol, GuardHook hook) in hooks)
            {
                Gpa gpa = PlaceOf(symbol);
                GuardHook[] rest = [.. _hooks.GetValueOrDefault(gpa.Value, []).Where(other => other != hook)];
                if (rest.Length != 0)
                    _hooks[gpa.Value] = rest;
                else if (_hooks.Remove(gpa.Value))
                    removed.Add(gpa);
            }
        }

        if (removed.Count != 0)
            await Guest.Accesses.RemoveBreakpointsAsync(removed, _breakpoint, cancellation).ConfigureAwait(false);
    }

    private async Task UnhookAllAsync()
    {
        Gpa[] places;
        lock (_hookGate)
        {
            places = [.. _hooks.Keys.Select(static place => new Gpa(place))];
            _hooks.Clear();
        }

        if (places.Length != 0)
            await Guest.Accesses.RemoveBreakpointsAsync(places, _breakpoint).ConfigureAwait(false);
    }

    private Gpa PlaceOf(string symbol) => Guest.Layout.PhysicalOf(Guest.Symbols.AddressOf(symbol))
        ?? throw new LinuxGuestException($"kallsyms: {symbol} is not in the kernel's image");

    private GuardHook[] HooksAt(Gpa gpa)
    {
        lock (_hookGate)
            return _hooks.GetValueOrDefault(gpa.Value, []);
    }

    private bool IsHookIdle(VmEvent<AccessEvent> e)
    {
        long started = Stopwatch.GetTimestamp();
        HookCall? call = null;
        GuardHook[] hooks = HooksAt(e.Gpa);
        foreach (GuardHook hook in hooks)
        {
            if (hook.IsIdle is not { } isIdle || !isIdle(call ??= NewCall(e)))
                return false;
        }

        Arrived();
        foreach (GuardHook hook in hooks)
            _counts[hook.Rule].Count(isViolation: false);
        Left(started);
        return true;
    }

    private async ValueTask HandleHookAsync(VmEvent<AccessEvent> e)
    {
        long started = Arrived();
        try
        {
            await RunHooksAsync(HooksAt(e.Gpa), NewCall(e)).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (_untilEnded.IsCancellationRequested)
        {
            // The guard ends in the middle of it, and the guest goes on.
        }

        Left(started);
    }

    private HookCall NewCall(VmEvent<AccessEvent> e) => new(this, e.Registers, e.State.Sregs, e.State.Msrs.ShadowGs);

    private async ValueTask RunHooksAsync(GuardHook[] hooks, HookCall call)
    {
        foreach (GuardHook hook in hooks)
        {
            _counts[hook.Rule].Count(isViolation: false);
            try
            {
                await hook.Run(call, _untilEnded).ConfigureAwait(false);
            }
            catch (Exception failure) when (failure is LinuxGuestException or KvmiException)
            {
                // Arguments that lead nowhere must not end the guard, and neither must a VM that has no room for more watches.
                Interlocked.Increment(ref _unfollowed);
                _lastFailure = $"rule {hook.Rule.Name}: {failure.Message}";
            }
        }
    }
}
