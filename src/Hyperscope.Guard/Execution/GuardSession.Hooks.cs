namespace Hyperscope.Guard;

public sealed partial class GuardSession
{
    private readonly Lock _hookGate = new();
    private readonly Dictionary<ulong, GuardHook[]> _hooks = []; // by gpa
    private KernelValues? _kernel;

    internal KernelValues Kernel => _kernel ??= new KernelValues(Vm, Guest);

    /// <summary>Has a function of the kernel's text watched for being entered.</summary>
    internal async ValueTask HookAsync(string symbol, GuardHook hook, CancellationToken cancellation)
    {
        Gpa gpa = PlaceOf(symbol);
        bool isFirst;
        lock (_hookGate)
        {
            GuardHook[] hooks = _hooks.GetValueOrDefault(gpa.Value, []);
            isFirst = hooks.Length == 0;
            _hooks[gpa.Value] = [.. hooks, hook];
        }

        if (isFirst)
            await Vm.SetWatchAsync(gpa, 1, PageAccess.Execute, cancellation).ConfigureAwait(false);
    }

    /// <summary>Ends that.</summary>
    internal async ValueTask UnhookAsync(string symbol, GuardHook hook, CancellationToken cancellation)
    {
        Gpa gpa = PlaceOf(symbol);
        lock (_hookGate)
        {
            GuardHook[] rest = [.. _hooks.GetValueOrDefault(gpa.Value, []).Where(other => other != hook)];
            if (rest.Length != 0)
            {
                _hooks[gpa.Value] = rest;
                return;
            }

            _hooks.Remove(gpa.Value);
        }

        await Vm.SetWatchAsync(gpa, 1, PageAccess.None, cancellation).ConfigureAwait(false);
    }

    private async ValueTask UnhookAllAsync()
    {
        ulong[] places;
        lock (_hookGate)
        {
            places = [.. _hooks.Keys];
            _hooks.Clear();
        }

        foreach (ulong place in places)
            await Vm.SetWatchAsync(new Gpa(place), 1, PageAccess.None, CancellationToken.None).ConfigureAwait(false);
    }

    private Gpa PlaceOf(string symbol) => Guest.Layout.PhysicalOf(Guest.Symbols.AddressOf(symbol))
        ?? throw new LinuxGuestException($"kallsyms: {symbol} is not in the kernel's image");

    private GuardHook[] HooksAt(Gpa gpa)
    {
        lock (_hookGate)
            return _hooks.GetValueOrDefault(gpa.Value, []);
    }

    private async ValueTask RunHooksAsync(GuardHook[] hooks, HookCall call)
    {
        foreach (GuardHook hook in hooks)
        {
            try
            {
                await hook(call, _ended.Token).ConfigureAwait(false);
            }
            catch (LinuxGuestException)
            {
                // Arguments that lead nowhere are the guest's own affair.
                Interlocked.Increment(ref _unconcerned);
            }
        }
    }
}
