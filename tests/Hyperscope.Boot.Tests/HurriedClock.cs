using Hyperscope.Vm;

namespace Hyperscope.Boot.Tests;

/// <summary>Guest time that passes faster than the host's, for guests that wait for minutes.</summary>
/// <param name="factor">Guest seconds in a second.</param>
internal sealed class HurriedClock(int factor) : IGuestClock, IDisposable
{
    private readonly HostGuestClock _host = new();

    public long Now => _host.Now * factor;

    public IGuestTimer CreateTimer(Action callback) => new Timer(_host.CreateTimer(callback), factor);

    public void Dispose() => _host.Dispose();

    private sealed class Timer(IGuestTimer host, int factor) : IGuestTimer
    {
        // Rounded up: never early.
        public void Arm(long? deadline) => host.Arm((deadline + factor - 1) / factor);

        public void Dispose() => host.Dispose();
    }
}
