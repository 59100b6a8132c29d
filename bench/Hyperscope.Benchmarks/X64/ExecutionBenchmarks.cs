using BenchmarkDotNet.Attributes;
using Hyperscope.Guests;
using Hyperscope.Machine;
using Hyperscope.X64;

namespace Hyperscope.Benchmarks.X64;

/// <summary>Cached blocks and page walks, per guest instruction or walk.</summary>
[MemoryDiagnoser]
public class ExecutionBenchmarks : IDisposable
{
    private const int Instructions = 1_000_000;

    private VirtualMachine _vm = null!;
    private SoftwareVcpu _vcpu = null!;

    [GlobalSetup]
    public void Start()
    {
        GuestProgram guest = SelftestGuest.Build(1);
        _vm = new VirtualMachine(new VirtualMachineOptions { MemoryBytes = guest.MinimumMemory });
        _vm.Load(guest.Pieces, guest.InitialState);
        _vcpu = _vm.Processors[0];
        Set(SelftestGuest.Mailbox.Argument0, SelftestGuest.TestPage.Value);
        Set(SelftestGuest.Mailbox.Argument2, long.MaxValue);
        Set(SelftestGuest.Mailbox.Action, (ulong)SelftestAction.Hammer);
        _vcpu.Run(Instructions);
    }

    [GlobalCleanup]
    public void Dispose()
    {
        _vm.DisposeAsync().AsTask().GetAwaiter().GetResult();
        GC.SuppressFinalize(this);
    }

    [Benchmark(OperationsPerInvoke = Instructions)]
    public RunOutcome Counting_loop() => _vcpu.Run(Instructions);

    [Benchmark]
    public bool Page_walk_four_levels() => _vcpu.TryTranslate(SelftestGuest.TestPageAlias, out _);

    private void Set(int field, ulong value) => _vm.Memory.TryWrite(SelftestGuest.Mailboxes + (ulong)field, BitConverter.GetBytes(value));
}
