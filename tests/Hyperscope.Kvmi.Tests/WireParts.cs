namespace Hyperscope.Kvmi.Tests;

/// <summary>A piece of a message: a struct at an offset, and the path prefix its fields have in a vector.</summary>
internal sealed record WirePart(string Prefix, Type Type, int Offset, int Repeat = 1);

/// <summary>Which structs a vector is made of.</summary>
internal static class WireParts
{
    public static readonly IReadOnlyDictionary<MessageId, (Type Request, Type? Reply)> Commands = new Dictionary<MessageId, (Type, Type?)>
    {
        [MessageId.GetVersion] = (typeof(GetVersion), typeof(GetVersionReply)),
        [MessageId.VmCheckCommand] = (typeof(VmCheckCommand), null),
        [MessageId.VmCheckEvent] = (typeof(VmCheckEvent), null),
        [MessageId.VmGetInfo] = (typeof(VmGetInfo), typeof(VmGetInfoReply)),
        [MessageId.VmControlEvents] = (typeof(VmControlEvents), null),
        [MessageId.VmReadPhysical] = (typeof(VmReadPhysical), null),
        [MessageId.VmWritePhysical] = (typeof(VmWritePhysical), null),
        [MessageId.VcpuGetInfo] = (typeof(VcpuGetInfo), typeof(VcpuGetInfoReply)),
        [MessageId.VcpuPause] = (typeof(VcpuPause), null),
        [MessageId.VcpuControlEvents] = (typeof(VcpuControlEvents), null),
        [MessageId.VcpuGetRegisters] = (typeof(VcpuGetRegisters), typeof(VcpuGetRegistersReply)),
        [MessageId.VcpuSetRegisters] = (typeof(VcpuSetRegisters), null),
        [MessageId.VcpuGetCpuid] = (typeof(VcpuGetCpuid), typeof(CpuidReplyFields)),
        [MessageId.VmControlCleanup] = (typeof(VmControlCleanup), null),
        [MessageId.VcpuControlCr] = (typeof(VcpuControlCr), null),
        [MessageId.VcpuInjectException] = (typeof(VcpuInjectException), null),
        [MessageId.VmGetMaxGfn] = (typeof(VmGetMaxGfn), typeof(VmGetMaxGfnReply)),
        [MessageId.VcpuGetXcr] = (typeof(VcpuGetXcr), typeof(VcpuGetXcrReply)),
        [MessageId.VcpuGetXsave] = (typeof(VcpuGetXsave), null),
        [MessageId.VcpuSetXsave] = (typeof(VcpuSetXsave), null),
        [MessageId.VcpuGetMtrrType] = (typeof(VcpuGetMtrrType), typeof(VcpuGetMtrrTypeReply)),
        [MessageId.VcpuControlMsr] = (typeof(VcpuControlMsr), null),
        [MessageId.VmSetPageAccess] = (typeof(VmSetPageAccess), null),
        [MessageId.VcpuControlSinglestep] = (typeof(VcpuControlSinglestep), null),
        [MessageId.VcpuTranslateGva] = (typeof(VcpuTranslateGva), typeof(VcpuTranslateGvaReply)),
    };

    public static readonly IReadOnlyDictionary<EventId, (string Prefix, Type Data)> Events = new Dictionary<EventId, (string, Type)>
    {
        [EventId.Unhook] = ("unhook", typeof(UnhookEvent)),
        [EventId.PauseVcpu] = ("pause", typeof(PauseVcpuEvent)),
        [EventId.Hypercall] = ("hypercall", typeof(HypercallEvent)),
        [EventId.Breakpoint] = ("bp", typeof(BreakpointEvent)),
        [EventId.Cr] = ("cr", typeof(CrEvent)),
        [EventId.Trap] = ("trap", typeof(TrapEvent)),
        [EventId.Xsetbv] = ("xsetbv", typeof(XsetbvEvent)),
        [EventId.Descriptor] = ("desc", typeof(DescriptorEvent)),
        [EventId.Msr] = ("msr", typeof(MsrEvent)),
        [EventId.PageFault] = ("pf", typeof(PageFaultEvent)),
        [EventId.Singlestep] = ("singlestep", typeof(SinglestepEvent)),
        [EventId.Cpuid] = ("cpuid", typeof(CpuidEvent)),
        [EventId.CreateVcpu] = ("create", typeof(CreateVcpuEvent)),
        [EventId.Access] = ("access", typeof(AccessEvent)),
    };

