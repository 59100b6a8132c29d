namespace Hyperscope.X64;

/// <summary>What the processor says it is: CPUID leaves and the TSC frequency.</summary>
public sealed class CpuModel
{
    /// <summary>TSC ticks per second of guest time.</summary>
    public ulong TscFrequency { get; init; } = 1_000_000_000;
}
