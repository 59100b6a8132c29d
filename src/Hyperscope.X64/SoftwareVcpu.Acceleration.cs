using Hyperscope.Vm;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>The hand-over of state to an accelerator and back.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    /// <summary>Executes guest code instead of the interpreter; null: the interpreter does. Set before the first run.</summary>
    public IAccelerator? Accelerator { get; set; }

    /// <summary>Something waits for the run loop: an accelerator returns. Any thread.</summary>
    public bool IsAttentionWanted => Volatile.Read(ref _c->Attention) != 0;

    /// <summary>An interrupt waits for the guest to allow it.</summary>
    public bool IsInterruptWaiting => _c->InterruptWaiting != 0;

    /// <summary>An NMI handler runs.</summary>
    public bool IsNmiBlocked => _isNmiBlocked;

    /// <summary>MSRs whose changes are reported.</summary>
    public IReadOnlyCollection<uint> InterceptedMsrs => _interceptedMsrs;

    /// <summary>CR8.</summary>
    public byte TaskPriority
    {
        get => (byte)ReadCr8();
        set => WriteCr8(value);
    }

    /// <summary>The MSRs of <see cref="AcceleratorState.SystemCalls"/>, in the order of <see cref="SystemCallMsrs"/>.</summary>
    public static ReadOnlySpan<uint> SystemCallMsrs =>
    [
        MsrIndex.Star, MsrIndex.Lstar, MsrIndex.Cstar, MsrIndex.Sfmask, MsrIndex.KernelGsBase, MsrIndex.TscAux,
        MsrIndex.SysenterCs, MsrIndex.SysenterEsp, MsrIndex.SysenterEip,
    ];

    /// <summary>Takes over the state in which an accelerator stopped.</summary>
    /// <param name="registers">General registers; RFLAGS.VM counts.</param>
    /// <param name="special">Segments, tables and control registers.</param>
    /// <param name="interruptShadow">0; 1 behind STI; 2 behind MOV SS and POP SS.</param>
    /// <param name="isNmiBlocked">An NMI handler runs.</param>
    /// <param name="unfinished">An event whose delivery was interrupted; null: none.</param>
    /// <param name="isNmi">That event is an NMI.</param>
    public void AdoptState(
        in KvmRegs registers, in KvmSregs special, int interruptShadow, bool isNmiBlocked, PendingEvent? unfinished, bool isNmi)
    {
        SetRegisters(registers);
        _c->SystemFlags = (registers.Rflags & Rflags.All & ~Rflags.Arithmetic) | Rflags.Fixed;
        SetSpecialRegisters(special);
        _c->InterruptShadow = interruptShadow;
        _isNmiBlocked = isNmiBlocked;
        if (unfinished is { } pending)
        {
            var fault = new FaultInfo { Vector = pending.Vector, HasErrorCode = pending.HasErrorCode, ErrorCode = pending.ErrorCode, Address = _c->Cr2 };
            _delivery = new PendingDelivery(fault, pending.IsExternal, isNmi);
        }
    }

    /// <summary>Replaces the MSRs of <see cref="SystemCallMsrs"/>.</summary>
    public void AdoptSystemCallMsrs(ReadOnlySpan<ulong> values)
    {
        _c->Star = values[0];
        _c->Lstar = values[1];
        _c->Cstar = values[2];
        _c->Sfmask = values[3];
        _c->KernelGsBase = values[4];
        _c->TscAux = values[5];
        _c->SysenterCs = values[6];
        _c->SysenterEsp = values[7];
        _c->SysenterEip = values[8];
    }

    /// <summary>The value that SWAPGS brings in; with <see cref="AcceleratorState.SystemCalls"/> fetched.</summary>
    public ulong KernelGsBase => _c->KernelGsBase;

    /// <summary>Replaces DR0 to DR3, DR6 and DR7; disabled ones (DR7 0x400) make nothing be watched here.</summary>
    public void AdoptDebugRegisters(ReadOnlySpan<ulong> addresses, ulong dr6, ulong dr7)
    {
        for (int number = 0; number < 4; number++)
            _c->Dr[number] = addresses[number];
        _c->Dr[6] = dr6;
        _c->Dr[7] = dr7;
        UpdateBreakpoints();
    }

    /// <summary>A debug register as it is here.</summary>
    public ulong GetDebugRegister(int number) => _c->Dr[number];

    /// <summary>Replaces XCR0 without reporting it.</summary>
    public void AdoptXcr0(ulong value) => _c->Xcr0 = value;

    /// <summary>Reads a port for an accelerator, outside guest mode.</summary>
    public uint ReadDevicePort(ushort port, int size)
    {
        LeaveGuest();
        uint value = Bus.ReadPort(port, size);
        EnterGuest();
        return value;
    }

    /// <summary>Writes a port for an accelerator, outside guest mode.</summary>
    public void WriteDevicePort(ushort port, int size, uint value)
    {
        LeaveGuest();
        Bus.WritePort(port, size, value);
        EnterGuest();
    }

    /// <summary>Reads device memory for an accelerator, outside guest mode; up to 8 bytes on one page.</summary>
    public void ReadDeviceMemory(Gpa gpa, Span<byte> destination)
    {
        LeaveGuest();
        fixed (byte* bytes = destination)
            ReadDevice(gpa.Value, bytes, destination.Length);
        EnterGuest();
    }

    /// <summary>Writes device memory for an accelerator, outside guest mode; up to 8 bytes on one page.</summary>
    public void WriteDeviceMemory(Gpa gpa, ReadOnlySpan<byte> source)
    {
        LeaveGuest();
        fixed (byte* bytes = source)
            WriteDevice(gpa.Value, bytes, source.Length);
        EnterGuest();
    }

    /// <summary>Asks the page tracker about an access that an accelerator met, outside guest mode.</summary>
    public PageTrackVerdict AskAbout(in PageTrackAccess access)
    {
        LeaveGuest();
        PageTrackVerdict verdict = Group.Memory.PageTracker.BeforeAccess(this, access);
        if (verdict == PageTrackVerdict.Stop)
            RequestStop();
        EnterGuest();
        return verdict;
    }

    private void RunAccelerated(IAccelerator accelerator) => EndAccelerated(accelerator.Run());

    private void EndAccelerated(AcceleratorExit exit)
    {
        switch (exit)
        {
            case AcceleratorExit.Instruction:
                _c->Stop = StopReason.RunAlone;
                break;
            case AcceleratorExit.Halt:
                _c->Stop = StopReason.Halt;
                break;
            case AcceleratorExit.Shutdown:
                _isShutDown = true;
                break;
            default:
                break;
        }
    }

    /// <summary>An instruction that is none here may be one of the hardware's.</summary>
    private void StepOnHardware(IAccelerator accelerator, Op* op)
    {
        if (MustBeExclusive(op))
            return;
        _c->Budget--;
        EndAccelerated(accelerator.Step());
    }

    private static AcceleratorState StateNeededBy(in Insn insn)
    {
        OpcodeRow row = insn.Row;
        return row.Name switch
        {
            "syscall" or "sysret" or "sysenter" or "sysexit" or "swapgs" or "rdtscp" or "rdpid" => AcceleratorState.SystemCalls,
            "mov" when insn.Opcode is 0x21 or 0x23 => AcceleratorState.Debug,
            _ => row.Feature is "" or "CLFLUSHOPT" or "CX8, CX16" or "FSGSBASE" or "INVPCID" or "MOVBE" or "POPCNT" or "RDRAND" or "RDSEED" or "SMAP"
                ? AcceleratorState.None
                : AcceleratorState.Vector,
        };
    }
}
