using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi.Tests;

/// <summary>Builds a vector's message the way a program would: public constructors, then one call of <see cref="Message"/>.</summary>
internal static class VectorBuilder
{
    private delegate int Builder(Vector v, Span<byte> to);

    private static readonly Dictionary<MessageId, Builder> Requests = new()
    {
        [MessageId.GetVersion] = Command(_ => default(GetVersion)),
        [MessageId.VmCheckCommand] = Command(v => new VmCheckCommand((MessageId)v.Number("req.id"))),
        [MessageId.VmCheckEvent] = Command(v => new VmCheckEvent((EventId)v.Number("req.id"))),
        [MessageId.VmGetInfo] = Command(_ => default(VmGetInfo)),
        [MessageId.VmControlEvents] = Command(v => new VmControlEvents((EventId)v.Number("req.event_id"), Flag(v, "req.enable"))),
        [MessageId.VmReadPhysical] = Command(v => new VmReadPhysical(new Gpa(v.Number("req.gpa")), (ushort)v.Number("req.size"))),
        [MessageId.VmWritePhysical] = Command(v => new VmWritePhysical(new Gpa(v.Number("req.gpa")), (ushort)v.Number("req.size")), "req.data"),
        [MessageId.VcpuGetInfo] = Command(v => new VcpuGetInfo(Vcpu(v))),
        [MessageId.VcpuPause] = Command(v => new VcpuPause(Vcpu(v), Flag(v, "req.wait"))),
        [MessageId.VcpuControlEvents] = Command(
            v => new VcpuControlEvents(Vcpu(v), (EventId)v.Number("req.event_id"), Flag(v, "req.enable"))),
        [MessageId.VcpuGetRegisters] = Command(v => new VcpuGetRegisters(Vcpu(v), (ushort)v.Number("req.nmsrs")), "req.msrs_idx["),
        [MessageId.VcpuSetRegisters] = Command(v => new VcpuSetRegisters(Vcpu(v), Regs(v, "req.regs."))),
        [MessageId.VcpuGetCpuid] = Command(
            v => new VcpuGetCpuid(Vcpu(v), (uint)v.Number("req.function"), (uint)v.Number("req.index"))),
        [MessageId.VmControlCleanup] = Command(v => new VmControlCleanup(Flag(v, "req.enable"))),
        [MessageId.VcpuControlCr] = Command(v => new VcpuControlCr(Vcpu(v), (byte)v.Number("req.cr"), Flag(v, "req.enable"))),
        [MessageId.VcpuInjectException] = Command(v => new VcpuInjectException(
            Vcpu(v), (byte)v.Number("req.nr"), (uint)v.Number("req.error_code"), v.Number("req.address"))),
        [MessageId.VmGetMaxGfn] = Command(_ => default(VmGetMaxGfn)),
        [MessageId.VcpuGetXcr] = Command(v => new VcpuGetXcr(Vcpu(v), (byte)v.Number("req.xcr"))),
        [MessageId.VcpuGetXsave] = Command(v => new VcpuGetXsave(Vcpu(v))),
        [MessageId.VcpuSetXsave] = Command(v => new VcpuSetXsave(Vcpu(v)), "req.region"),
        [MessageId.VcpuGetMtrrType] = Command(v => new VcpuGetMtrrType(Vcpu(v), new Gpa(v.Number("req.gpa")))),
        [MessageId.VcpuControlMsr] = Command(v => new VcpuControlMsr(Vcpu(v), (uint)v.Number("req.msr"), Flag(v, "req.enable"))),
        [MessageId.VmSetPageAccess] = static (v, to) =>
        {
            ushort count = (ushort)v.Number("req.count");
            Span<PageAccessEntry> entries = new PageAccessEntry[count];
            for (int i = 0; i < count; i++)
            {
                entries[i] = new PageAccessEntry(
                    new Gpa(v.Number($"req.entries[{i}].gpa")),
                    (PageAccess)v.Number($"req.entries[{i}].access"),
                    Flag(v, $"req.entries[{i}].visible"));
            }

            return Message.WriteCommand(to, v.Header.Seq, new VmSetPageAccess(count), MemoryMarshal.AsBytes(entries));
        },
        [MessageId.VcpuControlSinglestep] = Command(v => new VcpuControlSinglestep(Vcpu(v), Flag(v, "req.enable"))),
        [MessageId.VcpuTranslateGva] = Command(v => new VcpuTranslateGva(Vcpu(v), new Gva(v.Number("req.gva")))),
    };

