namespace Hyperscope.Guard;

/// <summary>The kernel's constants are r--.</summary>
internal sealed class KernelRodataRule(RuleSettings settings) : GuardRule(settings)
{
    public override async Task PlanAsync(GuardPlan plan, CancellationToken cancellation)
    {
        KernelRange all = plan.Guest.Layout.Rodata;
        await plan.RestrictAsync(this, "kernel rodata", all, PageAccess.Write, cancellation).ConfigureAwait(false);
        if (!plan.Guest.HasBtf)
        {
            plan.Note($"rule {Name}: without BTF it is not known which of the pages user mode executes (vDSO), so execution is not restricted");
            return;
        }

        // The code of the vDSO lies among the constants, and user mode executes it there.
        Gva start = all.Start;
        foreach (KernelRange image in (await VdsoImagesAsync(plan, cancellation).ConfigureAwait(false)).OrderBy(static image => image.Start.Value))
        {
            if (!all.Contains(image.Start) || image.End.Value > all.End.Value || image.Start.Value < start.Value)
                continue;
            await NotExecutableAsync(plan, new KernelRange(start, image.Start), cancellation).ConfigureAwait(false);
            start = image.End;
        }

        await NotExecutableAsync(plan, new KernelRange(start, all.End), cancellation).ConfigureAwait(false);
    }

    private Task NotExecutableAsync(GuardPlan plan, KernelRange range, CancellationToken cancellation) => range.Length == 0
        ? Task.CompletedTask
        : plan.RestrictAsync(this, "kernel rodata", range, PageAccess.Execute, cancellation);

    private static async Task<List<KernelRange>> VdsoImagesAsync(GuardPlan plan, CancellationToken cancellation)
    {
        var images = new List<KernelRange>();
        BtfSlice slice = plan.Guest.Btf.StructOf("vdso_image").Slice("data", "size");
        foreach (string name in (string[])["vdso_image_64", "vdso_image_32", "vdso_image_x32"])
        {
            if (!plan.Guest.Symbols.TryAddressOf(name, out Gva symbol))
                continue;
            StructView image = await plan.Memory.ReadSliceAsync(slice, symbol, cancellation).ConfigureAwait(false);
            Gva start = image.Pointer("data");
            ulong size = Math.Min(image.Unsigned("size"), 1 << 20);
            images.Add(new KernelRange(start, new Gva((start.Value + size + Gfn.PageSize - 1) & ~(Gfn.PageSize - 1UL))));
        }

        return images;
    }
}

/// <summary>The entries of the system call table.</summary>
internal sealed class SyscallTableRule(RuleSettings settings) : GuardRule(settings)
{
    public override Task PlanAsync(GuardPlan plan, CancellationToken cancellation) =>
        plan.WatchAsync(this, "sys_call_table", KernelRanges.OfSymbol(plan.Guest, "sys_call_table", 0, 0), PageAccess.Write, cancellation);
}

/// <summary>A variable of the kernel. Writers that the policy names may write it.</summary>
internal sealed class BytesRule : GuardRule
{
    private const int MaxLength = 1 << 20;

    private readonly string _symbol;
    private readonly int _offset, _length;
    private readonly IReadOnlyList<string> _writers;

    public BytesRule(RuleSettings settings)
        : base(settings)
    {
        _symbol = settings.Text("symbol");
        _offset = settings.Number("offset", 0, 0, MaxLength);
        _length = settings.Number("length", 0, 1, MaxLength);
        _writers = settings.List("writers");
        if (_symbol.Length == 0)
            throw settings.Wrong("symbol", "", "the name of a variable");
    }

    public override Task PlanAsync(GuardPlan plan, CancellationToken cancellation) =>
        plan.WatchAsync(this, _symbol, KernelRanges.OfSymbol(plan.Guest, _symbol, _offset, _length), PageAccess.Write, cancellation);

    public override ValueTask<Judgement> JudgeAsync(GuardEvent access, CancellationToken cancellation) =>
        new(_writers.Count != 0 && access.Guest.Layout.Text.Contains(new Gva(access.Registers.Rip))
            && access.Guest.Symbols.TryFind(new Gva(access.Registers.Rip), out SymbolOffset writer) && _writers.Contains(writer.Symbol.Name)
                ? Legitimate()
                : Violation());
}

/// <summary>Where the kernel has its variables.</summary>
internal static class KernelRanges
{
    private const ulong MaxLength = 1 << 20;

    /// <summary>Where a range lies in physical memory. The image and the direct map are contiguous there; of everything else each page is
    /// looked up, and left out if it has no memory.</summary>
    public static async Task<List<GuardedRange>> ResolveAsync(GuardRule rule, string label, KernelRange range, PageAccess kinds, bool isWatch,
        LinuxGuest guest, GuestReader memory, CancellationToken cancellation)
    {
        var ranges = new List<GuardedRange>();
        if (guest.Layout.PhysicalOf(range.Start) is { } start)
        {
            ranges.Add(new GuardedRange(rule, label, range.Start, start, range.Length, kinds, isWatch));
            return ranges;
        }

        for (ulong at = range.Start.Value; at < range.End.Value;)
        {
            ulong next = Math.Min((at | (Gfn.PageSize - 1)) + 1, range.End.Value);
            if (await memory.TranslateAsync(new Gva(at), cancellation).ConfigureAwait(false) is { } gpa)
                ranges.Add(new GuardedRange(rule, label, new Gva(at), gpa, next - at, kinds, isWatch));
            at = next;
        }

        return ranges;
    }

    /// <summary>A variable: up to the next symbol, if no length is given.</summary>
    public static KernelRange OfSymbol(LinuxGuest guest, string symbol, int offset, int length)
    {
        Gva start = guest.Symbols.AddressOf(symbol);
        ulong size = (ulong)length;
        if (length == 0)
        {
            size = guest.Symbols.TryFind(start, out SymbolOffset found) ? found.Size : 0;
            if (size <= (ulong)offset || size > MaxLength)
                throw new LinuxGuestException($"kallsyms: {symbol} has {size} bytes up to the next symbol; the rule needs a length");
            size -= (ulong)offset;
        }

        return new KernelRange(start + (ulong)offset, start + (ulong)offset + size);
    }
}
