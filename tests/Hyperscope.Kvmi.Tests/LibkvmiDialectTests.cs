using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi.Tests;

/// <summary>The libkvmi dialect against bytes written by hand from its tables.</summary>
public sealed class LibkvmiDialectTests
{
    private static readonly VcpuIndex V2 = new(2);
    private static readonly Dialect Dialect = Dialect.Libkvmi;

    // What the golden bytes mean, in core messages.
    private static readonly Dictionary<string, Func<byte[]>> Requests = new()
    {
        ["GetVersion"] = () => Command(default(GetVersion)),
        ["VmCheckCommand"] = () => Command(new VmCheckCommand(MessageId.VcpuControlSinglestep)),
        ["VmCheckEvent"] = () => Command(new VmCheckEvent(EventId.PageFault)),
        ["VmGetInfo"] = () => Command(default(VmGetInfo)),
        ["VcpuGetInfo"] = () => Command(new VcpuGetInfo(V2)),
        ["VcpuPause"] = () => Command(new VcpuPause(V2, wait: true)),
        ["VmControlEvents"] = () => Command(new VmControlEvents(EventId.Unhook, enable: true)),
        ["VmControlEvents.create"] = () => Command(new VmControlEvents(EventId.CreateVcpu, enable: true)),
        ["VcpuControlEvents"] = () => Command(new VcpuControlEvents(V2, EventId.PageFault, enable: true)),
        ["VcpuControlCr"] = () => Command(new VcpuControlCr(V2, 3, enable: true)),
        ["VcpuControlMsr"] = () => Command(new VcpuControlMsr(V2, 0xC0000082, enable: true)),
        ["VcpuGetRegisters"] = () => Command(
            new VcpuGetRegisters(V2, 2), MemoryMarshal.AsBytes<uint>([0xC0000080, 0xC0000081]).ToArray()),
        ["VcpuSetRegisters"] = () => Command(new VcpuSetRegisters(V2, Regs())),
        ["VcpuGetCpuid"] = () => Command(new VcpuGetCpuid(V2, 13, 1)),
        ["VcpuGetXsave"] = () => Command(new VcpuGetXsave(V2)),
        ["VmReadPhysical"] = () => Command(new VmReadPhysical(new Gpa(0x1_0000_1000), 4096)),
        ["VmWritePhysical"] = () => Command(new VmWritePhysical(new Gpa(0x1_0000_1FFC), 4), [0xDE, 0xAD, 0xBE, 0xEF]),
        ["VcpuInjectException"] = () => Command(new VcpuInjectException(V2, 14, 4, 0x7777)),
        ["VmSetWriteBitmap"] = () => Command(new VmSetWriteBitmap(1, 1), Bytes(new WriteBitmapEntry(new Gpa(0x1000), 0xFFFF_FFFD))),
        ["VmGetNextGfn"] = () => Command(default(VmGetNextGfn)),
        ["VcpuSwitchView"] = () => Command(new VcpuSwitchView(V2, 3)),
        ["VcpuGetView"] = () => Command(new VcpuGetView(V2)),
        ["VcpuControlView"] = () => Command(new VcpuControlView(V2, 3, visible: true)),
        ["VmQueryPhysical"] = () => Command(new VmQueryPhysical(new Gfn(5))),
        ["VmAllocateGfn"] = () => Command(new VmAllocateGfn(new Gfn(0x2_0000))),
        ["VmFreeGfn"] = () => Command(new VmFreeGfn(new Gfn(0x2_0000))),
        ["VmCreateView"] = () => Command(default(VmCreateView)),
        ["VmDestroyView"] = () => Command(new VmDestroyView(3)),
        ["VcpuChangeGfn"] = () => Command(new VcpuChangeGfn(V2, 3, new Gfn(5), new Gfn(9))),
        ["VcpuChangeGfn.tag110"] = () => Command(new VcpuChangeGfn(V2, VcpuChangeGfn.CurrentView, new Gfn(5), new Gfn(9))),
        ["VmSetViewPageAccess"] = () => Command(new VmSetViewPageAccess(0, 2), MemoryMarshal.AsBytes<PageAccessEntry>(
            [new(new Gpa(0x1000), PageAccess.Read | PageAccess.Execute), new(new Gpa(0x2000), PageAccess.All)]).ToArray()),
        ["VcpuGetMtrrType"] = () => Command(new VcpuGetMtrrType(default, new Gpa(0xA0000))),
        ["VmGetMaxGfn"] = () => Command(default(VmGetMaxGfn)),
        ["VcpuTranslateGva"] = () => Command(new VcpuTranslateGva(V2, new Gva(0xFFFFFFFF81000000))),
        ["VcpuGetXcr"] = () => Command(new VcpuGetXcr(V2, 0)),
        ["VcpuSetXsave"] = () => Command(new VcpuSetXsave(V2), [0x7F, 3, 0, 0, 0, 0, 0, 0]),
        ["VcpuControlSinglestep"] = () => Command(new VcpuControlSinglestep(V2, enable: true)),
    };

