using Hyperscope.Vm;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>Reports to observers, and what they change meanwhile.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    private readonly HashSet<uint> _interceptedMsrs = [];

    // An observer is being asked in the middle of an instruction.
    private bool _isReporting;

    // Registers as an observer left them while it let an access of the current instruction through: what the instruction does
    // not change itself comes from here when it is done.
    private KvmRegs _toolRegisters, _registersBefore;
    private bool _hasToolRegisters;

    /// <inheritdoc/>
    public VcpuIntercepts Intercepts
    {
        get;
        set
        {
            field = value;
            Accelerator?.InterceptsChanged();
        }
    }

    /// <inheritdoc/>
    public void InterceptMsr(uint index, bool enable)
    {
        if (enable)
            _ = _interceptedMsrs.Add(index);
        else
            _ = _interceptedMsrs.Remove(index);
        Accelerator?.InterceptsChanged();
    }

    internal bool IsIntercepted(VcpuIntercepts what) => Events is not null && (Intercepts & what) != 0;

    /// <summary>Goes outside guest mode in front of an instruction, to ask an observer.</summary>
    private void BeginReport(Op* o)
    {
        _c->Rip = o->Rip;
        LeaveGuest();
        if (IsSingleStepping)
            Events?.OnSingleStep(this, failed: true);
        _isReporting = true;
    }

    private void EndReport()
    {
        ReenterGuest();
        _isReporting = false;
    }

    /// <summary>The instruction is not carried out; the guest goes on at the rip in the registers.</summary>
    private bool Restart(Op* o)
    {
        _c->Budget -= o->Index;
        _c->Stop = StopReason.Restart;
        return false;
    }

    /// <summary>INT3. False: stopped, or reported and not to be carried out.</summary>
    internal bool Breakpoint(Op* o)
    {
        if (!IsIntercepted(VcpuIntercepts.Breakpoint))
            return RaiseSoftware(o, X64.Vector.Breakpoint);
        BeginReport(o);
        ulong linear = _c->Is64Bit ? o->Rip : (o->Rip + _c->Cs.Base) & 0xFFFF_FFFF;
        Gpa? gpa = TryTranslate(new Gva(linear), out Gpa found) ? found : null;
        InstructionVerdict verdict = Events!.OnBreakpoint(this, gpa, o->Length);
        EndReport();
        if (verdict != InstructionVerdict.Proceed)
            return Restart(o);
        _c->Budget -= o->Index;
        _c->Fault = new FaultInfo { Vector = X64.Vector.Breakpoint, IsSoftware = true, NextRip = (_c->Rip + o->Length) & OpBits.RipMask(o->Bits) };
        _c->Stop = StopReason.Fault;
        return false;
    }

    /// <summary>VMCALL and VMMCALL. Always done: RAX holds the answer.</summary>
    internal void Hypercall(Op* o)
    {
        ulong result = unchecked((ulong)-1000L); // KVM_ENOSYS
        if (IsIntercepted(VcpuIntercepts.Hypercall))
        {
            BeginReport(o);
            if (Events!.OnHypercall(this, out ulong answer))
                result = answer;
            EndReport();
        }

        _c->R[0] = _c->Is64Bit ? result : (uint)result;
    }

    /// <summary>CPUID. False: reported and not to be carried out.</summary>
    internal bool Cpuid(Op* o)
    {
        if (IsIntercepted(VcpuIntercepts.Cpuid))
        {
            BeginReport(o);
            InstructionVerdict verdict = Events!.OnCpuid(this, (uint)_c->R[0], (uint)_c->R[1], o->Length);
            EndReport();
            if (verdict != InstructionVerdict.Proceed)
                return Restart(o);
        }

        CpuidResult result = ReadCpuid((uint)_c->R[0], (uint)_c->R[1]);
        _c->R[0] = result.Eax;
        _c->R[3] = result.Ebx;
        _c->R[1] = result.Ecx;
        _c->R[2] = result.Edx;
        return true;
    }

    /// <summary>Asks about a descriptor-table instruction. False: not to be carried out.</summary>
    internal bool AllowDescriptorAccess(Op* o, DescriptorTable table, bool isWrite)
    {
        if (!IsIntercepted(VcpuIntercepts.Descriptor))
            return true;
        BeginReport(o);
        InstructionVerdict verdict = Events!.OnDescriptorAccess(this, table, isWrite);
        EndReport();
        return verdict switch
        {
            InstructionVerdict.Proceed => true,
            InstructionVerdict.Restart => Restart(o),
            _ => RefuseInstruction(o),
        };
    }

    /// <summary>Asks about a checked change of CR0, CR3 or CR4. False: stopped.</summary>
    internal bool AllowControlRegisterWrite(Op* o, byte register, ulong before, ref ulong after)
    {
        VcpuIntercepts which = register switch { 0 => VcpuIntercepts.Cr0, 3 => VcpuIntercepts.Cr3, _ => VcpuIntercepts.Cr4 };
        if (before == after || !IsIntercepted(which))
            return true;
        BeginReport(o);
        InstructionVerdict verdict = Events!.OnControlRegisterWrite(this, register, before, ref after);
        EndReport();
        return verdict == InstructionVerdict.Proceed || RefuseInstruction(o);
    }

    /// <summary>Asks about a change of an MSR. False: stopped.</summary>
    internal bool AllowMsrWrite(Op* o, uint index, ref ulong value)
    {
        if (_interceptedMsrs.Count == 0 || Events is null || !_interceptedMsrs.Contains(index) || !TryReadMsr(index, out ulong before)
            || before == value)
        {
            return true;
        }

        BeginReport(o);
        InstructionVerdict verdict = Events!.OnMsrWrite(this, index, before, ref value);
        EndReport();
        return verdict == InstructionVerdict.Proceed || RefuseInstruction(o);
    }

    private bool RefuseInstruction(Op* o) => _c->RaiseGp(o);

    internal void ReportXsetbv(Op* o, ulong before, ulong after)
    {
        if (before == after || !IsIntercepted(VcpuIntercepts.Xsetbv))
            return;
        BeginReport(o);
        Events!.OnXsetbv(this, 0, before, after);
        EndReport();
    }

    /// <summary>Reports the blocked access and notes the verdict. What was stopped is attempted again either way.</summary>
    private void AskPageTracker()
    {
        bool isInstruction = _delivery is null;
        KvmRegs own = default, shown = default;
        if (isInstruction)
        {
            GetRegisters(out own);
            if (_hasToolRegisters)
                SetRegisters(_toolRegisters);
            GetRegisters(out shown);
        }

        var access = new PageTrackAccess(_blockedGva, _blockedGpa, _blockedKind, _blockedLength, _blockedData.AsSpan(0, _blockedDataLength), _answer);
        _answer.Clear();
        _isReporting = true;
        Group.Memory.PageTracker.CountAsked(Index);
        PageTrackVerdict verdict = Group.Memory.PageTracker.BeforeAccess(this, access);
        _isReporting = false;
        if (verdict != PageTrackVerdict.Allow)
        {
            ForgetApprovals();
            _hasToolRegisters = false;
            if (verdict != PageTrackVerdict.Retry)
                _stopRequested = true;
            return;
        }

        if (_approvalCount < MaxApprovals)
            Approve();
        if (!isInstruction)
            return;
        _isJustApproved = true;
        GetRegisters(out KvmRegs after);
        if (!_hasToolRegisters && after == shown)
            return;
        _toolRegisters = after;
        _registersBefore = own;
        _hasToolRegisters = true;
        SetRegisters(own);
    }

    // The instruction is done: what it changed stays, everything else is as the observer left it (kvmi-abi.md 5.5).
    private void MergeToolRegisters()
    {
        if (!_hasToolRegisters)
            return;
        _hasToolRegisters = false;
        GetRegisters(out KvmRegs merged);
        Span<ulong> now = KvmRegs.AsSpan(ref merged), before = KvmRegs.AsSpan(ref _registersBefore), tool = KvmRegs.AsSpan(ref _toolRegisters);
        for (int index = 0; index < 16; index++)
        {
            if (now[index] == before[index])
                now[index] = tool[index];
        }

        ulong changed = merged.Rflags ^ _registersBefore.Rflags;
        merged.Rflags = (merged.Rflags & changed) | (_toolRegisters.Rflags & ~changed);
        SetRegisters(merged);
    }

    // The instruction faulted instead: it has changed nothing, so the observer's registers are what the handler sees.
    private void DropToolRegisters(bool keepThem)
    {
        if (!_hasToolRegisters)
            return;
        _hasToolRegisters = false;
        if (keepThem)
            SetRegisters(_toolRegisters);
    }
}
