namespace Hyperscope.Guard;

/// <summary>Code and constants of modules. A module is guarded from the moment before its first own instruction on.</summary>
internal sealed class ModulesRule : GuardRule
{
    private readonly Verdict _patching;
    private readonly Lock _gate = new();
    private readonly Dictionary<ulong, List<GuardedRange>> _guarded = []; // by address of struct module
    private GuardSession _session = null!;
    private long _bytesLeft; // modules do not overlap, so all of them fit where modules are loaded

    public ModulesRule(RuleSettings settings)
        : base(settings) => _patching = settings.OneOf("patching", "allow", "log") == "log" ? Verdict.Log : Verdict.Allow;

    public override async Task PlanAsync(GuardPlan plan, CancellationToken cancellation)
    {
        _session = plan.Session;
        _bytesLeft = (long)plan.Guest.Layout.Modules.Length;
        foreach (LinuxModule module in await plan.Guest.ModulesAsync(cancellation).ConfigureAwait(false))
        {
            var ranges = new List<GuardedRange>();
            foreach ((ModulePart part, KernelRange range) in module.Parts)
            {
                if (module.State != "Live" || part is not (ModulePart.Text or ModulePart.Rodata or ModulePart.RodataAfterInit))
                    continue;
                if (!TryTake(range))
                    throw new LinuxGuestException($"module {module.Name} and those before it do not fit into {plan.Guest.Layout.Modules}");
                int before = plan.Ranges.Count;
                await plan.RestrictAsync(this, Label(module, part), range, PageAccess.Write, cancellation).ConfigureAwait(false);
                ranges.AddRange(plan.Ranges.Skip(before));
            }

            _guarded[module.Address.Value] = ranges;
        }

        plan.Hook("do_init_module", new GuardHook(this, OnLoadAsync));
        plan.Hook("free_module", new GuardHook(this, OnFreeAsync));
    }

    public override async ValueTask<Judgement> JudgeAsync(GuardEvent access, CancellationToken cancellation) =>
        await TextPatching.IsWriterAsync(access, cancellation).ConfigureAwait(false)
            ? new Judgement(_patching, "the kernel patches itself")
            : Violation();

    private static string Label(LinuxModule module, ModulePart part) =>
        part == ModulePart.Text ? $"code of module {module.Name}" : $"constants of module {module.Name}";

    // What is constant only after its own initialisation stays writable: there is no moment at which the kernel says so.
    private async ValueTask OnLoadAsync(HookCall call, CancellationToken cancellation)
    {
        ulong address = call.Registers.Rdi;
        LinuxModule module = await _session.Guest.ModuleAtAsync(new Gva(address), cancellation).ConfigureAwait(false);
        var ranges = new List<GuardedRange>();
        GuestReader memory = _session.Guest.OpenMemory();
        foreach ((ModulePart part, KernelRange range) in module.Parts)
        {
            if (part is (ModulePart.Text or ModulePart.Rodata) && TryTake(range))
            {
                ranges.AddRange(await KernelRanges.ResolveAsync(
                    this, Label(module, part), range, PageAccess.Write, isWatch: false, _session.Guest, memory, cancellation).ConfigureAwait(false));
            }
        }

        List<GuardedRange> before;
        lock (_gate)
        {
            if (!_guarded.ContainsKey(address) && _guarded.Count >= HiddenModuleRule.MaxModules)
                throw new LinuxGuestException($"{HiddenModuleRule.MaxModules} modules are guarded already; the one at 0x{address:x} is not");
            before = _guarded.GetValueOrDefault(address, []);
            _guarded[address] = ranges;
            GiveBack(before);
        }

        await _session.ChangeAsync(before, ranges, cancellation).ConfigureAwait(false);
    }

    private bool TryTake(KernelRange range)
    {
        lock (_gate)
        {
            if (!_session.Guest.Layout.Modules.Contains(range.Start) || (long)range.Length > _bytesLeft)
                return false;
            _bytesLeft -= (long)range.Length;
            return true;
        }
    }

    private void GiveBack(List<GuardedRange> ranges) => _bytesLeft += ranges.Sum(static range => (long)range.Length);

    private async ValueTask OnFreeAsync(HookCall call, CancellationToken cancellation)
    {
        List<GuardedRange>? ranges;
        lock (_gate)
        {
            if (_guarded.Remove(call.Registers.Rdi, out ranges))
                GiveBack(ranges);
        }

        if (ranges is not null)
            await _session.ChangeAsync(ranges, [], cancellation).ConfigureAwait(false);
    }
}

/// <summary>The list of modules: its pointers are written by the kernel's own text only, and all code where
/// modules are loaded belongs to one that it names.</summary>
internal sealed class HiddenModuleRule : GuardRule
{
    /// <summary>Modules that are followed at most: a guest may say of anything that it is one.</summary>
    public const int MaxModules = 1 << 16;