    private static readonly Dictionary<string, Func<(MessageId Id, byte[] Data)>> Replies = new()
    {
        ["GetVersion"] = () => (MessageId.GetVersion, Bytes(new GetVersionReply(1, new Features(singlestep: true)))),
        ["GetVersion.views"] = () => (MessageId.GetVersion, Bytes(new GetVersionReply(1, new Features(singlestep: true, viewFunction: true, views: true)))),
        ["VmGetNextGfn"] = () => (MessageId.VmGetNextGfn, Bytes(new VmGetMaxGfnReply(new Gfn(0x2_0000)))),
        ["VcpuGetView"] = () => (MessageId.VcpuGetView, Bytes(new ViewNumber(3))),
        ["VmQueryPhysical"] = () => (MessageId.VmQueryPhysical, Bytes(new VmQueryPhysicalReply(new Gfn(0x100), 0x1_FF00))),
        ["VmCreateView"] = () => (MessageId.VmCreateView, Bytes(new ViewNumber(3))),
        ["VmCheckCommand"] = () => (MessageId.VmCheckCommand, []),
        ["VmGetInfo"] = () => (MessageId.VmGetInfo, Bytes(new VmGetInfoReply(4))),
        ["VcpuGetInfo"] = () => (MessageId.VcpuGetInfo, Bytes(new VcpuGetInfoReply(2_000_000_000))),
        ["VcpuPause"] = () => (MessageId.VcpuPause, []),
        ["VcpuGetRegisters"] = () => (MessageId.VcpuGetRegisters, [
            .. Bytes(new VcpuGetRegistersReply { Mode = CpuMode.Bits64, Regs = Regs(), Sregs = Sregs(), MsrCount = 2 }),
            .. Bytes(new KvmMsrEntry { Index = 0xC0000080, Data = 0xD01 }),
            .. Bytes(new KvmMsrEntry { Index = 0xC0000081, Data = 0x0023001000000000 })]),
        ["VcpuGetCpuid"] = () => (MessageId.VcpuGetCpuid, Bytes(new CpuidResult(1, 2, 3, 4))),
        ["VmReadPhysical"] = () => (MessageId.VmReadPhysical, [0xDE, 0xAD, 0xBE, 0xEF]),
        ["VcpuGetMtrrType"] = () => (MessageId.VcpuGetMtrrType, Bytes(new VcpuGetMtrrTypeReply(MemoryType.WriteBack))),
        ["VmGetMaxGfn"] = () => (MessageId.VmGetMaxGfn, Bytes(new VmGetMaxGfnReply(new Gfn(0x100000)))),
        ["VcpuTranslateGva"] = () => (MessageId.VcpuTranslateGva, Bytes(new VcpuTranslateGvaReply(null))),
        ["VcpuGetXcr"] = () => (MessageId.VcpuGetXcr, Bytes(new VcpuGetXcrReply(7))),
    };

