using Hyperscope.Vm;

namespace Hyperscope.TestKit;

/// <summary>A VM without a processor behind it: real memory, real access map, vCPUs that execute what a test gives them.</summary>
public sealed class FakeVirtualMachine : IVirtualMachine, IDisposable
{
    private readonly List<FakeVcpu> _vcpus = [];
    private readonly TaskCompletionSource<string> _terminated = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _invalidations;

    public FakeVirtualMachine(int vcpus = 1, ulong memoryBytes = 1 << 20, VmCapabilities capabilities = VmCapabilities.All)
    {
        Capabilities = capabilities;
        if (memoryBytes != 0)
            Memory.AddSlot(new Gpa(0), memoryBytes);
        for (int index = 0; index < vcpus; index++)
            _vcpus.Add(new FakeVcpu(this, new VcpuIndex((ushort)index)));
    }

    public Guid Id { get; } = new("00112233-4455-6677-8899-aabbccddeeff");

    public string Name => "fake";

    public DateTimeOffset StartTime => DateTimeOffset.UnixEpoch;

    public GuestMemory Memory { get; } = new();

    public AccessMap AccessMap => Views.Main.AccessMap;

    public ViewTable Views { get; } = new();

    public IReadOnlyList<IVcpu> Vcpus => _vcpus;

    public VmCapabilities Capabilities { get; }

    /// <summary>Where vCPUs report to.</summary>
    public IVcpuEvents? Events { get; private set; }

    /// <summary>How often translations were invalidated.</summary>
    public int Invalidations => Volatile.Read(ref _invalidations);

    /// <summary>Completes with the reason once the VM was told to stop.</summary>
    public Task<string> Terminated => _terminated.Task;

    public FakeVcpu this[int index] => _vcpus[index];

    /// <summary>Starts every vCPU's thread.</summary>
    public FakeVirtualMachine Start()
    {
        foreach (FakeVcpu vcpu in _vcpus)
            vcpu.Start();
        return this;
    }

    public void InvalidateTranslations()
    {
        foreach (FakeVcpu vcpu in _vcpus)
            vcpu.WaitUntilOutsideGuestMode();
        Interlocked.Increment(ref _invalidations);
    }

    public void SetEvents(IVcpuEvents? events)
    {
        Events = events;
        foreach (FakeVcpu vcpu in _vcpus)
            vcpu.Kick();
    }

    public void Terminate(string reason) => _terminated.TrySetResult(reason);

    public void Dispose()
    {
        foreach (FakeVcpu vcpu in _vcpus)
            vcpu.Dispose();
        Memory.Dispose();
    }
}
