using System.Runtime.InteropServices;

namespace Hyperscope.Introspection;

// The commands of a vCPU. They run on its own thread.
internal sealed partial class IntrospectedVcpu
{
    private const uint MsrRangeSize = 0x2000;
    private const uint HighMsrBase = 0xC0000000;

    // #DF, #TS, #NP, #SS, #GP, #PF, #AC push an error code.
    private const uint VectorsWithErrorCode = 1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 17;

    public KvmError GetInfo(out VcpuGetInfoReply reply)
    {
        reply = new VcpuGetInfoReply(vcpu.TscFrequency);
        return KvmError.None;
    }

    public KvmError ControlEvents(EventId id, bool enable)
    {
        if (!EventCatalog.TryGet(id, out EventInfo info) || !info.IsVcpuEvent)
            return KvmError.InvalidArgument;
        if (!session.Events.Allows((int)id))
            return KvmError.NotPermitted;
        if (info.IsOnRequest)
            return KvmError.None;
        int bit = BitOf(id);

        // Keeps its new value even if what follows fails, as in v9.
        _enabledEvents = enable ? _enabledEvents | bit : _enabledEvents & ~bit;
        KvmError error = id switch
        {
            EventId.Breakpoint when enable && !Can(VmCapabilities.BreakpointEvents) => KvmError.NotSupported,
            EventId.Hypercall when enable && !Can(VmCapabilities.HypercallEvents) => KvmError.NotSupported,
            EventId.Breakpoint => OwnBreakpoints(enable),
            EventId.Descriptor when !Can(VmCapabilities.DescriptorEvents) => KvmError.NotSupported,
            EventId.Xsetbv when !Can(VmCapabilities.XsetbvEvents) => KvmError.NotSupported,
            EventId.Cpuid when enable && !Can(VmCapabilities.CpuidEvents) => KvmError.NotSupported,
            EventId.Cr when enable && !Can(VmCapabilities.ControlRegisterEvents) => KvmError.NotSupported,
            _ => KvmError.None,
        };
        if (error == KvmError.NotSupported)
            session.Logger.EventNotSupported(session.ToolName, id);
        ApplyIntercepts();
        return error;
    }

    public KvmError GetRegisters(in VcpuGetRegisters command, ReadOnlySpan<byte> tail, ref ReplyData reply)
    {
        if (command.MsrCount > KvmiConstants.MaxRegisterMsrs)
            return KvmError.InvalidArgument;
        var fixedPart = new VcpuGetRegistersReply { Mode = vcpu.Mode, MsrCount = command.MsrCount };
        vcpu.GetRegisters(out fixedPart.Regs);
        vcpu.GetSpecialRegisters(out fixedPart.Sregs);
        reply.Set(fixedPart);
        int size = reply.Length;
        ReadOnlySpan<uint> indexes = MemoryMarshal.Cast<byte, uint>(tail[..command.TailSize]);
        Span<KvmMsrEntry> entries = MemoryMarshal.Cast<byte, KvmMsrEntry>(
            reply.Take(size + (indexes.Length * Marshal.SizeOf<KvmMsrEntry>()))[size..]);
        for (int i = 0; i < indexes.Length; i++)
        {
            if (!vcpu.TryReadMsr(indexes[i], out ulong value) && (indexes[i] != 0 || !session.Dialect.HasMsrZero))
                return KvmError.InvalidArgument;
            entries[i] = new KvmMsrEntry { Index = indexes[i], Data = value };
        }

        return KvmError.None;
    }

    public KvmError SetRegisters(in KvmRegs registers)
    {
        if (!IsAwaitingReply)
            return KvmError.NotSupported;
        _delayedRegisters = registers;
        _hasDelayedRegisters = true;
        return KvmError.None;
    }

    public KvmError GetCpuid(uint function, uint index, out CpuidResult reply) =>
        vcpu.TryGetCpuid(function, index, out reply) ? KvmError.None : KvmError.NotFound;

    public KvmError ControlCr(byte register, bool enable)
    {
        if (register is not (0 or 3 or 4))
            return KvmError.InvalidArgument;
        if (enable && !session.Can(MessageId.VcpuControlCr, VmCapabilities.ControlRegisterEvents))
            return KvmError.NotSupported;
        int bit = 1 << register;
        _controlRegisters = enable ? _controlRegisters | bit : _controlRegisters & ~bit;
        ApplyIntercepts();
        return KvmError.None;
    }

    public KvmError InjectException(in VcpuInjectException command)
    {
        if (!session.Events.Allows((int)EventId.Trap))
            return KvmError.NotPermitted;
        if (!command.IsWellFormed && !session.Dialect.IgnoresPadding)
            return KvmError.InvalidArgument;
        if (_isInjecting || _owedTrap is not null)
            return KvmError.Busy;
        _injection = command;
        _isInjecting = true;
        vcpu.Kick(); // so that the next entry looks at it
        return KvmError.None;
    }