    private static readonly Dictionary<string, Func<byte[]>> Events = new()
    {
        ["Unhook"] = () => Event(default(UnhookEvent), hasState: false),
        ["Cr"] = () => Event(new CrEvent(3, 0x1000, 0x2000)),
        ["Msr"] = () => Event(new MsrEvent(0xC0000082, 0x1000, 0x2000)),
        ["Xsetbv"] = () => Event(new XsetbvEvent(0, 3, 7)),
        ["Breakpoint"] = () => Event(new BreakpointEvent(new Gpa(0x1234), 1)),
        ["Hypercall"] = () => Event(default(HypercallEvent)),
        ["PageFault"] = () => Event(new PageFaultEvent(new Gva(0xFFFFFFFF12345678), new Gpa(0x5678), PageAccess.Write)),
        ["PageFault.view"] = () => Event(new PageFaultEvent(new Gva(0xFFFFFFFF12345678), new Gpa(0x5678), PageAccess.Write)),
        ["Trap"] = () => Event(new TrapEvent(14, 4, 0x7777)),
        ["Descriptor"] = () => Event(new DescriptorEvent(DescriptorTable.Gdtr, true)),
        ["CreateVcpu"] = () => Event(default(CreateVcpuEvent)),
        ["PauseVcpu"] = () => Event(default(PauseVcpuEvent)),
        ["Singlestep"] = () => Event(new SinglestepEvent(failed: true)),
        ["Cpuid"] = () => Event(new CpuidEvent(13, 1, 2)),
    };

    public static TheoryData<string> RequestNames => Named("req.");

    public static TheoryData<string> ReplyNames => Named("rpl.");

    public static TheoryData<string> EventNames => Named("ev.");

    [Fact]
    public void Every_message_and_event_of_the_dialect_has_golden_bytes()
    {
        Assert.Equal(Requests.Keys.Select(name => "req." + name).Order(), Keys("req.").Order());
        Assert.Equal(Replies.Keys.Select(name => "rpl." + name).Order(), Keys("rpl.").Order());
        Assert.Equal(Events.Keys.Select(name => "ev." + name).Order(), Keys("ev.").Order());
        for (int wireId = 0; wireId <= ushort.MaxValue; wireId++)
        {
            if (Dialect.TryGetMessage((ushort)wireId, out MessageId id))
            {
                Assert.Contains($"req.{id}", LibkvmiVectors.All.Keys);
                Assert.True(Dialect.TryGetWireId(id, out ushort back));
                Assert.Equal(wireId, back);
            }

            if (Dialect.TryGetEvent((ushort)wireId, out EventId eventId))
            {
                Assert.Contains($"ev.{eventId}", LibkvmiVectors.All.Keys);
                Assert.True(Dialect.TryGetWireId(eventId, out ushort back));
                Assert.Equal(wireId, back);
            }
        }
    }

    [Theory]
    [MemberData(nameof(RequestNames))]
    public void A_request_means_its_core_command(string name)
    {
        byte[] wire = LibkvmiVectors.All["req." + name];
        byte[] core = Requests[name]();
        Assert.True(Message.TryReadHeader(wire, out MessageHeader header));
        Assert.Equal(wire.Length, header.MessageSize);
        Assert.True(Dialect.TryGetMessage(header.Id, out MessageId id));
        Assert.Equal(id, Head(core).MessageId);
        byte[] payload = new byte[KvmiConstants.MaxPayloadSize];
        int size = Dialect.CommandToCore(id, wire.AsSpan(8), payload);
        Assert.Equal(Convert.ToHexString(core, 8, core.Length - 8), Convert.ToHexString(payload, 0, size));
    }

    [Theory]
    [MemberData(nameof(RequestNames))]
    public void Dirty_padding_of_a_request_is_ignored_and_that_of_the_vcpu_block_is_not(string name)
    {
        byte[] wire = LibkvmiVectors.All["req." + name];
        bool hasVcpu = name.StartsWith("Vcpu", StringComparison.Ordinal);
        Assert.True(Dialect.TryGetMessage(Head(wire).Id, out MessageId id));
        byte[] expected = Requests[name]()[8..];
        foreach (int offset in PaddingOf(name))
        {
            byte[] dirty = wire[8..];
            dirty[offset] |= 0x80;
            byte[] payload = new byte[KvmiConstants.MaxPayloadSize];
            int size = Dialect.CommandToCore(id, dirty, payload);
            Assert.Equal(Convert.ToHexString(expected), Convert.ToHexString(payload, 0, size));
        }

        if (!hasVcpu)
            return;
        byte[] block = wire[8..];
        block[2] = 1;
        byte[] kept = new byte[KvmiConstants.MaxPayloadSize];
        Dialect.CommandToCore(id, block, kept);
        Assert.False(Message.Read<VcpuHeader>(kept).IsWellFormed);
    }