    private static readonly Dictionary<MessageId, Builder> Replies = new()
    {
        [MessageId.GetVersion] = Reply(v => new GetVersionReply(
            (uint)v.Number("rpl.version"), new Features(Flag(v, "rpl.features.singlestep")))),
        [MessageId.VmGetInfo] = Reply(v => new VmGetInfoReply((uint)v.Number("rpl.vcpu_count"))),
        [MessageId.VmReadPhysical] = static (v, to) => Message.WriteReply(to, v.Header.MessageId, v.Header.Seq, v.Fields["data"]),
        [MessageId.VcpuGetInfo] = Reply(v => new VcpuGetInfoReply(v.Number("rpl.tsc_speed"))),
        [MessageId.VcpuGetRegisters] = static (v, to) =>
        {
            var reply = new VcpuGetRegistersReply
            {
                Mode = (CpuMode)v.Number("rpl.mode"),
                Regs = Regs(v, "rpl.regs."),
                Sregs = Sregs(v, "rpl.sregs."),
                MsrCount = (uint)v.Number("rpl.msrs.nmsrs"),
            };
            Span<KvmMsrEntry> entries = new KvmMsrEntry[reply.MsrCount];
            for (int i = 0; i < entries.Length; i++)
            {
                string path = $"rpl.msrs.entries[{i}].";
                entries[i] = new KvmMsrEntry { Index = (uint)v.Number(path + "index"), Data = v.Number(path + "data") };
            }

            return Message.WriteReply(to, v.Header.MessageId, v.Header.Seq, reply, MemoryMarshal.AsBytes(entries));
        },
        [MessageId.VcpuGetCpuid] = Reply(v => new CpuidResult(
            (uint)v.Number("rpl.eax"), (uint)v.Number("rpl.ebx"), (uint)v.Number("rpl.ecx"), (uint)v.Number("rpl.edx"))),
        [MessageId.VmGetMaxGfn] = Reply(v => new VmGetMaxGfnReply(new Gfn(v.Number("rpl.gfn")))),
        [MessageId.VcpuGetXcr] = Reply(v => new VcpuGetXcrReply(v.Number("rpl.value"))),
        [MessageId.VcpuGetXsave] = static (v, to) => Message.WriteReply(to, v.Header.MessageId, v.Header.Seq, v.Fields["rpl.region"]),
        [MessageId.VcpuGetMtrrType] = Reply(v => new VcpuGetMtrrTypeReply((MemoryType)v.Number("rpl.type"))),
        [MessageId.VcpuTranslateGva] = Reply(v => new VcpuTranslateGvaReply(
            v.Number("rpl.gpa") == ulong.MaxValue ? null : new Gpa(v.Number("rpl.gpa")))),
    };

    private static readonly Dictionary<EventId, Builder> Events = new()
    {
        [EventId.Unhook] = Event(_ => default(UnhookEvent)),
        [EventId.PauseVcpu] = Event(_ => default(PauseVcpuEvent)),
        [EventId.Hypercall] = Event(_ => default(HypercallEvent)),
        [EventId.Breakpoint] = Event(v => new BreakpointEvent(new Gpa(v.Number("bp.gpa")), (byte)v.Number("bp.insn_len"))),
        [EventId.Cr] = Event(v => new CrEvent((byte)v.Number("cr.cr"), v.Number("cr.old_value"), v.Number("cr.new_value"))),
        [EventId.Trap] = Event(v => new TrapEvent(
            (byte)v.Number("trap.nr"), (uint)v.Number("trap.error_code"), v.Number("trap.address"))),
        [EventId.Xsetbv] = Event(v => new XsetbvEvent(
            (byte)v.Number("xsetbv.xcr"), v.Number("xsetbv.old_value"), v.Number("xsetbv.new_value"))),
        [EventId.Descriptor] = Event(v => new DescriptorEvent((DescriptorTable)v.Number("desc.descriptor"), Flag(v, "desc.write"))),
        [EventId.Msr] = Event(v => new MsrEvent((uint)v.Number("msr.msr"), v.Number("msr.old_value"), v.Number("msr.new_value"))),
        [EventId.PageFault] = Event(v => new PageFaultEvent(
            new Gva(v.Number("pf.gva")), new Gpa(v.Number("pf.gpa")), (PageAccess)v.Number("pf.access"))),
        [EventId.Singlestep] = Event(v => new SinglestepEvent(Flag(v, "singlestep.failed"))),
    };