    public static IReadOnlyList<WirePart> Of(Vector vector)
    {
        if (vector.Kind == "control")
            return [vector.Name == "ctl.hook" ? new("hook", typeof(IntrospectionHook), 0) : new("feature", typeof(IntrospectionFeature), 0)];
        List<WirePart> parts = [new("hdr", typeof(MessageHeader), 0)];
        switch (vector.Kind)
        {
            case "request" when Commands.TryGetValue(vector.Header.MessageId, out (Type Request, Type? Reply) command):
                CommandCatalog.TryGet(vector.Header.MessageId, out CommandInfo info);
                if (info.HasVcpu)
                    parts.Add(new("vcpu_hdr", typeof(VcpuHeader), 8));
                parts.Add(new("req", command.Request, 8));
                if (vector.Header.MessageId == MessageId.VmSetPageAccess)
                    parts.Add(new("req.entries", typeof(PageAccessEntry), 16, 511));
                if (vector.Header.MessageId == MessageId.VcpuGetRegisters)
                    parts.Add(new("req.msrs_idx", typeof(uint), 24, 2000));
                break;
            case "reply":
                parts.Add(new("ec", typeof(ErrorCode), 8));
                if (Commands[vector.Header.MessageId].Reply is { } reply)
                    parts.Add(new("rpl", reply, 16));
                if (vector.Header.MessageId == MessageId.VcpuGetRegisters)
                    parts.Add(new("rpl.msrs.entries", typeof(KvmMsrEntry), 488, KvmiConstants.MaxRegisterMsrs));
                break;
            case "error-reply":
                parts.Add(new("ec", typeof(ErrorCode), 8));
                break;
            case "event":
                parts.Add(new("ev", typeof(EventHeader), 8));
                EventId id = Message.EventHeaderIn(vector.Payload).Event;
                if (EventCatalog.TryGet(id, out EventInfo row) && row.DataSize > 0)
                    parts.Add(new(Events[id].Prefix, Events[id].Data, 552));
                break;
            case "event-reply":
                parts.Add(new("vcpu_hdr", typeof(VcpuHeader), 8));
                parts.Add(new("reply", typeof(EventReply), 16));
                parts.Add(new("cr", typeof(NewValueReply), 24));
                parts.Add(new("msr", typeof(NewValueReply), 24));
                break;
        }

        return parts;
    }

    /// <summary>Where a path's bytes are, found through the structs; throws if nothing has that path.</summary>
    public static (int Offset, int Size) Locate(Vector vector, string path)
    {
        int size = vector.Offsets[path].Size;
        switch (path)
        {
            // What is not a struct: variable tails, and shorthands of the vector file.
            case "data" or "rpl.region":
                return (16, size);
            case "req.data":
                return (24, size);
            case "req.region" or "req.entries_raw":
                return (16, size);
            case "extra":
                return (24, size);
            case "msr.new_val_partial":
                return (24, size);
            case "ev.arch.all_remaining_zero":
                return (8 + WireLayout.Find(typeof(EventHeader), "arch.regs.rax").Offset, size);
        }

        foreach (WirePart part in Of(vector).OrderByDescending(part => part.Prefix.Length))
        {
            if (part.Repeat > 1)
            {
                if (!path.StartsWith(part.Prefix + "[", StringComparison.Ordinal))
                    continue;
                int close = path.IndexOf(']', StringComparison.Ordinal);
                int index = int.Parse(path[(part.Prefix.Length + 1)..close], System.Globalization.CultureInfo.InvariantCulture);
                Assert.InRange(index, 0, part.Repeat - 1);
                int start = part.Offset + (index * WireLayout.SizeOf(part.Type));
                if (part.Type.IsPrimitive)
                    return (start, WireLayout.SizeOf(part.Type));
                (int inner, int length) = WireLayout.Find(part.Type, path[(close + 2)..]);
                return (start + inner, length);
            }

            if (path.StartsWith(part.Prefix + ".", StringComparison.Ordinal))
            {
                (int offset, int length) = WireLayout.Find(part.Type, path[(part.Prefix.Length + 1)..]);
                return (part.Offset + offset, length);
            }
        }

        throw new KeyNotFoundException($"{vector.Name}: nothing has path '{path}'");
    }

    /// <summary>CpuidResult is a record: its fields have compiler names. Same layout, names that can be looked up.</summary>
    internal struct CpuidReplyFields
    {
#pragma warning disable CS0649
        public uint Eax, Ebx, Ecx, Edx;
#pragma warning restore CS0649
    }
}