    public KvmError GetXcr(byte register, out VcpuGetXcrReply reply)
    {
        reply = new VcpuGetXcrReply(vcpu.Xcr0);
        return register == 0 ? KvmError.None : KvmError.InvalidArgument;
    }

    public KvmError GetXsave(ref ReplyData reply)
    {
        vcpu.GetXsave(reply.Take(KvmiConstants.XsaveSize));
        return KvmError.None;
    }

    public KvmError SetXsave(ReadOnlySpan<byte> image) =>
        image.Length <= KvmiConstants.XsaveSize && vcpu.TrySetXsave(image) ? KvmError.None : KvmError.InvalidArgument;

    public KvmError GetMtrrType(Gpa gpa, out VcpuGetMtrrTypeReply reply)
    {
        reply = new VcpuGetMtrrTypeReply(vcpu.GetMemoryType(gpa));
        return KvmError.None;
    }

    public KvmError ControlMsr(uint msr, bool enable)
    {
        if (msr >= MsrRangeSize && msr - HighMsrBase >= MsrRangeSize)
            return KvmError.InvalidArgument;
        if (enable)
            _selectedMsrs.Add(msr);
        else
            _selectedMsrs.Remove(msr);
        interception.ApplyMsr(vcpu, msr, enable);
        return KvmError.None;
    }

    public KvmError ControlSinglestep(bool enable)
    {
        if (!session.Events.Allows((int)EventId.Singlestep))
            return KvmError.NotPermitted;
        if (!session.Can(MessageId.VcpuControlSinglestep, VmCapabilities.SingleStep))
            return KvmError.NotSupported;
        _isSinglestepping = enable;
        interception.ApplySinglestep(vcpu, enable);
        if (!enable)
            vcpu.Kick(); // an injection may have waited for this
        return KvmError.None;
    }

    public KvmError TranslateGva(Gva gva, out VcpuTranslateGvaReply reply)
    {
        reply = new VcpuTranslateGvaReply(vcpu.TryTranslate(gva, out Gpa gpa) ? gpa : null);
        return KvmError.None;
    }

    private bool Can(VmCapabilities capability) => (session.Vm.Capabilities & capability) != 0;

    private KvmError OwnBreakpoints(bool enable)
    {
        if (enable && interception.Others(vcpu).HasFlag(VcpuIntercepts.Breakpoint))
            return KvmError.Busy;
        if (_isBreakpointOwned == enable)
            return session.Dialect.ToleratesRepeatedSwitching ? KvmError.None : KvmError.Busy;
        _isBreakpointOwned = enable;
        return KvmError.None;
    }

    private void ApplyIntercepts()
    {
        var wanted = VcpuIntercepts.None;
        if (_isBreakpointOwned)
            wanted |= VcpuIntercepts.Breakpoint;
        if (Wants(EventId.Cr))
        {
            wanted |= Selected(0, VcpuIntercepts.Cr0) | Selected(3, VcpuIntercepts.Cr3) | Selected(4, VcpuIntercepts.Cr4);
        }

        if (Wants(EventId.Xsetbv))
            wanted |= VcpuIntercepts.Xsetbv;
        if (Wants(EventId.Descriptor) && Can(VmCapabilities.DescriptorEvents))
            wanted |= VcpuIntercepts.Descriptor;
        if (Wants(EventId.Hypercall))
            wanted |= VcpuIntercepts.Hypercall;
        if (Wants(EventId.Cpuid))
            wanted |= VcpuIntercepts.Cpuid;
        interception.Apply(vcpu, wanted);
    }

    private bool Wants(EventId id) => (_enabledEvents & BitOf(id)) != 0;

    private VcpuIntercepts Selected(int register, VcpuIntercepts intercept) =>
        (_controlRegisters & (1 << register)) != 0 ? intercept : VcpuIntercepts.None;

    /// <summary>Just before entry: delivers what is going in, and owes a TRAP event for it (kvmi-abi.md 4.7).</summary>
    /// <returns>True: something was delivered, so the list of things to do before entry starts over.</returns>
    private bool TryInject()
    {
        if (!_isInjecting || vcpu.IsSingleStepping)
            return false;
        _isInjecting = false;
        if (vcpu.PendingEvent is null)
        {
            bool hasErrorCode = _injection.Vector < 32 && (VectorsWithErrorCode & (1u << _injection.Vector)) != 0;
            vcpu.TryQueueException(_injection.Vector, hasErrorCode ? _injection.ErrorCode : 0, _injection.Address);
        }

        if (vcpu.PendingEvent is not { } going)
            return false;
        vcpu.DeliverPendingEvent();
        vcpu.GetSpecialRegisters(out KvmSregs sregs);
        _owedTrap = new TrapEvent(going.Vector, going.HasErrorCode ? going.ErrorCode : 0, sregs.Cr2);
        return true;
    }
}
