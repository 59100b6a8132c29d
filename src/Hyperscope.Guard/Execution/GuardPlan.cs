namespace Hyperscope.Guard;

/// <summary>Bytes that a rule guards.</summary>
/// <param name="Rule">Whose they are.</param>
/// <param name="Label">What they are called.</param>
/// <param name="Gva">Where the kernel has them.</param>
/// <param name="Gpa">Where they are in physical memory; a range lies on one page or on neighbours.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Kinds">The kinds of access that are violations.</param>
/// <param name="IsWatch">Byte for byte; otherwise whole pages are restricted.</param>
public sealed record GuardedRange(GuardRule Rule, string Label, Gva Gva, Gpa Gpa, ulong Length, PageAccess Kinds, bool IsWatch)
{
    /// <summary>Whether an access touches it.</summary>
    public bool Touches(Gpa gpa, int size) => gpa.Value < Gpa.Value + Length && gpa.Value + (ulong)Math.Max(size, 1) > Gpa.Value;

    /// <summary>First page.</summary>
    public Gfn First => Gpa.Frame;

    /// <summary>Number of pages.</summary>
    public int Pages => (int)(((Gpa.Value + Length - 1) >> Gfn.PageShift) - (Gpa.Value >> Gfn.PageShift) + 1);
}

/// <summary>What a policy comes to on one guest: collected by the rules, applied by <see cref="GuardSession"/>.</summary>
public sealed class GuardPlan
{
    private readonly List<GuardedRange> _ranges = [];
    private readonly Dictionary<byte, List<(GuardRule Rule, ulong Mask)>> _controls = [];
    private readonly Dictionary<uint, GuardRule> _msrs = [];
    private readonly Dictionary<DescriptorTable, GuardRule> _tables = [];
    private readonly List<string> _notes = [];
    private readonly List<(string Symbol, GuardHook Hook)> _hooks = [];

    internal GuardPlan(GuardSession session)
    {
        Session = session;
        Memory = session.Guest.OpenMemory();
    }

    /// <summary>The guest.</summary>
    public LinuxGuest Guest => Session.Guest;

    /// <summary>The guest's memory as it is now.</summary>
    public GuestReader Memory { get; }

    /// <summary>Pages and bytes.</summary>
    public IReadOnlyList<GuardedRange> Ranges => _ranges;

    /// <summary>What could not be done, and why.</summary>
    public IReadOnlyList<string> Notes => _notes;

    internal GuardSession Session { get; }

    internal IReadOnlyList<(string Symbol, GuardHook Hook)> Hooks => _hooks;

    internal IReadOnlyDictionary<byte, List<(GuardRule Rule, ulong Mask)>> Controls => _controls;

    internal IReadOnlyDictionary<uint, GuardRule> Msrs => _msrs;

    internal IReadOnlyDictionary<DescriptorTable, GuardRule> Tables => _tables;

    /// <summary>Restricts the pages of a range in the kernel's image or direct map.</summary>
    /// <param name="rule">Whose it is.</param>
    /// <param name="label">What it is called.</param>
    /// <param name="range">The range; its pages are restricted as a whole.</param>
    /// <param name="kinds">The kinds of access that are violations.</param>
    /// <param name="cancellation">Ends the walk of page tables.</param>
    public Task RestrictAsync(GuardRule rule, string label, KernelRange range, PageAccess kinds, CancellationToken cancellation) =>
        AddAsync(rule, label, range, kinds, isWatch: false, cancellation);

    /// <summary>Watches the bytes of a range.</summary>
    /// <inheritdoc cref="RestrictAsync"/>
    public Task WatchAsync(GuardRule rule, string label, KernelRange range, PageAccess kinds, CancellationToken cancellation) =>
        AddAsync(rule, label, range, kinds, isWatch: true, cancellation);

    /// <summary>Adds ranges whose place in physical memory is known.</summary>
    internal void Add(IEnumerable<GuardedRange> ranges) => _ranges.AddRange(ranges);

    /// <summary>Keeps bits of a control register set.</summary>
    public void PinControl(GuardRule rule, byte register, ulong mask)
    {
        if (!_controls.TryGetValue(register, out List<(GuardRule, ulong)>? pins))
            _controls[register] = pins = [];
        pins.Add((rule, mask));
    }

    /// <summary>Keeps an MSR as it is.</summary>
    public void PinMsr(GuardRule rule, uint msr) => _msrs[msr] = rule;

    /// <summary>Keeps a descriptor table's register as it is.</summary>
    public void PinTable(GuardRule rule, DescriptorTable table) => _tables[table] = rule;

    /// <summary>Has a rule told when the kernel enters a function; the vCPU waits meanwhile. A note says if this kernel has no such function or
    /// the VM cannot do it.</summary>
    internal void Hook(string symbol, GuardHook hook)
    {
        if (!Session.HasExtensions)
            Note($"rule {hook.Rule.Name}: the VM has no watches, so what comes after this moment is not guarded");
        else if (!Guest.Symbols.TryAddressOf(symbol, out _))
            Note($"rule {hook.Rule.Name}: this kernel has no {symbol}");
        else
            _hooks.Add((symbol, hook));
    }

    /// <summary>Says what could not be done.</summary>
    public void Note(string text) => _notes.Add(text);

    private async Task AddAsync(
        GuardRule rule, string label, KernelRange range, PageAccess kinds, bool isWatch, CancellationToken cancellation)
    {
        int before = _ranges.Count;
        ulong expected = range.Length;
        _ranges.AddRange(await KernelRanges.ResolveAsync(rule, label, range, kinds, isWatch, Guest, Memory, cancellation).ConfigureAwait(false));
        for (int i = before; i < _ranges.Count; i++)
            expected -= _ranges[i].Length;
        if (expected != 0)
            Note($"rule {rule.Name}: {label}: {expected} of {range.Length} bytes have no memory");
    }
}
