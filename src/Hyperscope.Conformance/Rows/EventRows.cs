using Hyperscope.Guests;
using static Hyperscope.Conformance.ConformanceContext;
using static Hyperscope.Conformance.RowNeeds;

namespace Hyperscope.Conformance.Rows;

/// <summary>Events that the guest causes: rows 43, 44, 46, 48, 49, 51, 55, 56, 59, 60.</summary>
internal static class EventRows
{
    private const ulong OsXsave = 1 << 18;

    public static IEnumerable<ConformanceRow> All =>
    [
        new("43", "HYPERCALL event", "sent once enabled; the hypercall then returns 0, otherwise -1000", Guest, static t =>
        {
            Expect(unchecked((ulong)-1000L), t.Run(SelftestAction.Hypercall), "result while the event is off");
            t.ControlEvent(EventId.Hypercall, true);
            ulong ticket = t.Start(SelftestAction.Hypercall);
            t.Peer.Answer(t.Peer.WaitEvent(EventId.Hypercall, 544), EventAction.Continue);
            Expect(0UL, t.AwaitDone(ticket), "result while the event is on");
            t.ControlEvent(EventId.Hypercall, false);
        }),
        new("44", "BREAKPOINT event", "RETRY with rip behind INT3: the guest goes on", Guest, static t =>
        {
            t.ControlEvent(EventId.Breakpoint, true);
            ulong ticket = t.Start(SelftestAction.Breakpoint);
            RawEvent message = t.Peer.WaitEvent(EventId.Breakpoint, 560);
            BreakpointEvent data = message.Data<BreakpointEvent>();
            Expect((byte)1, data.InstructionLength, "insn_len");
            Expect(message.Common.Arch.Regs.Rip, data.Gpa?.Value ?? ulong.MaxValue, "gpa of the breakpoint (mapped one to one)");
            KvmRegs registers = message.Common.Arch.Regs;
            registers.Rip += data.InstructionLength;
            t.SetRegisters(registers);
            t.Peer.Answer(message, EventAction.Retry);
            t.AwaitDone(ticket);

            ticket = t.Start(SelftestAction.Breakpoint);
            t.Peer.Answer(t.Peer.WaitEvent(EventId.Breakpoint, 560), EventAction.Continue);
            t.AwaitDone(ticket, expectedFault: 3);
            t.ControlEvent(EventId.Breakpoint, false);
        }),
        new("46", "CR event", "a write to CR4 can be blocked by answering with the old value", Guest, static t =>
        {
            t.ControlEvent(EventId.Cr, true);
            ControlCr(t, 4, true);
            ulong ticket = t.Start(SelftestAction.SetCr4Bits, OsXsave);
            RawEvent message = t.Peer.WaitEvent(EventId.Cr, 568);
            CrEvent data = message.Data<CrEvent>();
            Expect((byte)4, data.Cr, "cr");
            Expect(data.OldValue | OsXsave, data.NewValue, "new_value");
            t.Peer.Answer(message, EventAction.Continue, BitConverter.GetBytes(data.OldValue));
            Expect(data.OldValue, t.AwaitDone(ticket), "CR4 afterwards");
            ControlCr(t, 4, false);
            t.ControlEvent(EventId.Cr, false);
        }),
        new("48", "injection", "#UD injected into a running vCPU is reported by TRAP and reaches the guest", Guest, static t =>
        {
            Inject(t, 6);
            RawEvent message = t.Peer.WaitEvent(EventId.Trap, 560);
            Expect((byte)6, message.Data<TrapEvent>().Vector, "nr");
            t.Peer.Answer(message, EventAction.Continue);
            Expect(6UL, AwaitVector(t, 6), "vector the guest saw");
        }),
        new("49", "injection", "during a BREAKPOINT event, answered CONTINUE, #BP wins and TRAP says so", Guest, static t =>
        {
            t.ControlEvent(EventId.Breakpoint, true);
            ulong ticket = t.Start(SelftestAction.Breakpoint);
            RawEvent breakpoint = t.Peer.WaitEvent(EventId.Breakpoint, 560);
            Inject(t, 6);
            Inject(t, 6, KvmError.Busy);
            t.Peer.Answer(breakpoint, EventAction.Continue);
            RawEvent trap = t.Peer.WaitEvent(EventId.Trap, 560);
            Expect((byte)3, trap.Data<TrapEvent>().Vector, "nr");
            t.Peer.Answer(trap, EventAction.Continue);
            t.AwaitDone(ticket, expectedFault: 3);
            t.ControlEvent(EventId.Breakpoint, false);
        }),
        new("51", "XSETBV event", "sent after XCR0 changed, not when it does not change", Guest, static t =>
        {
            t.ControlEvent(EventId.Xsetbv, true, expected: KvmError.None);
            t.Run(SelftestAction.ToggleXcr0, 0);
            ulong ticket = t.Start(SelftestAction.ToggleXcr0, 2);
            RawEvent message = t.Peer.WaitEvent(EventId.Xsetbv, 568);
            XsetbvEvent data = message.Data<XsetbvEvent>();
            Expect(data.OldValue ^ 2, data.NewValue, "new_value");
            t.Peer.Answer(message, EventAction.Continue);
            Expect(data.NewValue, t.AwaitDone(ticket), "XCR0 afterwards");
            t.ControlEvent(EventId.Xsetbv, false);
            t.Run(SelftestAction.ToggleXcr0, 2);
        }),
        new("55", "DESCRIPTOR event", "SGDT then LGDT: write 0, then write 1", Guest, static t =>
        {
            t.ControlEvent(EventId.Descriptor, true);
            ulong ticket = t.Start(SelftestAction.StoreAndLoadGdtr);
            foreach (bool write in (bool[])[false, true])
            {
                RawEvent message = t.Peer.WaitEvent(EventId.Descriptor, 552);
                DescriptorEvent data = message.Data<DescriptorEvent>();
                Expect(DescriptorTable.Gdtr, data.Table, "descriptor");
                Expect(write, data.IsWrite, "write");
                t.Peer.Answer(message, EventAction.Continue);
            }

            t.AwaitDone(ticket);
            t.ControlEvent(EventId.Descriptor, false);
        }),
        new("56", "MSR event", "a write to MSR 0x140 can be blocked by answering with the old value", Guest, static t =>
        {
            t.ControlEvent(EventId.Msr, true);
            ControlMsr(t, 0x140, true);
            ulong ticket = t.Start(SelftestAction.SetMsrBits, 0x140, 1);
            RawEvent message = t.Peer.WaitEvent(EventId.Msr, 568);
            MsrEvent data = message.Data<MsrEvent>();
            Expect(0x140u, data.Msr, "msr");
            Expect(data.OldValue | 1, data.NewValue, "new_value");
            t.Peer.Answer(message, EventAction.Continue, BitConverter.GetBytes(data.OldValue));
            Expect(data.OldValue, t.AwaitDone(ticket), "MSR afterwards");
            ControlMsr(t, 0x140, false);
            t.ControlEvent(EventId.Msr, false);
        }),
        new("59", "PF event", "a store to a read-only page: gva, gpa, access W; opened and RETRY, the byte is in memory", Guest, static t =>
        {
            t.WriteQuad(SelftestGuest.TestPage, 0);
            t.SetAccess(SelftestGuest.TestPage, PageAccess.Read);
            t.ControlEvent(EventId.PageFault, true);
            ulong ticket = t.Start(SelftestAction.StoreByte, SelftestGuest.TestPageAlias.Value, 0x5C);
            RawEvent message = t.Peer.WaitEvent(EventId.PageFault, 568);
            ExpectFault(message, SelftestGuest.TestPageAlias.Value, SelftestGuest.TestPage.Value, PageAccess.Write);
            Expect((byte)0, t.Read(SelftestGuest.TestPage, 1)[0], "the byte before the verdict");
            t.SetAccess(SelftestGuest.TestPage, PageAccess.Read | PageAccess.Write);
            t.Peer.Answer(message, EventAction.Retry);
            t.AwaitDone(ticket);
            Expect((byte)0x5C, t.Read(SelftestGuest.TestPage, 1)[0], "the byte afterwards");
            t.ControlEvent(EventId.PageFault, false);
            t.SetAccess(SelftestGuest.TestPage, PageAccess.All);
        }),
        new("60", "SINGLESTEP event", "one instruction, failed 0; switched off during the event", Guest, static t =>
        {
            if (!t.HasSingleStep)
                throw new NotApplicableException("GET_VERSION says single-step is not supported");
            t.ControlEvent(EventId.Singlestep, true);
            ControlSinglestep(t, true);
            RawEvent message = t.Peer.WaitEvent(EventId.Singlestep, 552);
            Expect((byte)0, message.Payload[544], "failed");
            ControlSinglestep(t, false);
            t.Peer.Answer(message, EventAction.Continue);
            t.ControlEvent(EventId.Singlestep, false);
            t.Run(SelftestAction.Nop);
        }),
    ];

