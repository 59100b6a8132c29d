using Hyperscope.LinuxHost;
using Hyperscope.Vm;
using Hyperscope.X64;
using Microsoft.Extensions.Logging;

namespace Hyperscope.Kvm;

/// <summary>Lets the kernel execute a software vCPU's guest code; whatever the kernel stops at, the software does.</summary>
/// <remarks>
/// <para>A protected page makes KVM_RUN fail with EFAULT and nothing of the instruction done. The software vCPU then executes that one
/// instruction over its own view of memory with the access map in force, which gives the exact access, asks whoever watches it, and commits
/// or discards it. MSR filter, hypercall intercept and software breakpoints likewise stop in front of the instruction.</para>
/// <para>Facets: State (what is handed over), Exits (devices).</para>
/// </remarks>
internal sealed partial class KvmAccelerator : IAccelerator, IDisposable
{
    private readonly KvmBackend _backend;
    private readonly SoftwareVcpu _owner;
    private readonly KvmVcpu _vcpu;
    private readonly ILogger _logger;
    private uint _debugControl, _appliedDebugControl;
    private int _threadId;
    private int _isInside;

    [ThreadStatic]
    private static int t_threadId;

    public KvmAccelerator(KvmBackend backend, SoftwareVcpu owner, ILogger logger)
    {
        _backend = backend;
        _owner = owner;
        _logger = logger;
        _vcpu = backend.Vm.CreateVcpu(owner.Index);
        _vcpu.SetCpuid(backend.CpuidOf(owner.Index));
        _vcpu.Page.ValidRegs = KvmRun.SyncRegs | KvmRun.SyncSregs | KvmRun.SyncEvents;
    }

    public AcceleratorExit Run()
    {
        EnterThread();
        if (_backend.View.HasChanges)
            _backend.View.Apply();
        Push();
        if (_appliedDebugControl != _debugControl)
            ApplyDebugControl(_debugControl);
        AcceleratorExit exit = RunUntilStopped();
        Pull();
        return exit;
    }

    public AcceleratorExit Step()
    {
        EnterThread();
        _owner.GetRegisters(out KvmRegs registers);
        _logger.SteppedByHardware(_owner.Index, new Gva(registers.Rip));
        Push();
        _backend.View.Open();
        try
        {
            ApplyDebugControl(KvmGuestDebug.SingleStep);
            AcceleratorExit exit;
            do
            {
                // Attention waits for one instruction; a kick must not keep it from ever being executed.
                Volatile.Write(ref _vcpu.Page.ImmediateExit, 0);
                exit = RunOnce(isStep: true) ?? AcceleratorExit.Attention;
            }
            while (exit == AcceleratorExit.Attention && !_isStepDone);
            Pull();
            return exit == AcceleratorExit.Instruction ? AcceleratorExit.Attention : exit;
        }
        finally
        {
            ApplyDebugControl(_debugControl);
            _backend.View.Close();
        }
    }

    public void Kick()
    {
        Volatile.Write(ref _vcpu.Page.ImmediateExit, 1);
        Interlocked.MemoryBarrier();
        if (Volatile.Read(ref _isInside) != 0)
            ThreadSignal.Send(Volatile.Read(ref _threadId));
    }

    public void InterceptsChanged()
    {
        _debugControl = (_owner.Intercepts & VcpuIntercepts.Breakpoint) != 0 ? KvmGuestDebug.SoftwareBreakpoints : 0;
        _backend.InterceptMsrs(_owner);
    }

    public bool TryGetCpuid(uint function, uint index, out CpuidResult result) => _backend.TryGetCpuid(_owner.Index, function, index, out result);

    public void Dispose() => _vcpu.Dispose();

    private void EnterThread()
    {
        if (t_threadId == 0)
            t_threadId = ThreadSignal.Prepare();
        Volatile.Write(ref _threadId, t_threadId);
    }

    private void ApplyDebugControl(uint control)
    {
        _vcpu.SetGuestDebug(control);
        _appliedDebugControl = control;
    }

    private AcceleratorExit RunUntilStopped()
    {
        ref KvmRun page = ref _vcpu.Page;
        while (true)
        {
            Volatile.Write(ref page.ImmediateExit, 0);
            Volatile.Write(ref _isInside, 1);
            Interlocked.MemoryBarrier();
            AcceleratorExit? exit;
            if (_owner.IsAttentionWanted)
            {
                Volatile.Write(ref _isInside, 0);
                CompleteDeviceAccess();
                return AcceleratorExit.Attention;
            }

            exit = RunOnce(isStep: false);
            if (exit is { } stopped)
                return stopped;
        }
    }

    /// <summary>Finishes what the kernel began on behalf of a device access: until then registers are not those of any instruction's border.</summary>
    private void CompleteDeviceAccess()
    {
        ref KvmRun page = ref _vcpu.Page;
        while (_hasOpenAccess)
        {
            Volatile.Write(ref page.ImmediateExit, 1);
            _ = RunOnce(isStep: false);
        }
    }

    /// <summary>One KVM_RUN.</summary>
    /// <returns>What stopped it for good; null: go on.</returns>
    private AcceleratorExit? RunOnce(bool isStep)
    {
        ref KvmRun page = ref _vcpu.Page;
        page.RequestInterruptWindow = (byte)(_owner.IsInterruptWaiting && !isStep ? 1 : 0);
        byte priority = _owner.TaskPriority;
        page.Cr8 = priority;
        _hasOpenAccess = false;
        _isStepDone = false;
        int error = _vcpu.Run();
        Volatile.Write(ref _isInside, 0);
        page.DirtyRegs = 0;
        if (page.Cr8 != priority)
            _owner.TaskPriority = (byte)(page.Cr8 & 15);
        switch (error)
        {
            case 0:
                return HandleExit(ref page);
            case Errno.Interrupted or Errno.Again:
                // Immediate exit or a signal: the loop looks for attention. Without any, it was a signal for something else.
                return null;
            case Errno.Fault:
                return AcceleratorExit.Instruction;
            default:
                throw new LinuxException(error, $"KVM_RUN of vCPU {_owner.Index}");
        }
    }
}
