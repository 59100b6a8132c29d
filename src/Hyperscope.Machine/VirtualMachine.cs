using System.Globalization;
using Hyperscope.Vm;
using Hyperscope.X64;

namespace Hyperscope.Machine;

/// <summary>One VM: memory, rights, processors and their threads.</summary>
/// <remarks>Made stopped; loaders fill memory and registers; <see cref="Start"/> gives each vCPU its thread. The bus is built by a board
/// (the PC board) and handed in. Everything here may be called from any thread unless it says otherwise.</remarks>
public sealed class VirtualMachine : IVirtualMachine, IAsyncDisposable
{
    private readonly ProcessorGroup _processors;
    private readonly TaskCompletionSource<VmExit> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();
    private Thread[] _threads = [];
    private bool _isDisposed;

    /// <summary>Makes a stopped VM with its memory in place.</summary>
    /// <param name="options">Its parts.</param>
    /// <param name="bus">What is behind ports and device memory.</param>
    /// <exception cref="ArgumentOutOfRangeException">Memory or vCPU count out of range.</exception>
    public VirtualMachine(VirtualMachineOptions options, IGuestBus bus)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.VcpuCount, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.VcpuCount, VirtualMachineOptions.MaxVcpus);
        ArgumentOutOfRangeException.ThrowIfZero(options.MemoryBytes);
        Options = options;
        ulong low = Math.Min(options.MemoryBytes, VirtualMachineOptions.LowMemoryLimit);
        Memory.AddSlot(new Gpa(0), low);
        if (options.MemoryBytes > low)
            Memory.AddSlot(new Gpa(1UL << 32), options.MemoryBytes - low);
        _processors = new ProcessorGroup(Memory, AccessMap, bus);
        for (int index = 0; index < options.VcpuCount; index++)
        {
            SoftwareVcpu vcpu = _processors.AddVcpu(options.CpuModel);
            vcpu.Clock = options.Clock;
        }
    }

    /// <summary>What it was made of.</summary>
    public VirtualMachineOptions Options { get; }

    /// <inheritdoc/>
    public Guid Id => Options.Id;

    /// <inheritdoc/>
    public string Name => Options.Name;

    /// <inheritdoc/>
    public DateTimeOffset StartTime { get; private set; } = DateTimeOffset.UtcNow;

    /// <inheritdoc/>
    public GuestMemory Memory { get; } = new();

    /// <inheritdoc/>
    public AccessMap AccessMap { get; } = new();

    /// <summary>The software processors.</summary>
    public IReadOnlyList<SoftwareVcpu> Processors => _processors.Vcpus;

    /// <inheritdoc/>
    public IReadOnlyList<IVcpu> Vcpus => _processors.Vcpus;

    /// <inheritdoc/>
    public VmCapabilities Capabilities => VmCapabilities.All;

    /// <summary>Completes when every vCPU has stopped.</summary>
    public Task<VmExit> Completion => _completion.Task;

    /// <summary>Instructions retired by all vCPUs.</summary>
    public ulong InstructionsRetired
    {
        get
        {
            ulong sum = 0;
            foreach (SoftwareVcpu vcpu in _processors.Vcpus)
                sum += vcpu.InstructionsRetired;
            return sum;
        }
    }

    private VmExit? Outcome { get; set; }

    /// <summary>Gives each vCPU its thread.</summary>
    /// <exception cref="InvalidOperationException">The VM was started before.</exception>
    public void Start()
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            if (_threads.Length != 0)
                throw new InvalidOperationException($"VM '{Name}' was started before");
            StartTime = DateTimeOffset.UtcNow;
            _threads = new Thread[_processors.Vcpus.Count];
            for (int index = 0; index < _threads.Length; index++)
            {
                SoftwareVcpu vcpu = _processors.Vcpus[index];
                _threads[index] = new Thread(() => RunVcpu(vcpu))
                {
                    Name = string.Create(CultureInfo.InvariantCulture, $"vcpu {index}"),
                    IsBackground = true,
                };
            }

            foreach (Thread thread in _threads)
                thread.Start();
        }

        _ = Task.Run(AwaitThreads);
    }

    /// <summary>Asks every vCPU to stop and waits until they have.</summary>
    public Task<VmExit> StopAsync()
    {
        End(new VmExit(VmExitKind.Stopped, 0, "stopped"));
        return Completion;
    }

    /// <summary>Ends the VM with the given outcome; the first one counts. Returns at once.</summary>
    public void End(VmExit outcome)
    {
        lock (_gate)
        {
            Outcome ??= outcome;
            if (_threads.Length == 0)
                _completion.TrySetResult(Outcome);
        }

        foreach (SoftwareVcpu vcpu in _processors.Vcpus)
            vcpu.RequestStop();
    }

    /// <inheritdoc/>
    public void Terminate(string reason) => End(new VmExit(VmExitKind.Terminated, 0, reason));

    /// <inheritdoc/>
    public void InvalidateTranslations() => _processors.InvalidateTranslations();

    /// <inheritdoc/>
    public void SetEvents(IVcpuEvents? events)
    {
        foreach (SoftwareVcpu vcpu in _processors.Vcpus)
        {
            vcpu.Events = events;
            vcpu.Kick();
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        lock (_gate)
        {
            if (_isDisposed)
                return;
            _isDisposed = true;
        }

        await StopAsync().ConfigureAwait(false);
        foreach (SoftwareVcpu vcpu in _processors.Vcpus)
            vcpu.Dispose();
        Memory.Dispose();
    }

    private void RunVcpu(SoftwareVcpu vcpu)
    {
        try
        {
            if (vcpu.Run() != RunOutcome.Shutdown)
                return;
            if (Options.OnShutdown == ShutdownAction.Stop)
                End(new VmExit(VmExitKind.Shutdown, 0, $"vCPU {vcpu.Index} met a triple fault"));
        }
        catch (Exception failure)
        {
            // Our bug: the VM cannot go on, but whoever waits for it must hear why.
            _completion.TrySetException(failure);
            End(new VmExit(VmExitKind.Terminated, 0, failure.Message));
            throw;
        }
    }

    private void AwaitThreads()
    {
        foreach (Thread thread in _threads)
            thread.Join();
        lock (_gate)
            Outcome ??= new VmExit(VmExitKind.Stopped, 0, "every vCPU has stopped");
        _completion.TrySetResult(Outcome);
    }
}
