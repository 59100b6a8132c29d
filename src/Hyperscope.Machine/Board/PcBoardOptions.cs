using Hyperscope.Devices;
using Hyperscope.Vm;

namespace Hyperscope.Machine;

/// <summary>What a board is built around.</summary>
public sealed record PcBoardOptions
{
    /// <summary>Guest time.</summary>
    public required IGuestClock Clock { get; init; }

    /// <summary>The vCPUs, in order; 1 to 255.</summary>
    public required IReadOnlyList<IVcpuSignals> Vcpus { get; init; }

    /// <summary>Their time-stamp counters, in the same order.</summary>
    public required IReadOnlyList<ITimeStampCounter> TimeStampCounters { get; init; }

    /// <summary>What power-off, reset and debug-exit ask.</summary>
    public required IMachineControl Machine { get; init; }

    /// <summary>The memory, for CMOS.</summary>
    public required GuestMemoryMap Memory { get; init; }

    /// <summary>Where the first serial port writes.</summary>
    public required ISerialOutput SerialOutput { get; init; }

    /// <summary>What the clock chip shows at guest time 0.</summary>
    public required DateTimeOffset StartTime { get; init; }
}
