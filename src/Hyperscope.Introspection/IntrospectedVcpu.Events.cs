using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using Hyperscope.LinuxHost;

namespace Hyperscope.Introspection;

// Events and their replies.
internal sealed partial class IntrospectedVcpu
{
    private readonly byte[] _replyData = new byte[PageFaultReply.WireSize];
    private int _awaitsReply;
    private uint _expectedSeq;
    private EventId _pendingEvent;
    private EventAction _action;
    private KvmRegs _delayedRegisters;
    private bool _hasDelayedRegisters;
    private int _enabledEvents;
    private int _controlRegisters;
    private readonly HashSet<uint> _selectedMsrs = [];
    private bool _isBreakpointOwned;
    private bool _isSinglestepping;
    private bool _isInjecting;
    private VcpuInjectException _injection;
    private TrapEvent? _owedTrap;

    /// <summary>INT3.</summary>
    public InstructionVerdict OnBreakpoint(Gpa? gpa, byte length)
    {
        if (!IsEnabled(EventId.Breakpoint))
            return InstructionVerdict.Proceed;
        return Send(new BreakpointEvent(gpa, length)) is EventOutcome.Continue or EventOutcome.Lost
            ? InstructionVerdict.Proceed
            : InstructionVerdict.Restart;
    }

    /// <summary>CR0, CR3 or CR4 is about to change.</summary>
    public InstructionVerdict OnControlRegisterWrite(byte register, ulong oldValue, ref ulong newValue)
    {
        if (!IsEnabled(EventId.Cr) || oldValue == newValue || (_controlRegisters & (1 << register)) == 0)
            return InstructionVerdict.Proceed;
        return Decide(Send(new CrEvent(register, oldValue, newValue)), ref newValue);
    }

    /// <summary>A selected MSR is about to change.</summary>
    public InstructionVerdict OnMsrWrite(uint index, ulong oldValue, ref ulong newValue)
    {
        if (!IsEnabled(EventId.Msr) || oldValue == newValue || !_selectedMsrs.Contains(index))
            return InstructionVerdict.Proceed;
        return Decide(Send(new MsrEvent(index, oldValue, newValue)), ref newValue);
    }

    /// <summary>XCR0 was changed.</summary>
    public void OnXsetbv(byte register, ulong oldValue, ulong newValue)
    {
        if (IsEnabled(EventId.Xsetbv) && oldValue != newValue)
            Send(new XsetbvEvent(register, oldValue, newValue));
    }

    /// <summary>A descriptor-table register is about to be loaded or stored.</summary>
    public InstructionVerdict OnDescriptorAccess(DescriptorTable table, bool isWrite)
    {
        if (!IsEnabled(EventId.Descriptor))
            return InstructionVerdict.Proceed;
        return Send(new DescriptorEvent(table, isWrite)) is EventOutcome.Continue or EventOutcome.Lost
            ? InstructionVerdict.Proceed
            : InstructionVerdict.Restart;
    }

    /// <summary>VMCALL. True: it was the introspection hypercall, which returns 0 whatever the reply.</summary>
    public bool OnHypercall(out ulong result)
    {
        result = KvmiConstants.HypercallUnknown;
        if (!IsEnabled(EventId.Hypercall) || !IsIntrospectionHypercall())
            return false;
        Send(default(HypercallEvent));
        result = 0;
        return true;
    }

    /// <summary>An instruction was executed, or something else interrupted the step.</summary>
    public void OnSingleStep(bool failed)
    {
        if (_isSinglestepping && !session.IsClosed)
            Send(new SinglestepEvent(failed));
    }

    /// <summary>CPUID.</summary>
    public InstructionVerdict OnCpuid(uint function, uint index, byte instructionLength)
    {
        if (!IsEnabled(EventId.Cpuid))
            return InstructionVerdict.Proceed;
        vcpu.GetRegisters(out KvmRegs before);
        if (Send(new CpuidEvent(function, index, instructionLength)) is not (EventOutcome.Continue or EventOutcome.Lost))
            return InstructionVerdict.Restart;
        vcpu.GetRegisters(out KvmRegs after);
        return before.Rip == after.Rip ? InstructionVerdict.Proceed : InstructionVerdict.Refuse;
    }

    private bool IsEnabled(EventId id) => (_enabledEvents & BitOf(id)) != 0 && !session.IsClosed;