    private static readonly Dictionary<string, KvmError> Errors = new()
    {
        ["err.eperm"] = KvmError.NotPermitted,
        ["err.enoent"] = KvmError.NotFound,
        ["err.eagain"] = KvmError.TryAgain,
        ["err.enomem"] = KvmError.OutOfMemory,
        ["err.ebusy"] = KvmError.Busy,
        ["err.einval"] = KvmError.InvalidArgument,
        ["err.eopnotsupp"] = KvmError.NotSupported,
        ["err.enosys"] = KvmError.UnknownCommand,
    };

    public static int Build(Vector vector, Span<byte> to)
    {
        switch (vector.Kind)
        {
            case "request":
                return Requests[vector.Header.MessageId](vector, to);
            case "reply":
                return Replies.TryGetValue(vector.Header.MessageId, out Builder? reply)
                    ? reply(vector, to)
                    : Message.WriteReply(to, vector.Header.MessageId, vector.Header.Seq);
            case "error-reply":
                return Message.WriteError(to, vector.Header.MessageId, vector.Header.Seq, Errors[vector.Name]);
            case "event":
                return Events[(EventId)vector.Number("ev.event")](vector, to);
            case "event-reply":
                var id = (EventId)vector.Number("reply.event");
                var action = (EventAction)vector.Number("reply.action");
                string? value = vector.Fields.Keys.FirstOrDefault(path => path.EndsWith(".new_val", StringComparison.Ordinal));
                return value is null
                    ? Message.WriteEventReply(to, vector.Header.Seq, Vcpu(vector), id, action)
                    : Message.WriteEventReply(to, vector.Header.Seq, Vcpu(vector), id, action, new NewValueReply(vector.Number(value)));
            default:
                return Control(vector, to);
        }
    }

    private static int Control(Vector vector, Span<byte> to)
    {
        if (vector.Name == "ctl.hook")
        {
            UuidBytes uuid = UuidBytes.From(new Guid(vector.Fields["hook.uuid"], bigEndian: true));
            MemoryMarshal.Write(to, new IntrospectionHook((int)vector.Number("hook.fd"), uuid));
            return 24;
        }

        MemoryMarshal.Write(to, new IntrospectionFeature((uint)vector.Number("feature.allow"), unchecked((int)vector.Number("feature.id"))));
        return 8;
    }

    private static Builder Command<T>(Func<Vector, T> make, string? tail = null)
        where T : unmanaged, ICommand<T> => (v, to) =>
        Message.WriteCommand(to, v.Header.Seq, make(v), tail is null ? [] : v.Fields
            .Where(pair => pair.Key.StartsWith(tail, StringComparison.Ordinal)).SelectMany(pair => pair.Value).ToArray());

    private static Builder Reply<T>(Func<Vector, T> make)
        where T : unmanaged => (v, to) => Message.WriteReply(to, v.Header.MessageId, v.Header.Seq, make(v));

    private static Builder Event<T>(Func<Vector, T> make)
        where T : unmanaged, IEvent<T> => (v, to) =>
    {
        var header = new EventHeader(new VcpuIndex((ushort)v.Number("ev.vcpu")), T.Id);
        if (T.Id != EventId.Unhook)
        {
            header.Arch.Mode = (CpuMode)v.Number("ev.arch.mode");
            header.Arch.Regs = Regs(v, "ev.arch.regs.");
            header.Arch.Sregs = Sregs(v, "ev.arch.sregs.");
            header.Arch.Msrs = new EventMsrs
            {
                SysenterCs = v.Number("ev.arch.msrs.sysenter_cs"),
                SysenterEsp = v.Number("ev.arch.msrs.sysenter_esp"),
                SysenterEip = v.Number("ev.arch.msrs.sysenter_eip"),
                Efer = v.Number("ev.arch.msrs.efer"),
                Star = v.Number("ev.arch.msrs.star"),
                Lstar = v.Number("ev.arch.msrs.lstar"),
                Cstar = v.Number("ev.arch.msrs.cstar"),
                Pat = v.Number("ev.arch.msrs.pat"),
                ShadowGs = v.Number("ev.arch.msrs.shadow_gs"),
            };
        }

        return Message.WriteEvent(to, v.Header.Seq, header, make(v));
    };