    [Theory]
    [MemberData(nameof(ReplyNames))]
    public void A_reply_is_written_as_the_tables_say(string name)
    {
        byte[] wire = LibkvmiVectors.All["rpl." + name];
        (MessageId id, byte[] data) = Replies[name]();
        byte[] buffer = new byte[KvmiConstants.MaxMessageSize];
        data.CopyTo(Message.ReplyDataOf(buffer));
        int size = Dialect.ReplyToWire(id, data, Message.ReplyDataOf(buffer));
        int length = Message.CompleteReply(buffer, id, Head(wire).Seq, size);
        Assert.True(Dialect.TryGetWireId(id, out ushort wireId));
        MemoryMarshal.Write(buffer, wireId);
        Assert.Equal(Convert.ToHexString(wire), Convert.ToHexString(buffer, 0, length));
    }

    [Fact]
    public void An_error_reply_has_eight_bytes()
    {
        byte[] wire = LibkvmiVectors.All["err.VmSetViewPageAccess"];
        byte[] buffer = new byte[32];
        int length = Message.WriteError(buffer, (MessageId)21, 16, Dialect.MissingFrame);
        Assert.Equal(Convert.ToHexString(wire), Convert.ToHexString(buffer, 0, length));
    }

    [Theory]
    [MemberData(nameof(EventNames))]
    public void An_event_is_written_as_the_tables_say(string name)
    {
        byte[] wire = LibkvmiVectors.All["ev." + name];
        byte[] core = Events[name]();
        EventId id = Message.EventHeaderIn(core.AsSpan(8)).Event;
        Span<byte> payload = core.AsSpan(8);
        int size = Dialect.EventToWire(id, payload, payload, (ushort)(name.EndsWith(".view", StringComparison.Ordinal) ? 3 : 0));
        byte[] built = new byte[8 + size];
        MemoryMarshal.Write(built, new MessageHeader(Dialect.EventMessageId, (ushort)size, Head(wire).Seq));
        payload[..size].CopyTo(built.AsSpan(8));
        Assert.Equal(Convert.ToHexString(wire), Convert.ToHexString(built));
    }

    [Fact]
    public void An_event_reply_means_its_core_reply()
    {
        byte[] fault = Translate("evr.PageFault");
        Assert.Equal(EventAction.Retry, Message.Read<EventReply>(fault.AsSpan(8)).Action);
        var data = Message.Read<PageFaultReply>(fault.AsSpan(16));
        Assert.Equal(PageFaultReply.WireSize, fault.Length - 16);
        Assert.Equal((new Gva(0xFFFFFFFF12345678), 4u, true, false), (data.DataAddress, data.DataSize, data.CompletesRepeat, data.Singlestep));
        Assert.Equal([0xCA, 0xFE, 0xBA, 0xBE, 0], data.Data[..5].ToArray());
        Assert.Equal(PageFaultReply.WireSize, Dialect.EventReplyDataLimit(EventId.PageFault));

        byte[] cr = Translate("evr.Cr");
        Assert.Equal(0x2000UL, Message.Read<NewValueReply>(cr.AsSpan(16)).NewValue);
        Assert.Equal(8, Dialect.EventReplyDataLimit(EventId.Cr));
        Assert.Equal(16, Translate("evr.PauseVcpu").Length);
        Assert.Equal(0, Dialect.EventReplyDataLimit(EventId.PauseVcpu));

        static byte[] Translate(string name)
        {
            byte[] wire = LibkvmiVectors.All[name];
            Assert.Equal(Dialect.EventReplyMessageId, Head(wire).Id);
            byte[] core = new byte[KvmiConstants.MaxPayloadSize];
            return core[..Dialect.CommandToCore(MessageId.Event, wire.AsSpan(8), core)];
        }
    }

    [Theory]
    [InlineData("ctl.off-now", false, false, false)]
    [InlineData("ctl.off-later", false, true, false)]
    [InlineData("ctl.on-now", true, true, true)]
    [InlineData("ctl.on-later", true, true, false)]
    public void Reply_control_follows_its_table(string name, bool enable, bool answeredWhenOn, bool answeredWhenOff)
    {
        byte[] wire = LibkvmiVectors.All[name];
        Assert.True(Dialect.TryReadReplyControl(Head(wire).Id, wire.AsSpan(8), out ReplyControl control));
        Assert.Equal(enable, control.Enable);
        Assert.Equal(answeredWhenOn, control.IsAnswered(wereOff: false));
        if (name != "ctl.off-later")
            Assert.Equal(answeredWhenOff, control.IsAnswered(wereOff: true));
    }

