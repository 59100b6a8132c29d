using Hyperscope.Vm;

namespace Hyperscope.Devices;

/// <summary>A vCPU's time-stamp counter as its local APIC needs it.</summary>
public interface ITimeStampCounter
{
    /// <summary>The counter as the guest would read it. Any thread.</summary>
    ulong Value { get; }

    /// <summary>Counts per second of guest time, not 0.</summary>
    ulong Frequency { get; }
}

/// <summary>A counter that follows guest time and was never written.</summary>
public sealed class ClockTimeStampCounter(IGuestClock clock, ulong frequency) : ITimeStampCounter
{
    /// <inheritdoc/>
    public ulong Value => (ulong)((UInt128)(ulong)clock.Now * frequency / 1_000_000_000);

    /// <inheritdoc/>
    public ulong Frequency { get; } = frequency != 0 ? frequency : throw new ArgumentOutOfRangeException(nameof(frequency));
}
