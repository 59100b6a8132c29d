namespace Hyperscope.Guard;

/// <summary>Bits of control registers that stay set.</summary>
internal sealed class ControlRegisterRule : GuardRule
{
    private static readonly Dictionary<string, (byte Register, ulong Mask)> Bits = new()
    {
        ["cr0.wp"] = (0, 1UL << 16),
        ["cr4.umip"] = (4, 1UL << 11),
        ["cr4.smep"] = (4, 1UL << 20),
        ["cr4.smap"] = (4, 1UL << 21),
    };

    private readonly List<(byte Register, ulong Mask)> _pins = [];

    public ControlRegisterRule(RuleSettings settings)
        : base(settings)
    {
        IReadOnlyList<string> names = settings.List("pin");
        foreach (string name in names.Count == 0 ? ["cr0.wp", "cr4.smep", "cr4.smap"] : names)
            _pins.Add(Bits.TryGetValue(name, out (byte, ulong) bit) ? bit : throw settings.Wrong("pin", name, string.Join(", ", Bits.Keys)));
    }

    public override Task PlanAsync(GuardPlan plan, CancellationToken cancellation)
    {
        foreach (IGrouping<byte, (byte Register, ulong Mask)> pins in _pins.GroupBy(static pin => pin.Register))
            plan.PinControl(this, pins.Key, pins.Aggregate(0UL, static (mask, pin) => mask | pin.Mask));
        return Task.CompletedTask;
    }
}

/// <summary>MSRs that lead into the kernel.</summary>
internal sealed class EntryPointRule : GuardRule
{
    private static readonly Dictionary<string, uint[]> Registers = new()
    {
        ["lstar"] = [MsrIndex.Lstar],
        ["cstar"] = [MsrIndex.Cstar],
        ["star"] = [MsrIndex.Star],
        ["sfmask"] = [MsrIndex.Sfmask],
        ["sysenter"] = [MsrIndex.SysenterCs, MsrIndex.SysenterEip],
    };

    private readonly List<uint> _pins = [];

    public EntryPointRule(RuleSettings settings)
        : base(settings)
    {
        IReadOnlyList<string> names = settings.List("pin");
        foreach (string name in names.Count == 0 ? [.. Registers.Keys] : names)
        {
            _pins.AddRange(Registers.TryGetValue(name, out uint[]? msrs)
                ? msrs
                : throw settings.Wrong("pin", name, string.Join(", ", Registers.Keys)));
        }
    }

    public override Task PlanAsync(GuardPlan plan, CancellationToken cancellation)
    {
        foreach (uint msr in _pins)
            plan.PinMsr(this, msr);
        return Task.CompletedTask;
    }
}
