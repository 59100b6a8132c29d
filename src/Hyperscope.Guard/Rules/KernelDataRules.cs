namespace Hyperscope.Guard;

/// <summary>The kernel's constants are r--.</summary>
internal sealed class KernelRodataRule(RuleSettings settings) : GuardRule(settings)
{
    public override Task PlanAsync(GuardPlan plan, CancellationToken cancellation) =>
        plan.RestrictAsync(this, "kernel rodata", plan.Guest.Layout.Rodata, PageAccess.Write | PageAccess.Execute, cancellation);
}

/// <summary>The entries of the system call table.</summary>
internal sealed class SyscallTableRule(RuleSettings settings) : GuardRule(settings)
{
    public override Task PlanAsync(GuardPlan plan, CancellationToken cancellation) =>
        plan.WatchAsync(this, "sys_call_table", Ranges.OfSymbol(plan.Guest, "sys_call_table", 0, 0), PageAccess.Write, cancellation);
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
        plan.WatchAsync(this, _symbol, Ranges.OfSymbol(plan.Guest, _symbol, _offset, _length), PageAccess.Write, cancellation);

    public override ValueTask<Judgement> JudgeAsync(GuardEvent access, CancellationToken cancellation) =>
        new(_writers.Count != 0 && access.Guest.Layout.Text.Contains(new Gva(access.Registers.Rip))
            && access.Guest.Symbols.TryFind(new Gva(access.Registers.Rip), out SymbolOffset writer) && _writers.Contains(writer.Symbol.Name)
                ? Legitimate()
                : Violation());
}

/// <summary>Where the kernel has its variables.</summary>
internal static class Ranges
{
    private const ulong MaxLength = 1 << 20;

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
