namespace Hyperscope.Devices.Tests;

/// <summary>Counts what a local APIC tells its vCPU.</summary>
internal sealed class RecordingVcpu : IVcpuSignals
{
    public int Wakes { get; private set; }

    public int Inits { get; private set; }

    public List<byte> Startups { get; } = [];

    public int IgnoredErrors { get; private set; }

    public void Wake() => Wakes++;

    public void Init() => Inits++;

    public void Startup(byte vector) => Startups.Add(vector);

    public void IgnoreX87Error() => IgnoredErrors++;
}