    private static VcpuIndex Vcpu(Vector v) => new((ushort)v.Number("vcpu_hdr.vcpu"));

    private static bool Flag(Vector v, string path) => v.Number(path) switch
    {
        0 => false,
        1 => true,
        ulong other => throw new InvalidDataException($"{v.Name}: {path} is {other}"),
    };

    private static KvmRegs Regs(Vector v, string prefix) => new()
    {
        Rax = v.Number(prefix + "rax"),
        Rbx = v.Number(prefix + "rbx"),
        Rcx = v.Number(prefix + "rcx"),
        Rdx = v.Number(prefix + "rdx"),
        Rsi = v.Number(prefix + "rsi"),
        Rdi = v.Number(prefix + "rdi"),
        Rsp = v.Number(prefix + "rsp"),
        Rbp = v.Number(prefix + "rbp"),
        R8 = v.Number(prefix + "r8"),
        R9 = v.Number(prefix + "r9"),
        R10 = v.Number(prefix + "r10"),
        R11 = v.Number(prefix + "r11"),
        R12 = v.Number(prefix + "r12"),
        R13 = v.Number(prefix + "r13"),
        R14 = v.Number(prefix + "r14"),
        R15 = v.Number(prefix + "r15"),
        Rip = v.Number(prefix + "rip"),
        Rflags = v.Number(prefix + "rflags"),
    };

    private static KvmSregs Sregs(Vector v, string prefix)
    {
        var sregs = new KvmSregs
        {
            Cs = Segment(v, prefix + "cs."),
            Ds = Segment(v, prefix + "ds."),
            Es = Segment(v, prefix + "es."),
            Fs = Segment(v, prefix + "fs."),
            Gs = Segment(v, prefix + "gs."),
            Ss = Segment(v, prefix + "ss."),
            Tr = Segment(v, prefix + "tr."),
            Ldt = Segment(v, prefix + "ldt."),
            Gdt = new KvmDtable { Base = v.Number(prefix + "gdt.base"), Limit = (ushort)v.Number(prefix + "gdt.limit") },
            Idt = new KvmDtable { Base = v.Number(prefix + "idt.base"), Limit = (ushort)v.Number(prefix + "idt.limit") },
            Cr0 = v.Number(prefix + "cr0"),
            Cr2 = v.Number(prefix + "cr2"),
            Cr3 = v.Number(prefix + "cr3"),
            Cr4 = v.Number(prefix + "cr4"),
            Cr8 = v.Number(prefix + "cr8"),
            Efer = v.Number(prefix + "efer"),
            ApicBase = v.Number(prefix + "apic_base"),
        };
        for (int i = 0; i < 4; i++)
            sregs.InterruptBitmap[i] = v.Number($"{prefix}interrupt_bitmap[{i}]");
        return sregs;
    }

    private static KvmSegment Segment(Vector v, string prefix) => new()
    {
        Base = v.Number(prefix + "base"),
        Limit = (uint)v.Number(prefix + "limit"),
        Selector = (ushort)v.Number(prefix + "selector"),
        Type = (byte)v.Number(prefix + "type"),
        Present = (byte)v.Number(prefix + "present"),
        Dpl = (byte)v.Number(prefix + "dpl"),
        Db = (byte)v.Number(prefix + "db"),
        S = (byte)v.Number(prefix + "s"),
        L = (byte)v.Number(prefix + "l"),
        G = (byte)v.Number(prefix + "g"),
        Avl = (byte)v.Number(prefix + "avl"),
        Unusable = (byte)v.Number(prefix + "unusable"),
    };
}