    [Theory]
    [InlineData(17, "0010000000000000" + "0010010000000000")]
    [InlineData(17, "0010000000000000" + "0400000000000001")]
    [InlineData(18, "0010000000000000" + "0100010000000000")]
    public void A_size_that_the_core_cannot_hold_stays_illegal(ushort wireId, string payload)
    {
        Assert.True(Dialect.TryGetMessage(wireId, out MessageId id));
        byte[] core = new byte[64];
        Assert.Equal(16, Dialect.CommandToCore(id, Convert.FromHexString(payload), core));
        Assert.False(Message.Read<VmReadPhysical>(core).IsInsideOnePage);
    }

    [Fact]
    public void A_question_about_ept_conversion_is_told_from_one_about_frames()
    {
        Assert.Equal(-(int)KvmError.NotSupported, Dialect.CommandToCore(MessageId.VmGetNextGfn, new byte[16], new byte[64]));
        Assert.Equal(-(int)KvmError.InvalidArgument, Dialect.CommandToCore(MessageId.VmAllocateGfn, new byte[8], new byte[64]));
        Assert.Equal(-(int)KvmError.InvalidArgument, Dialect.CommandToCore(MessageId.VcpuChangeGfn, new byte[31], new byte[64]));
    }

    [Fact]
    public void Any_payload_of_any_length_is_translated_without_outgrowing_the_core()
    {
        var random = new Random(20_26);
        byte[] core = new byte[KvmiConstants.MaxPayloadSize];
        for (ushort wireId = 0; wireId < 70; wireId++)
        {
            if (!Dialect.TryGetMessage(wireId, out MessageId id) && wireId != 0)
                continue;
            for (int length = 0; length < 64; length++)
            {
                byte[] payload = new byte[length];
                random.NextBytes(payload);
                int size = Dialect.CommandToCore(id, payload, core);
                if (size < 0)
                    Assert.True(Enum.IsDefined((KvmError)(-size)), $"message {wireId} of {length} bytes: {size}");
                else
                    Assert.InRange(size, 0, id == MessageId.VcpuChangeGfn ? Math.Max(length, 32) : length);
            }
        }
    }

    [Theory]
    [InlineData(1, 0, "v9")]
    [InlineData(2, 0, "libkvmi")]
    [InlineData(2, 8, "v9")]
    [InlineData(0, 0, "v9")]
    [InlineData(27, 8, "v9")]
    public void The_first_message_tells_the_dialect(ushort wireId, int size, string name)
    {
        Assert.False(Dialect.Auto.IsSettled);
        Assert.Equal(name, Dialect.Auto.Settle(wireId, size).Name);
        Assert.True(Dialect.Auto.Settle(wireId, size).IsSettled);
    }

    [Fact]
    public void Dialects_are_found_by_name()
    {
        foreach (Dialect dialect in new[] { Dialect.Auto, Dialect.V9, Dialect.Libkvmi })
        {
            Assert.True(Dialect.TryParse(dialect.Name, out Dialect? found));
            Assert.Same(dialect, found);
        }

        Assert.False(Dialect.TryParse("v8", out _));
    }

    private static MessageHeader Head(byte[] message)
    {
        Assert.True(Message.TryReadHeader(message, out MessageHeader header));
        return header;
    }

    private static IEnumerable<string> Keys(string prefix) =>
        LibkvmiVectors.All.Keys.Where(key => key.StartsWith(prefix, StringComparison.Ordinal));

    private static TheoryData<string> Named(string prefix) => [.. Keys(prefix).Select(key => key[prefix.Length..])];

    // Offsets in the payload, from the tables.
    private static int[] PaddingOf(string name) => name.Split('.')[0] switch
    {
        "VmCheckCommand" or "VmCheckEvent" => [2, 3, 4, 7],
        "VmControlEvents" => [3, 4, 7],
        "VcpuPause" or "VcpuControlSinglestep" or "VcpuGetXcr" => [9, 12, 15],
        "VcpuControlEvents" => [11, 12, 15],
        "VcpuControlCr" or "VcpuControlMsr" => [9, 10, 11],
        "VcpuGetRegisters" => [10, 12, 15],
        "VcpuInjectException" => [9, 10, 11],
        "VmSetViewPageAccess" => [4, 7, 17, 20, 23],
        "VmSetWriteBitmap" => [4, 7, 20, 23],
        "VcpuSwitchView" => [10, 13, 15],
        "VcpuControlView" => [11, 12, 15],
        "VmDestroyView" => [2, 5, 7],
        "VcpuChangeGfn" when !name.EndsWith("tag110", StringComparison.Ordinal) => [10, 12, 15],
        _ => [],
    };

