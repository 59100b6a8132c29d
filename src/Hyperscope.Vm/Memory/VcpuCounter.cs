namespace Hyperscope.Vm;

/// <summary>A count that vCPUs increase without getting into each other's way.</summary>
internal sealed class VcpuCounter
{
    private const int Stripes = 16, Spacing = 8; // longs in a cache line

    private readonly long[] _counts = new long[(Stripes + 1) * Spacing];

    /// <summary>The sum over all vCPUs.</summary>
    public long Sum
    {
        get
        {
            long sum = 0;
            for (int stripe = 1; stripe <= Stripes; stripe++)
                sum += Volatile.Read(ref _counts[stripe * Spacing]);
            return sum;
        }
    }

    /// <summary>Adds one.</summary>
    public void Increment(VcpuIndex vcpu) => Interlocked.Increment(ref _counts[((vcpu.Value % Stripes) + 1) * Spacing]);
}
