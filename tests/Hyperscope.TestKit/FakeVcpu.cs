using System.Collections.Concurrent;
using Hyperscope.Vm;

namespace Hyperscope.TestKit;

/// <summary>A vCPU on a thread of its own. Its instructions are delegates that a test queues; between them it obeys the contract of
/// <see cref="IVcpu"/>: kicks are remembered and served before the next instruction. An instruction counts as outside guest mode,
/// because most of them are reports; <see cref="SpinUntilKicked"/> is the guest running.</summary>
public sealed class FakeVcpu(FakeVirtualMachine vm, VcpuIndex index) : IVcpu, IDisposable
{
    private readonly object _gate = new();
    private readonly Queue<Action> _instructions = [];
    private Thread? _thread;
    private bool _kicked = true; // OnEntry runs before the first entry
    private bool _stopped;
    private bool _inGuest;
    private int _departures;
    private KvmRegs _regs;
    private ulong _pendingAddress;

    /// <summary>MSRs that exist.</summary>
    public ConcurrentDictionary<uint, ulong> Msrs { get; } = new(
        new uint[]
        {
            MsrIndex.SysenterCs, MsrIndex.SysenterEsp, MsrIndex.SysenterEip, MsrIndex.Efer, MsrIndex.Star, MsrIndex.Lstar,
            MsrIndex.Cstar, MsrIndex.Pat, MsrIndex.KernelGsBase, 0x140,
        }.Select(static msr => KeyValuePair.Create(msr, 0x1000UL + msr)));

    /// <summary>CPUID leaves that exist.</summary>
    public Dictionary<(uint Function, uint Index), CpuidResult> CpuidLeaves { get; } = new() { [(0, 0)] = new(0xD, 1, 2, 3) };

    /// <summary>Pages that <see cref="TryTranslate"/> knows.</summary>
    public Dictionary<ulong, ulong> PageTable { get; } = [];

    /// <summary>MSRs that are reported.</summary>
    public HashSet<uint> InterceptedMsrs { get; } = [];

    /// <summary>Vectors that were delivered.</summary>
    public List<byte> Delivered { get; } = [];

    /// <summary>The XSAVE image.</summary>
    public byte[] Xsave { get; } = new byte[4096];

    public KvmSregs Sregs;

    public VcpuIndex Index => index;

    public bool IsInitialized { get; set; } = true;

    public ulong TscFrequency => 2_893_202_000;

    public CpuMode Mode { get; set; } = CpuMode.Bits64;

    public ulong Xcr0 { get; set; } = 7;

    public VcpuIntercepts Intercepts { get; set; }

    public bool IsSingleStepping { get; set; }

    public PendingEvent? PendingEvent { get; set; }

    public View View { get; private set; } = vm.Views.Main;

    /// <summary>Views that the guest may switch to.</summary>
    public HashSet<View> VisibleViews { get; } = [];

    public bool TrySwitchView(View view)
    {
        if (!vm.Views.TryMove(View, view))
            return false;
        View = view;
        return true;
    }

    public void ShowView(View view, bool isVisible)
    {
        if (isVisible)
            VisibleViews.Add(view);
        else
            VisibleViews.Remove(view);
    }

    /// <summary>Set directly by tests that look at what a reply left.</summary>
    public ref KvmRegs Registers => ref _regs;

    public void GetRegisters(out KvmRegs registers) => registers = _regs;

    public void SetRegisters(in KvmRegs registers) => _regs = registers;

    public void GetSpecialRegisters(out KvmSregs registers) => registers = Sregs;

    public bool TryReadMsr(uint index, out ulong value) => Msrs.TryGetValue(index, out value);

    public void InterceptMsr(uint index, bool enable)
    {
        if (enable)
            InterceptedMsrs.Add(index);
        else
            InterceptedMsrs.Remove(index);
    }

    public bool TryGetCpuid(uint function, uint index, out CpuidResult result) => CpuidLeaves.TryGetValue((function, index), out result);

    public void GetXsave(Span<byte> image) => Xsave.CopyTo(image);

    public bool TrySetXsave(ReadOnlySpan<byte> image)
    {
        if (image.Length > 512 && image[512] > 7)
            return false; // a feature that does not exist
        Xsave.AsSpan().Clear();
        image.CopyTo(Xsave);
        return true;
    }

    public MemoryType GetMemoryType(Gpa gpa) => gpa.Value is >= 0xA0000 and < 0xC0000 ? MemoryType.Uncacheable : MemoryType.WriteBack;

