using System.Globalization;
using Hyperscope.Devices;
using Hyperscope.Kvm;
using Hyperscope.Vm;
using Hyperscope.X64;

namespace Hyperscope.Machine;

/// <summary>One VM: memory, rights, processors with their threads, and the board.</summary>
/// <remarks>Made stopped; <see cref="Load(BootImage)"/> fills memory and registers; <see cref="Start"/> gives each vCPU its thread. Everything
/// here may be called from any thread unless it says otherwise.</remarks>
public sealed class VirtualMachine : IVirtualMachine, IAsyncDisposable
{
    private readonly ProcessorGroup _processors;
    private readonly KvmBackend? _hardware;
    private readonly HostGuestClock? _ownClock;
    private readonly TaskCompletionSource<VmExit> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();
    private readonly object _suspension = new();
    private readonly InstructionClock? _steps;
    private Thread[] _threads = [];
    private bool _isSuspended;
    private bool _isDisposed;
    private VmExit? _outcome;

    /// <summary>Makes a stopped VM with its memory and devices in place.</summary>
    /// <param name="options">Its parts.</param>
    /// <exception cref="ArgumentException">Memory or vCPU count out of range, or a clock that the back end cannot follow.</exception>
    /// <exception cref="IOException">The kernel refused what the KVM back end asked for.</exception>
    /// <exception cref="NotSupportedException">This host's KVM lacks something.</exception>
    public VirtualMachine(VirtualMachineOptions options)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.VcpuCount, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.VcpuCount, VirtualMachineOptions.MaxVcpus);
        Options = options;
        Memory = new GuestMemory(options.MemoryFile);
        MemoryMap = new GuestMemoryMap(options.MemoryBytes);
        MemoryMap.AddSlots(Memory);
        IGuestClock clock = options.Clock ?? (_ownClock = new HostGuestClock());
        _steps = clock as InstructionClock;
        if (_steps is not null && options.VcpuCount != 1)
            throw new ArgumentException($"a clock of instructions goes with one vCPU, not {options.VcpuCount}", nameof(options));
        _processors = new ProcessorGroup(Memory, Views, new DeviceBus());
        bool isAccelerated = options.Backend == VmBackend.Kvm;
        if (isAccelerated && _steps is not null)
            throw new ArgumentException("a clock of instructions goes with the software CPU; the kernel counts none", nameof(options));
        CpuModel model = isAccelerated ? options.CpuModel with { TscFrequency = KvmBackend.FindTscFrequency() } : options.CpuModel;
        for (int index = 0; index < options.VcpuCount; index++)
            _processors.AddVcpu(model).Clock = clock;
        Board = new PcBoard(new PcBoardOptions
        {
            Clock = clock,
            Vcpus = [.. _processors.Vcpus.Select(static vcpu => new VcpuSignals(vcpu))],
            TimeStampCounters = [.. _processors.Vcpus.Select(vcpu => new ClockTimeStampCounter(clock, vcpu.TscFrequency))],
            Machine = new MachineControl(this),
            Memory = MemoryMap,
            SerialOutput = options.SerialOutput,
            StartTime = options.WallClock ?? DateTimeOffset.UtcNow,
        });
        SoftwareVcpu first = _processors.Vcpus[0];
        _steps?.Attach(() => first.InstructionsRetired, first.RequestStop);
        foreach (SoftwareVcpu vcpu in _processors.Vcpus)
        {
            vcpu.Bus = Board.BusOf(vcpu.Index);
            vcpu.Interrupts = Board.InterruptsOf(vcpu.Index);
        }

        first.X87ErrorLine = Board.NumericError;
        if (isAccelerated)
            _hardware = CreateHardware();
    }

    private KvmBackend CreateHardware()
    {
        try
        {
            return new KvmBackend(_processors, Options.Logger, Options.Protection);
        }
        catch
        {
            ReleaseParts();
            throw;
        }
    }

    private void ReleaseParts()
    {
        Board.Dispose();
        _ownClock?.Dispose();
        _hardware?.Dispose();
        foreach (SoftwareVcpu vcpu in _processors.Vcpus)
            vcpu.Dispose();
        Memory.Dispose();
    }

    /// <summary>Where memory lies.</summary>
    public GuestMemoryMap MemoryMap { get; }

    /// <summary>The devices.</summary>
    public PcBoard Board { get; }

    /// <summary>What it was made of.</summary>
    public VirtualMachineOptions Options { get; }

    /// <inheritdoc/>
    public Guid Id => Options.Id;

    /// <inheritdoc/>
    public string Name => Options.Name;

    /// <inheritdoc/>
    public DateTimeOffset StartTime { get; private set; } = DateTimeOffset.UtcNow;

    /// <inheritdoc/>
    public GuestMemory Memory { get; }

    /// <inheritdoc/>
    public AccessMap AccessMap => Views.Main.AccessMap;

    /// <inheritdoc/>
    public ViewTable Views { get; } = new();

    /// <summary>The software processors.</summary>
    public IReadOnlyList<SoftwareVcpu> Processors => _processors.Vcpus;

    /// <inheritdoc/>
    public IReadOnlyList<IVcpu> Vcpus => _processors.Vcpus;

    /// <inheritdoc/>
    public VmCapabilities Capabilities => _hardware?.Capabilities ?? VmCapabilities.All;

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

    /// <summary>Fills memory and sets the first vCPU's registers; the others wait to be started by it.</summary>
    /// <exception cref="ImageFormatException">A piece has no memory behind it.</exception>
    public void Load(BootImage image)
    {
        image.WriteTo(Memory);
        foreach (MemoryPiece rom in image.Roms)
        {
            Memory.AddSlot(rom.Address, rom.Length, isReadOnly: true);
            _ = Memory.TryLoad(rom.Address, rom.Bytes.Span);
        }

        // An image with a ROM brings its own firmware, which does this itself.
        if (image.Roms.Count == 0)
            SetMemoryTypes();
        _processors.Vcpus[0].SetSpecialRegisters(image.SpecialRegisters);
        _processors.Vcpus[0].SetRegisters(image.Registers);
    }

    /// <summary>Fills memory and sets every vCPU's registers; all start at once.</summary>
    /// <param name="pieces">What to write where.</param>
    /// <param name="initialState">Registers of each vCPU.</param>
    /// <exception cref="ImageFormatException">A piece has no memory behind it.</exception>
    public void Load(IEnumerable<(Gpa Address, byte[] Bytes)> pieces, Func<VcpuIndex, (KvmRegs Registers, KvmSregs Special)> initialState)
    {
        foreach ((Gpa address, byte[] bytes) in pieces)
        {
            if (!Memory.TryLoad(address, bytes))
                throw new ImageFormatException($"{bytes.Length} bytes at {address} are not all memory");
        }

        SetMemoryTypes();

        foreach (SoftwareVcpu vcpu in _processors.Vcpus)
        {
            (KvmRegs registers, KvmSregs special) = initialState(vcpu.Index);
            vcpu.SetSpecialRegisters(special);
            vcpu.SetRegisters(registers);
            vcpu.Start();
        }
    }

    // What firmware leaves behind: memory is write-back, the VGA window uncached, the ROM area below 1 MiB write-protected.
    private void SetMemoryTypes()
    {
        const uint DefaultType = 0x2FF, Fixed64K = 0x250, FirstFixed16K = 0x258, FirstFixed4K = 0x268, LastFixed4K = 0x26F;
        const ulong EnabledWriteBack = 0xC06, EightWriteBack = 0x0606_0606_0606_0606, EightWriteProtected = 0x0505_0505_0505_0505;
        foreach (SoftwareVcpu vcpu in _processors.Vcpus)
        {
            _ = vcpu.SetMsr(Fixed64K, EightWriteBack);
            _ = vcpu.SetMsr(FirstFixed16K, EightWriteBack);
            for (uint index = FirstFixed4K; index <= LastFixed4K; index++)
                _ = vcpu.SetMsr(index, EightWriteProtected);
            _ = vcpu.SetMsr(DefaultType, EnabledWriteBack);
        }
    }

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

    /// <summary>vCPUs are taken out of their run loops.</summary>
    public bool IsSuspended
    {
        get
        {
            lock (_suspension)
                return _isSuspended;
        }
    }

    /// <summary>Takes every vCPU out of its run loop until <see cref="Resume"/>: the device manager does not run them, so jobs queued to
    /// them wait. Does not wait for the vCPUs; one that waits for a tool's reply goes on waiting.</summary>
    public void Suspend()
    {
        lock (_suspension)
            _isSuspended = true;
        foreach (SoftwareVcpu vcpu in _processors.Vcpus)
            vcpu.RequestStop();
    }

    /// <summary>Lets vCPUs run again.</summary>
    public void Resume()
    {
        lock (_suspension)
        {
            _isSuspended = false;
            Monitor.PulseAll(_suspension);
        }
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
            _outcome ??= outcome;
            if (_threads.Length == 0)
                _completion.TrySetResult(_outcome);
        }

        foreach (SoftwareVcpu vcpu in _processors.Vcpus)
            vcpu.RequestStop();
        Resume();
    }

    /// <inheritdoc/>
    public void Terminate(string reason) => End(new VmExit(VmExitKind.Terminated, 0, reason));

    /// <inheritdoc/>
    public void InvalidateTranslations()
    {
        _hardware?.ApplyRestrictions();
        _processors.InvalidateTranslations();
    }

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
        ReleaseParts();
    }

    private sealed class VcpuSignals(SoftwareVcpu vcpu) : IVcpuSignals
    {
        public void Wake() => vcpu.SignalInterrupt();

        public void Init() => vcpu.PostInit();

        public void Startup(byte vector) => vcpu.PostStartup(vector);

        public void IgnoreX87Error() => vcpu.IgnoreX87Error();
    }

    private sealed class MachineControl(VirtualMachine vm) : IMachineControl
    {
        public void RequestExit(int status) => vm.End(new VmExit(VmExitKind.GuestExit, status, $"the guest exited with status {status}"));

        public void RequestPowerOff() => vm.End(new VmExit(VmExitKind.GuestExit, 0, "the guest switched itself off"));

        public void RequestReset() => vm.End(new VmExit(VmExitKind.Reset, 0, "the guest asked for a reset"));
    }

    private void RunVcpu(SoftwareVcpu vcpu)
    {
        try
        {
            while (WaitWhileSuspended())
            {
                if ((_steps is null ? vcpu.Run() : RunStretch(vcpu, _steps)) == RunOutcome.Shutdown)
                {
                    if (Options.OnShutdown == ShutdownAction.Stop)
                        End(new VmExit(VmExitKind.Shutdown, 0, $"vCPU {vcpu.Index} met a triple fault"));
                    return;
                }
            }
        }
        catch (Exception failure)
        {
            // Our bug: the VM cannot go on, but whoever waits for it must hear why.
            _completion.TrySetException(failure);
            End(new VmExit(VmExitKind.Terminated, 0, failure.Message));
            throw;
        }
    }

    // Time moves between stretches only: each ends where the next timer is due, or a device armed one that is due earlier.
    private static RunOutcome RunStretch(SoftwareVcpu vcpu, InstructionClock clock)
    {
        clock.FireDue();
        ulong before = vcpu.InstructionsRetired;
        RunOutcome outcome = vcpu.Run(clock.InstructionsToDeadline ?? ulong.MaxValue, returnOnHalt: true);
        if (outcome != RunOutcome.Halted || vcpu.InstructionsRetired != before || clock.SkipToDeadline())
            return outcome;
        return vcpu.Run(); // nothing but the outside world can wake it
    }

    /// <summary>False once the VM is to end.</summary>
    private bool WaitWhileSuspended()
    {
        lock (_suspension)
        {
            while (_isSuspended && Volatile.Read(ref _outcome) is null)
                Monitor.Wait(_suspension);
        }

        return Volatile.Read(ref _outcome) is null;
    }

    private void AwaitThreads()
    {
        foreach (Thread thread in _threads)
            thread.Join();
        lock (_gate)
            _outcome ??= new VmExit(VmExitKind.Stopped, 0, "every vCPU has stopped");
        _completion.TrySetResult(_outcome);
    }
}
