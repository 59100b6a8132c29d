using System.Diagnostics;

namespace Hyperscope.Guard;

/// <summary>A policy at work on one guest.</summary>
/// <remarks>Safe from any thread. Disposing lifts everything; so does the end of the connection.</remarks>
public sealed partial class GuardSession : IAsyncDisposable
{
    private readonly GuardOptions _options;
    private readonly List<GuardRule> _rules;
    private readonly RangeMap _map = new();
    private readonly List<IDisposable> _handlers = [];
    private readonly CancellationTokenSource _ended = new();
    private readonly CancellationToken _untilEnded; // outlives its source: an event may still be judged then
    private readonly SemaphoreSlim _applying = new(1, 1); // from a change of the map until the VM has it; no event is waited for meanwhile
    private readonly List<EventId> _enabled = [];
    private GuardPlan? _plan;
    private bool _hasAccesses;
    private int _isDisposed;

    private GuardSession(IntrospectedVm vm, LinuxGuest guest, GuardPolicy policy, GuardOptions options, bool hasExtensions)
    {
        Vm = vm;
        Guest = guest;
        Policy = policy;
        _options = options;
        HasExtensions = hasExtensions;
        _untilEnded = _ended.Token;
        _rules = [.. policy.Rules.Select(static rule => rule.Kind.Create(rule))];
        foreach (GuardRule rule in _rules)
            _counts[rule] = new RuleCounts();
        _evidence = new EvidenceCollector(options);
        _cores = new CoreSaver(guest);
        _breakpoint = new GuestBreakpoint(HandleHookAsync, IsHookIdle);
    }

    /// <summary>The VM.</summary>
    public IntrospectedVm Vm { get; }

    /// <summary>The guest in it.</summary>
    public LinuxGuest Guest { get; }

    /// <summary>The policy.</summary>
    public GuardPolicy Policy { get; }

    /// <summary>The VM watches bytes and discards writes itself; see docs/guard.md for what is done without.</summary>
    public bool HasExtensions { get; }

    /// <summary>The rules at work.</summary>
    public IReadOnlyList<GuardRule> Rules => _rules;

    /// <summary>What was restricted, once <see cref="ArmAsync"/> is through.</summary>
    public GuardArming? Arming { get; private set; }

    /// <summary>Makes a guard; nothing is restricted yet.</summary>
    public static async Task<GuardSession> CreateAsync(
        IntrospectedVm vm, LinuxGuest guest, GuardPolicy policy, GuardOptions? options = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(vm);
        ArgumentNullException.ThrowIfNull(guest);
        options ??= new GuardOptions();
        bool hasExtensions = !options.OnlyV9 && await guest.Accesses.AreKnownAsync(cancellation).ConfigureAwait(false);
        return new GuardSession(vm, guest, policy, options, hasExtensions);
    }

    /// <summary>Looks up what the policy comes to on this guest, without restricting anything.</summary>
    public async Task<GuardPlan> PlanAsync(CancellationToken cancellation = default)
    {
        var plan = new GuardPlan(this);
        foreach (GuardRule rule in _rules)
            await AskAsync(rule, plan, (wanted, token) => PlanAsync(rule, wanted, token), cancellation).ConfigureAwait(false);
        return plan;
    }

    /// <summary>Restricts, watches and pins what the policy says.</summary>
    public async Task<GuardArming> ArmAsync(CancellationToken cancellation = default)
    {
        long started = Stopwatch.GetTimestamp();
        GuardPlan plan = await PlanAsync(cancellation).ConfigureAwait(false);
        TimeSpan planned = Stopwatch.GetElapsedTime(started);
        started = Stopwatch.GetTimestamp();
        _plan = plan;
        await ListenAsync(plan, cancellation).ConfigureAwait(false);
        await RehearseAsync(plan, cancellation).ConfigureAwait(false);
        TimeSpan prepared = Stopwatch.GetElapsedTime(started);
        started = Stopwatch.GetTimestamp();

        // Nothing waits for the reply to anything else: each round trip is a turn of the scheduler on a busy host.
        await Task.WhenAll(
            AddRangesAsync(plan.Ranges, cancellation),
            ControlRegistersAsync(plan, enable: true, cancellation),
            HookAsync(plan.Hooks, cancellation)).ConfigureAwait(false);
        TimeSpan armed = Stopwatch.GetElapsedTime(started);
        foreach (GuardRule rule in _rules)
            await AskAsync(rule, plan, rule.ArmedAsync, cancellation).ConfigureAwait(false);
        StartChecks();
        Arming = new GuardArming(
            _map.RestrictedPages, plan.Ranges.Where(static range => range.IsWatch).Sum(static range => (long)range.Length),
            plan.Ranges.Where(static range => range.IsWatch).SelectMany(Frames).Distinct().Count(),
            plan.Controls.Count + plan.Msrs.Count + plan.Tables.Count, planned, prepared, armed, HasExtensions, plan.Notes);
        return Arming;
    }