    public bool TryTranslate(Gva gva, out Gpa gpa)
    {
        bool isKnown = PageTable.TryGetValue(gva.Value >> 12, out ulong frame);
        gpa = new Gpa((frame << 12) | (gva.Value & 0xFFF));
        return isKnown;
    }

    public bool TryQueueException(byte vector, uint errorCode, ulong address)
    {
        if (PendingEvent is not null)
            return false;
        bool hasCode = vector is 8 or 10 or 11 or 12 or 13 or 14 or 17;
        PendingEvent = new PendingEvent(vector, hasCode, hasCode ? errorCode : 0, IsExternal: false);
        _pendingAddress = address;
        return true;
    }

    public void DeliverPendingEvent()
    {
        if (PendingEvent is not { } pending)
            return;
        if (pending.Vector == 14)
            Sregs.Cr2 = _pendingAddress;
        Delivered.Add(pending.Vector);
        PendingEvent = null;
    }

    public void Kick()
    {
        lock (_gate)
        {
            _kicked = true;
            Monitor.PulseAll(_gate);
        }
    }

    public void WaitUntilOutsideGuestMode()
    {
        if (Thread.CurrentThread == _thread)
            return;
        Kick();
        lock (_gate)
        {
            int before = _departures;
            while (_inGuest && _departures == before)
                Monitor.Wait(_gate);
        }
    }

    /// <summary>Starts the thread.</summary>
    public void Start()
    {
        _thread = new Thread(Run) { Name = $"fake vcpu {index}", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Has the vCPU execute an instruction; the task ends when it was executed.</summary>
    public Task<T> Execute<T>(Func<FakeVcpu, T> instruction)
    {
        var completion = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_gate)
        {
            _instructions.Enqueue(() =>
            {
                try
                {
                    completion.SetResult(instruction(this));
                }
                catch (Exception failure)
                {
                    completion.SetException(failure);
                }
            });
            Monitor.PulseAll(_gate);
        }

        return completion.Task;
    }

    /// <summary>An access of the guest: asks the trackers like a back end does, again after each Retry.</summary>
    /// <returns>The verdicts; the last one is not Retry.</returns>
    public Task<List<PageTrackVerdict>> Access(ulong gpa, PageAccess kind, ulong gva = ulong.MaxValue) => Execute(vcpu =>
    {
        List<PageTrackVerdict> verdicts = [];
        while (true)
        {
            if (!View.AccessMap.Denies(new Gpa(gpa), 1, kind))
            {
                verdicts.Add(PageTrackVerdict.Allow);
                return verdicts;
            }

            PageTrackVerdict verdict = vm.Memory.PageTracker.BeforeAccess(
                vcpu, new PageTrackAccess(new Gva(gva), new Gpa(gpa), kind, 1, []));
            verdicts.Add(verdict);
            if (verdict != PageTrackVerdict.Retry)
                return verdicts;
            vcpu.ServeKick();
        }
    });

    /// <summary>Runs guest code, in guest mode, until it is kicked. For instructions.</summary>
    /// <param name="onEntered">Called once the vCPU is in guest mode.</param>
    /// <param name="onLeaving">Called before anybody can know that it is not any more.</param>
    public void SpinUntilKicked(Action? onEntered = null, Action? onLeaving = null)
    {
        lock (_gate)
        {
            _inGuest = true;
            onEntered?.Invoke();
            while (!_kicked && !_stopped)
                Monitor.Wait(_gate);
            onLeaving?.Invoke();
            _inGuest = false;
            _departures++;
            Monitor.PulseAll(_gate);
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            _stopped = true;
            Monitor.PulseAll(_gate);
        }

        if (_thread is { } thread && !thread.Join(TimeSpan.FromSeconds(30)))
            throw new InvalidOperationException($"vCPU {index} does not stop");
    }

    private void Run()
    {
        while (true)
        {
            ServeKick();
            Action? instruction;
            lock (_gate)
            {
                if (_stopped)
                    return;
                if (_kicked)
                    continue;
                if (!_instructions.TryDequeue(out instruction))
                {
                    Monitor.Wait(_gate);
                    continue;
                }
            }

            instruction();
        }
    }

    private void ServeKick()
    {
        bool isKicked;
        lock (_gate)
        {
            isKicked = _kicked;
            _kicked = false;
        }

        if (isKicked)
            vm.Events?.OnEntry(this);
    }
}