    private readonly Lock _gate = new();
    private readonly Dictionary<ulong, List<GuardedRange>> _links = []; // by address of struct module
    private readonly int _every;
    private GuardSession _session = null!;
    private ulong _offset;

    public HiddenModuleRule(RuleSettings settings)
        : base(settings) => _every = settings.Number("every", 0, 0, 3600);

    public override TimeSpan? CheckInterval => _every == 0 ? null : TimeSpan.FromSeconds(_every);

    public override async Task PlanAsync(GuardPlan plan, CancellationToken cancellation)
    {
        _session = plan.Session;
        _offset = (ulong)plan.Guest.Btf.StructOf("module").Offset("list");
        Gva head = plan.Guest.Symbols.AddressOf("modules");
        await plan.WatchAsync(this, "list of modules", new KernelRange(head, head + 16), PageAccess.Write, cancellation).ConfigureAwait(false);
        foreach (LinuxModule module in await plan.Guest.ModulesAsync(cancellation).ConfigureAwait(false))
        {
            Gva link = module.Address + _offset;
            int before = plan.Ranges.Count;
            await plan.WatchAsync(this, $"link of module {module.Name}", new KernelRange(link, link + 16), PageAccess.Write, cancellation).ConfigureAwait(false);
            _links[module.Address.Value] = [.. plan.Ranges.Skip(before)];
        }

        plan.Hook("do_init_module", new GuardHook(this, OnLoadAsync));
        plan.Hook("free_module", new GuardHook(this, OnFreeAsync));
    }

    public override ValueTask<Judgement> JudgeAsync(GuardEvent access, CancellationToken cancellation) =>
        new(access.Guest.Layout.Text.Contains(new Gva(access.Registers.Rip)) ? Legitimate() : Violation("a link of the list of modules"));

    public override async Task<IReadOnlyList<string>> CheckAsync(LinuxGuest guest, CancellationToken cancellation)
    {
        GuestList<LinuxModule> modules = await guest.ModulesAsync(cancellation).ConfigureAwait(false);
        GuestList<KernelRange> unowned = await guest.UnownedCodeAsync(cancellation).ConfigureAwait(false);
        return
        [
            .. modules.Where(static module => module is { IsHidden: true, State: "Live" })
                .Select(static module => $"module {module.Name} at {module.Base} is missing in {module.Missing}, found in {module.Found}"),
            .. unowned.Select(static range => $"{range.Length} bytes of code at {range.Start} belong to no module and to nothing else"),
        ];
    }

    private async ValueTask OnLoadAsync(HookCall call, CancellationToken cancellation)
    {
        var link = new Gva(call.Registers.Rdi + _offset);
        List<GuardedRange> ranges = await KernelRanges.ResolveAsync(this, "link of a module", new KernelRange(link, link + 16), PageAccess.Write,
            isWatch: true, _session.Guest, _session.Guest.OpenMemory(), cancellation).ConfigureAwait(false);
        if (ranges.Count == 0)
            return;
        List<GuardedRange>? before;
        lock (_gate)
        {
            if (!_links.Remove(call.Registers.Rdi, out before) && _links.Count >= MaxModules)
                throw new LinuxGuestException($"{MaxModules} modules are watched already; the one at 0x{call.Registers.Rdi:x} is not");
            _links[call.Registers.Rdi] = ranges;
        }

        await _session.ChangeAsync(before ?? [], ranges, cancellation).ConfigureAwait(false);
    }

    private async ValueTask OnFreeAsync(HookCall call, CancellationToken cancellation)
    {
        List<GuardedRange>? ranges;
        lock (_gate)
            _links.Remove(call.Registers.Rdi, out ranges);
        if (ranges is not null)
            await _session.ChangeAsync(ranges, [], cancellation).ConfigureAwait(false);
    }
}

/// <summary>The list of processes agrees with the index of pids.</summary>
internal sealed class HiddenProcessRule : GuardRule
{
    private readonly int _every;

    public HiddenProcessRule(RuleSettings settings)
        : base(settings) => _every = settings.Number("every", 0, 0, 3600);

    public override TimeSpan? CheckInterval => _every == 0 ? null : TimeSpan.FromSeconds(_every);

    public override Task PlanAsync(GuardPlan plan, CancellationToken cancellation) => Task.CompletedTask;

    public override async Task<IReadOnlyList<string>> CheckAsync(LinuxGuest guest, CancellationToken cancellation) =>
        [.. (await guest.ProcessesAsync(cancellation).ConfigureAwait(false))
            .Where(static process => process.IsHidden && process.State != 'X')
            .Select(static process => $"process {process.Pid} ({process.Comm}) is in one of list and index only: {process.Found}")];
}