    /// <summary>The bit of an event in a set; extensions have the upper half.</summary>
    private static int BitOf(EventId id) => 1 << ((int)id < KvmiConstants.FirstExtensionId ? (int)id : 16 + ((int)id & 15));

    private void StopSending()
    {
        lock (_gate)
        {
            _isSending = false;
            Monitor.PulseAll(_gate);
        }
    }

    private bool IsIntrospectionHypercall()
    {
        vcpu.GetRegisters(out KvmRegs registers);
        if (vcpu.Mode == CpuMode.Bits64)
        {
            return registers.Rax == KvmiConstants.HypercallNumber && registers.Rdi == KvmiConstants.HypercallFunction
                && registers.Rsi == 0;
        }

        return (uint)registers.Rax == KvmiConstants.HypercallNumber && (uint)registers.Rbx == KvmiConstants.HypercallFunction
            && (uint)registers.Rcx == 0;
    }

    /// <summary>The reply's value is written as it is; a lost event writes what the guest wanted.</summary>
    private InstructionVerdict Decide(EventOutcome outcome, ref ulong newValue)
    {
        if (outcome == EventOutcome.Continue)
            newValue = Message.Read<NewValueReply>(_replyData).NewValue;
        return outcome is EventOutcome.Continue or EventOutcome.Lost ? InstructionVerdict.Proceed : InstructionVerdict.Refuse;
    }

    private void SendOwedTrap()
    {
        if (_owedTrap is not { } trap)
            return;
        _owedTrap = null;
        Send(trap);
    }

    private EventOutcome Send<T>(in T data)
        where T : unmanaged, IEvent<T>
    {
        SendOwedTrap();
        if (!session.Dialect.PausesComeFirst)
            return SendNow(data);
        EventOutcome outcome;
        do
        {
            if (T.Id != EventId.PauseVcpu)
                SendRequestedPauses();
            outcome = SendNow(data);
        }
        while (outcome == EventOutcome.Postponed);
        if (T.Id != EventId.PauseVcpu)
            SendRequestedPauses();
        return outcome;
    }

    /// <summary>A pause was asked for, and the tool told that the vCPU stands still.</summary>
    public bool IsPauseDue => session.Dialect.PausesComeFirst && Volatile.Read(ref _pauseRequests) != 0 && !session.IsClosed;

    /// <summary>Reports the pauses in the middle of an instruction.</summary>
    public void OnPauseDue() => SendRequestedPauses();

    /// <summary>The tool was told that this vCPU stands still: nothing may come in between.</summary>
    private void SendRequestedPauses()
    {
        if (Volatile.Read(ref _pauseRequests) == 0)
            return;
        EventAction action = _action; // the event's own verdict and data are still needed
        Span<byte> data = stackalloc byte[_replyData.Length];
        _replyData.CopyTo(data);
        while (!session.IsClosed && TryTakePause())
            SendNow(default(PauseVcpuEvent));
        _action = action;
        data.CopyTo(_replyData);
    }

    private EventOutcome SendNow<T>(in T data)
        where T : unmanaged, IEvent<T>
    {
        if (!session.TryEnter())
            return EventOutcome.Lost;
        bool pausesComeFirst = session.Dialect.PausesComeFirst;
        bool isReader = false;
        bool isSent = true;
        try
        {
            Volatile.Write(ref _threadId, Environment.CurrentManagedThreadId);
            isReader = session.TryBecomeReader();
            FillHeader(T.Id);
            int length = Message.CompleteEvent(_buffer, 0, data);
            if (!session.Dialect.IsCore)
                length = session.TranslateEvent(_buffer, length, T.Id, vcpu.View.Index);
            _pendingEvent = T.Id;
            lock (_gate)
            {
                if (pausesComeFirst && T.Id != EventId.PauseVcpu && _pauseRequests != 0 && !session.IsClosed)
                    return EventOutcome.Postponed;
                _isWaiting = true;
                _isSending = pausesComeFirst;
            }

            Volatile.Write(ref _awaitsReply, 1);
            isSent = session.SendEvent(_buffer.AsSpan(0, length), ref _expectedSeq, T.Id, this);
            if (!isSent)
                Volatile.Write(ref _awaitsReply, 0);
            if (pausesComeFirst)
                StopSending();
            AwaitReply(isReader, T.Id); // what was queued meanwhile runs in any case
        }
        catch (LinuxException failure)
        {
            session.Close(failure.Message);
        }
        finally
        {
            if (isReader)
                session.StopReading();
            session.Leave();
        }

        return isSent ? Conclude(T.Id, T.Accepts) : EventOutcome.Retry;
    }