    /// <summary>Guards more, or ends guarding it: for rules whose objects come and go.</summary>
    internal Task ChangeAsync(IReadOnlyList<GuardedRange> removed, IReadOnlyList<GuardedRange> added, CancellationToken cancellation) => ApplyAsync(
        () =>
        {
            // One that began before the end comes too late after it.
            if (_untilEnded.IsCancellationRequested)
                return [];
            foreach (GuardedRange range in removed)
                _map.Remove(range);
            foreach (GuardedRange range in added)
                _map.Add(range);
            return [.. removed, .. added];
        },
        cancellation);

    internal async Task<IReadOnlyList<KvmSregs>> SystemRegistersAsync(CancellationToken cancellation)
    {
        var all = new List<KvmSregs>();
        foreach (IntrospectedVcpu vcpu in Vm.Vcpus)
            all.Add((await vcpu.GetRegistersAsync(default, cancellation).ConfigureAwait(false)).System);
        return all;
    }

    /// <summary>Lifts everything.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _isDisposed, 1) != 0)
            return;
        await _ended.CancelAsync().ConfigureAwait(false);
        await LiftAsync(UnhookAllAsync()).ConfigureAwait(false);
        await LiftAsync(ApplyAsync(_map.Clear, CancellationToken.None)).ConfigureAwait(false);
        if (_plan is { } plan)
            await LiftAsync(ControlRegistersAsync(plan, enable: false, CancellationToken.None)).ConfigureAwait(false);
        foreach (EventId id in _enabled)
            await LiftAsync(Vm.DisableAsync(id, CancellationToken.None).AsTask()).ConfigureAwait(false);
        if (_hasAccesses)
            await LiftAsync(Guest.Accesses.ReleaseAsync(CancellationToken.None)).ConfigureAwait(false);
        await _checking.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        foreach (IDisposable handler in _handlers)
            handler.Dispose();
        _handlers.Clear();
        _ended.Dispose();
    }

    // What is refused must not keep the rest from being lifted.
    private static async Task LiftAsync(Task lifting)
    {
        try
        {
            await lifting.ConfigureAwait(false);
        }
        catch (Exception refused) when (refused is KvmiException or IOException or TimeoutException)
        {
            // Mostly the connection has ended, and with it the restrictions.
        }
    }

    // A kernel that lacks what one rule needs is guarded by the others.
    private static async Task AskAsync(GuardRule rule, GuardPlan plan, Func<GuardPlan, CancellationToken, Task> ask, CancellationToken cancellation)
    {
        try
        {
            await ask(plan, cancellation).ConfigureAwait(false);
        }
        catch (LinuxGuestException missing)
        {
            plan.Note($"rule {rule.Name}: {missing.Message}");
        }
    }

    private static Task PlanAsync(GuardRule rule, GuardPlan plan, CancellationToken cancellation)
    {
        if (rule.Settings.Verdict == Verdict.Redirect)
            _ = plan.Guest.Symbols.AddressOf(rule.Settings.Text("target"));
        return rule.PlanAsync(plan, cancellation);
    }

    private static IEnumerable<ulong> Frames(GuardedRange range) => Enumerable.Range(0, range.Pages).Select(page => range.First.Value + (ulong)page);

    // Asks for events; as long as nothing is restricted none will come.
    private async Task ListenAsync(GuardPlan plan, CancellationToken cancellation)
    {
        if (HasExtensions)
        {
            await Guest.Accesses.TakeAsync(HandleAsync, cancellation).ConfigureAwait(false);
            _hasAccesses = true;
        }
        else
        {
            _handlers.Add(Vm.OnAsync<PageFaultEvent>(HandleAsync));
            _enabled.Add(EventId.PageFault);
        }

        if (plan.Controls.Count != 0)
        {
            _handlers.Add(Vm.OnAsync<CrEvent>(HandleAsync));
            _enabled.Add(EventId.Cr);
        }

        if (plan.Msrs.Count != 0)
        {
            _handlers.Add(Vm.OnAsync<MsrEvent>(HandleAsync));
            _enabled.Add(EventId.Msr);
        }

        if (plan.Tables.Count != 0)
        {
            _handlers.Add(Vm.OnAsync<DescriptorEvent>(HandleAsync));
            _enabled.Add(EventId.Descriptor);
        }

        await Task.WhenAll(_enabled.Select(id => Vm.EnableAsync(id, cancellation).AsTask())).ConfigureAwait(false);
    }

    // Says a little of what arming will, and only what is so already: the first message of a kind takes both sides longer than the thousands that
    // follow, and while a guard is half armed an attacker may come through the other half.
    private async Task RehearseAsync(GuardPlan plan, CancellationToken cancellation)
    {
        GuardedRange[] some = [.. plan.Ranges.GroupBy(static range => range.IsWatch).Select(static kind => kind.First() with { Length = 1 })];
        foreach (GuardedRange range in some)
        {
            _map.Add(range);
            _map.Remove(range);
        }

        await Task.WhenAll(
            ApplyAsync(() => some, cancellation),
            ControlRegistersAsync(plan, enable: false, cancellation),
            HookAsync([], cancellation)).ConfigureAwait(false);
    }

    private Task AddRangesAsync(IReadOnlyList<GuardedRange> ranges, CancellationToken cancellation) => ChangeAsync([], ranges, cancellation);

    // The map changes first: an event that comes at once finds its rule. One change after the other: what the VM is told last of a page
    // that several ranges lie on is what the map says last.
    private async Task ApplyAsync(Func<IReadOnlyList<GuardedRange>> change, CancellationToken cancellation)
    {
        await _applying.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            await TellAsync(change(), cancellation).ConfigureAwait(false);
        }
        finally
        {
            _applying.Release();
        }
    }

    private async Task TellAsync(IReadOnlyList<GuardedRange> ranges, CancellationToken cancellation)
    {
        var pages = new List<PageAccessEntry>();
        var watches = new List<WatchEntry>();
        var frames = new HashSet<ulong>();
        foreach (GuardedRange range in ranges)
        {
            if (range.IsWatch && HasExtensions)
                AddWatches(watches, range, _map.Contains(range) ? range.Kinds : PageAccess.None);
            else
                frames.UnionWith(Frames(range));
        }

        foreach (ulong frame in frames)
            pages.Add(new PageAccessEntry(new Gfn(frame).Address, PageAccess.All & ~_map.KindsOf(frame, withWatches: !HasExtensions)));
        Task restricting = pages.Count == 0 ? Task.CompletedTask : Vm.SetPageAccessAsync(pages.ToArray(), cancellation).AsTask();
        Task watching = watches.Count == 0 ? Task.CompletedTask : Vm.SetWatchesAsync(watches.ToArray(), 0, cancellation).AsTask();
        await Task.WhenAll(restricting, watching).ConfigureAwait(false);
    }

    private static void AddWatches(List<WatchEntry> watches, GuardedRange range, PageAccess kinds)
    {
        for (ulong done = 0; done < range.Length; done += KvmiConstants.MaxWatchLength)
        {
            uint length = (uint)Math.Min(range.Length - done, KvmiConstants.MaxWatchLength);
            watches.Add(new WatchEntry(range.Gpa + done, length, kinds));
        }
    }

    private Task ControlRegistersAsync(GuardPlan plan, bool enable, CancellationToken cancellation) => Task.WhenAll(Vm.Vcpus.SelectMany(vcpu =>
        plan.Controls.Keys.Select(register => vcpu.ControlCrAsync(register, enable, cancellation).AsTask())
            .Concat(plan.Msrs.Keys.Select(msr => vcpu.ControlMsrAsync(msr, enable, cancellation).AsTask()))));
}
