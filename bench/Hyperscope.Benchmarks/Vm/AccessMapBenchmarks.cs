using BenchmarkDotNet.Attributes;
using Hyperscope.Vm;

namespace Hyperscope.Benchmarks.Vm;

/// <summary>Looking up and changing rights.</summary>
[MemoryDiagnoser]
public class AccessMapBenchmarks
{
    private const int Batch = 511;

    private readonly AccessMap _map = new();
    private ulong _frame;
    private bool _close;

    [GlobalSetup]
    public void Restrict()
    {
        for (ulong frame = 0; frame < 1 << 16; frame++)
            _map.Set(new Gfn(frame), PageAccess.Read);
    }

    [Benchmark]
    public PageAccess Lookup_restricted() => _map.Denied(_frame = (_frame + 4099) & 0xFFFF);

    [Benchmark]
    public PageAccess Lookup_never_restricted() => _map.Denied((1UL << 30) + (_frame++ & 0xFFFF));

    [Benchmark(OperationsPerInvoke = Batch)]
    public void Set_511_pages()
    {
        _close = !_close;
        lock (_map.WriterLock)
        {
            for (ulong frame = 0; frame < Batch; frame++)
                _map.Set(new Gfn(frame), _close ? PageAccess.None : PageAccess.Read);
        }
    }
}