    internal static void ExpectFault(RawEvent message, ulong gva, ulong gpa, PageAccess access)
    {
        PageFaultEvent data = message.Data<PageFaultEvent>();
        Expect(gva, data.Gva.Value, "gva");
        Expect(gpa, data.Gpa.Value, "gpa");
        Expect(access, data.Access, "access");
    }

    internal static void ControlCr(ConformanceContext t, int cr, bool enable, int vcpu = 0)
    {
        RawReply reply = t.Peer.Call(MessageId.VcpuControlCr, PayloadBuilder.Vcpu(vcpu).U8(cr).U8(enable ? 1 : 0).U16(0).U32(0).ToArray());
        if (enable && reply.Error == -(int)KvmError.NotSupported)
            throw new NotApplicableException("the server has no Cr events (EOPNOTSUPP from VCPU_CONTROL_CR)");
        Check(MessageId.VcpuControlCr, reply, KvmError.None);
    }

    internal static void ControlMsr(ConformanceContext t, uint msr, bool enable, int vcpu = 0) =>
        t.Call(MessageId.VcpuControlMsr, PayloadBuilder.Vcpu(vcpu).U8(enable ? 1 : 0).U8(0).U16(0).U32(msr));

    internal static void ControlSinglestep(ConformanceContext t, bool enable, int vcpu = 0) =>
        t.Call(MessageId.VcpuControlSinglestep, PayloadBuilder.Vcpu(vcpu).U8(enable ? 1 : 0).Zeros(7));

    internal static void Inject(ConformanceContext t, int vector, KvmError expected = KvmError.None, uint errorCode = 0, ulong address = 0) =>
        t.Call(MessageId.VcpuInjectException, PayloadBuilder.Vcpu(0).U8(vector).U8(0).U16(0).U32(errorCode).U64(address), expected);

    private static ulong AwaitVector(ConformanceContext t, ulong vector)
    {
        Gpa field = MailboxOf(0) + SelftestGuest.Mailbox.FaultVector;
        long deadline = Environment.TickCount64 + 30_000;
        while (t.ReadQuad(field) != vector && Environment.TickCount64 < deadline)
        {
        }

        return t.ReadQuad(field);
    }
}