    private static byte[] Command<T>(in T command, byte[]? tail = null)
        where T : unmanaged, ICommand<T>
    {
        byte[] buffer = new byte[KvmiConstants.MaxMessageSize];
        return buffer[..Message.WriteCommand(buffer, 0, command, tail)];
    }

    private static byte[] Event<T>(in T data, bool hasState = true)
        where T : unmanaged, IEvent<T>
    {
        var header = new EventHeader(hasState ? V2 : default, T.Id);
        if (hasState)
        {
            header.Arch.Mode = CpuMode.Bits64;
            header.Arch.Regs = Regs();
            header.Arch.Sregs = Sregs();
            header.Arch.Msrs = new EventMsrs
            {
                SysenterCs = Times8(0x81),
                SysenterEsp = Times8(0x82),
                SysenterEip = Times8(0x83),
                Efer = Times8(0x84),
                Star = Times8(0x85),
                Lstar = Times8(0x86),
                Cstar = Times8(0x87),
                Pat = Times8(0x88),
                ShadowGs = Times8(0x89),
            };
        }

        byte[] buffer = new byte[KvmiConstants.MaxMessageSize];
        return buffer[..Message.WriteEvent(buffer, 0, header, data)];
    }

    private static byte[] Bytes<T>(in T value)
        where T : unmanaged => MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)).ToArray();

    private static ulong Times8(byte value) => value * 0x0101_0101_0101_0101UL;

    private static KvmRegs Regs() => new()
    {
        Rax = Times8(1),
        Rbx = Times8(2),
        Rcx = Times8(3),
        Rdx = Times8(4),
        Rsi = Times8(5),
        Rdi = Times8(6),
        Rsp = Times8(7),
        Rbp = Times8(8),
        R8 = Times8(9),
        R9 = Times8(10),
        R10 = Times8(11),
        R11 = Times8(12),
        R12 = Times8(13),
        R13 = Times8(14),
        R14 = Times8(15),
        R15 = Times8(16),
        Rip = Times8(17),
        Rflags = Times8(18),
    };

    private static KvmSregs Sregs()
    {
        var sregs = new KvmSregs
        {
            Cs = Segment(1, 0x0B, 1, 3, 0, 1, 1, 1),
            Ds = Segment(2, 3, 1, 3, 1, 1, 0, 1),
            Es = Segment(3, 3, 1, 3, 1, 1, 0, 1),
            Fs = Segment(4, 3, 1, 3, 1, 1, 0, 1),
            Gs = Segment(5, 3, 1, 3, 1, 1, 0, 1),
            Ss = Segment(6, 3, 1, 3, 1, 1, 0, 1),
            Tr = Segment(7, 0x0B, 1, 0, 0, 0, 0, 0),
            Ldt = Segment(8, 2, 0, 0, 0, 0, 0, 0),
            Gdt = new KvmDtable { Base = Times8(0x51), Limit = 0x6161 },
            Idt = new KvmDtable { Base = Times8(0x52), Limit = 0x6262 },
            Cr0 = Times8(0x70),
            Cr2 = Times8(0x71),
            Cr3 = Times8(0x72),
            Cr4 = Times8(0x73),
            Cr8 = Times8(0x74),
            Efer = Times8(0x75),
            ApicBase = Times8(0x76),
        };
        sregs.Ss.Avl = 1;
        sregs.Ldt.Unusable = 1;
        sregs.InterruptBitmap[0] = Times8(0x77);
        return sregs;
    }

    private static KvmSegment Segment(byte index, byte type, byte present, byte dpl, byte db, byte s, byte l, byte g) => new()
    {
        Base = Times8((byte)(0x20 + index)),
        Limit = (uint)Times8((byte)(0x30 + index)),
        Selector = (ushort)Times8((byte)(0x40 + index)),
        Type = type,
        Present = present,
        Dpl = dpl,
        Db = db,
        S = s,
        L = l,
        G = g,
    };
}