    private void FillHeader(EventId id)
    {
        ref EventHeader header = ref Message.EventHeaderOf(_buffer);
        header = new EventHeader(vcpu.Index, id);
        ref EventArch arch = ref header.Arch;
        arch.Mode = vcpu.Mode;
        vcpu.GetRegisters(out arch.Regs);
        vcpu.GetSpecialRegisters(out arch.Sregs);
        arch.Msrs.SysenterCs = Msr(MsrIndex.SysenterCs);
        arch.Msrs.SysenterEsp = Msr(MsrIndex.SysenterEsp);
        arch.Msrs.SysenterEip = Msr(MsrIndex.SysenterEip);
        arch.Msrs.Efer = arch.Sregs.Efer;
        arch.Msrs.Star = Msr(MsrIndex.Star);
        arch.Msrs.Lstar = Msr(MsrIndex.Lstar);
        arch.Msrs.Cstar = Msr(MsrIndex.Cstar);
        arch.Msrs.Pat = Msr(MsrIndex.Pat);
        arch.Msrs.ShadowGs = Msr(MsrIndex.KernelGsBase);
    }

    private ulong Msr(uint index) => vcpu.TryReadMsr(index, out ulong value) ? value : 0;

    /// <summary>A message with the id of events arrived for this vCPU. Checks in the order of kvmi-abi.md 1.8.</summary>
    private void AcceptReply(in MessageHeader header, ReadOnlySpan<byte> payload)
    {
        if (!IsAwaitingReply)
            ThrowReply(header, "no event is pending");
        if (header.Seq != _expectedSeq)
            ThrowReply(header, $"event {_expectedSeq} is pending");
        if (payload.Length < KvmiConstants.EventReplySize)
            ThrowReply(header, $"its payload of {payload.Length} bytes is below {KvmiConstants.EventReplySize}");
        ReadOnlySpan<byte> data = payload[KvmiConstants.EventReplySize..];
        int limit = session.Dialect.EventReplyDataLimit(_pendingEvent);
        if (data.Length > limit)
            ThrowReply(header, $"its {data.Length} bytes of data are above the bound of {limit} for event {_pendingEvent}");
        var reply = Message.Read<EventReply>(payload[Unsafe.SizeOf<VcpuHeader>()..]);
        if (!reply.IsWellFormed && !session.Dialect.IgnoresPadding)
            ThrowReply(header, "its padding is not zero");
        if (_pendingEvent == EventId.Access && Message.Read<PageFaultReply>(data).DataSize > PageFaultReply.MaxDataSize)
            ThrowReply(header, $"it announces more than {PageFaultReply.MaxDataSize} bytes for the access");
        _action = reply.Action;
        _replyData.AsSpan().Clear();
        data[..Math.Min(data.Length, _replyData.Length)].CopyTo(_replyData);
        Volatile.Write(ref _awaitsReply, 0);
        if (_hasDelayedRegisters)
        {
            _hasDelayedRegisters = false;
            vcpu.SetRegisters(_delayedRegisters);
        }
    }

    private EventOutcome Conclude(EventId id, EventActions accepts)
    {
        if (IsAwaitingReply)
        {
            Volatile.Write(ref _awaitsReply, 0);
            _hasDelayedRegisters = false;
            IntrospectionMetrics.Unanswered.Add(1);
            Hold(id);
            return EventOutcome.Lost;
        }

        if (!accepts.Allows(_action))
        {
            session.Close($"event {id} of vCPU {vcpu.Index} was answered with action {(byte)_action}, which it does not accept");
            return EventOutcome.Refused;
        }

        if (_action == EventAction.Crash)
        {
            session.Logger.CrashRequested(session.Vm.Name, session.ToolName, id, vcpu.Index);
            session.Vm.Terminate($"introspection tool {session.ToolName} answered event {id} of vCPU {vcpu.Index} with CRASH");
            session.Release("the tool stopped the VM");
            return EventOutcome.Crash;
        }

        return _action == EventAction.Retry ? EventOutcome.Retry : EventOutcome.Continue;
    }

    [DoesNotReturn]
    private void ThrowReply(in MessageHeader header, string why) =>
        throw new ProtocolException($"event reply {header.Seq} for vCPU {vcpu.Index}: {why}");
}
