using Hyperscope.Guests;
using static Hyperscope.Conformance.ConformanceContext;
using static Hyperscope.Conformance.RowNeeds;
using static Hyperscope.Conformance.Rows.EventRows;

namespace Hyperscope.Conformance.Rows;

/// <summary>Page restrictions beyond the v9 self-test: kinds of access, verdicts, several accesses in one instruction, slots. Source:
/// kvmi-abi.md 5.</summary>
internal static class PageAccessRows
{
    private const PageAccess ReadWrite = PageAccess.Read | PageAccess.Write, ReadExecute = PageAccess.Read | PageAccess.Execute;

    private static readonly Gpa Page = SelftestGuest.TestPage;
    private static readonly Gpa NextPage = SelftestGuest.TestPage + 4096;

    public static IEnumerable<ConformanceRow> All =>
    [
        new("x20", "PF event", "a load from a page without r: access R, nothing read before the verdict", Guest, static t => WithPageEvents(t, () =>
        {
            t.WriteQuad(Page, 0x1122_3344_5566_7788);
            t.SetAccess(Page, PageAccess.None);
            ulong ticket = t.Start(SelftestAction.LoadQuad, SelftestGuest.TestPageAlias.Value + 8);
            RawEvent message = t.Peer.WaitEvent(EventId.PageFault, 568);
            ExpectFault(message, SelftestGuest.TestPageAlias.Value + 8, Page.Value + 8, PageAccess.Read);
            t.WriteQuad(Page + 8, 0xABCD);
            t.SetAccess(Page, PageAccess.All);
            t.Peer.Answer(message, EventAction.Retry);
            Expect(0xABCDUL, t.AwaitDone(ticket), "what the guest read");
        })),
        new("x21", "PF event", "a call into a page without x: access X, gva and rip at the target", Guest, static t => WithPageEvents(t, () =>
        {
            t.Write(Page, [0xC3]);
            t.SetAccess(Page, ReadWrite);
            ulong ticket = t.Start(SelftestAction.Call, SelftestGuest.TestPageAlias.Value);
            RawEvent message = t.Peer.WaitEvent(EventId.PageFault, 568);
            ExpectFault(message, SelftestGuest.TestPageAlias.Value, Page.Value, PageAccess.Execute);
            Expect(SelftestGuest.TestPageAlias.Value, message.Common.Arch.Regs.Rip, "rip");
            t.SetAccess(Page, PageAccess.All);
            t.Peer.Answer(message, EventAction.Retry);
            t.AwaitDone(ticket);
        })),
        new("x22", "PF event", "CONTINUE carries the access out and leaves the restriction in place", Guest, static t => WithPageEvents(t, () =>
        {
            t.WriteQuad(Page, 0);
            t.SetAccess(Page, ReadExecute);
            for (byte value = 1; value <= 3; value++)
            {
                ulong ticket = t.Start(SelftestAction.StoreByte, Page.Value, value);
                RawEvent message = t.Peer.WaitEvent(EventId.PageFault, 568);
                ExpectFault(message, Page.Value, Page.Value, PageAccess.Write);
                t.Peer.Answer(message, EventAction.Continue);
                t.AwaitDone(ticket);
                Expect(value, t.Read(Page, 1)[0], "the byte afterwards");
            }
        })),
        new("x23", "PF event", "CONTINUE of a fetch executes one instruction; the next one asks again", Guest, static t => WithPageEvents(t, () =>
        {
            t.Write(Page, [0x90, 0x90, 0xC3]);
            t.SetAccess(Page, ReadWrite);
            ulong ticket = t.Start(SelftestAction.Call, Page.Value);
            for (ulong offset = 0; offset < 3; offset++)
            {
                RawEvent message = t.Peer.WaitEvent(EventId.PageFault, 568);
                ExpectFault(message, Page.Value + offset, Page.Value + offset, PageAccess.Execute);
                t.Peer.Answer(message, EventAction.Continue);
            }

            t.AwaitDone(ticket);
        })),
        new("x24", "PF event", "RETRY without a change gives the same event again", Guest, static t => WithPageEvents(t, () =>
        {
            t.SetAccess(Page, ReadExecute);
            ulong ticket = t.Start(SelftestAction.StoreByte, Page.Value, 9);
            for (int attempt = 0; attempt < 3; attempt++)
            {
                RawEvent message = t.Peer.WaitEvent(EventId.PageFault, 568);
                ExpectFault(message, Page.Value, Page.Value, PageAccess.Write);
                t.Peer.Answer(message, EventAction.Retry);
            }

            RawEvent last = t.Peer.WaitEvent(EventId.PageFault, 568);
            t.Peer.Answer(last, EventAction.Continue);
            t.AwaitDone(ticket);
        })),
        new("x25", "PF event", "RETRY with rip moved skips the instruction", Guest, static t => WithPageEvents(t, () =>
        {
            t.WriteQuad(Page, 0x55);
            t.SetAccess(Page, ReadExecute);
            ulong ticket = t.Start(SelftestAction.StoreByte, Page.Value, 0x77);
            RawEvent message = t.Peer.WaitEvent(EventId.PageFault, 568);
            KvmRegs registers = message.Common.Arch.Regs;
            registers.Rip += 2; // mov [rbx], dl
            t.SetRegisters(registers);
            t.Peer.Answer(message, EventAction.Retry);
            t.AwaitDone(ticket);
            Expect((byte)0x55, t.Read(Page, 1)[0], "the byte afterwards");
        })),
        new("x26", "PF event", "a read-modify-write of a page without r and w asks for the read, then for the write", Guest, static t => WithPageEvents(t, () =>
        {
            t.WriteQuad(Page, 41);
            t.SetAccess(Page, PageAccess.None);
            ulong ticket = t.Start(SelftestAction.Increment, Page.Value);
            foreach (PageAccess kind in (PageAccess[])[PageAccess.Read, PageAccess.Write])
            {
                RawEvent message = t.Peer.WaitEvent(EventId.PageFault, 568);
                ExpectFault(message, Page.Value, Page.Value, kind);
                Expect(41UL, t.ReadQuad(Page), "memory before the verdict");
                t.Peer.Answer(message, EventAction.Continue);
            }

            t.AwaitDone(ticket);
            Expect(42UL, t.ReadQuad(Page), "memory afterwards");
        })),
        new("x27", "PF event", "a store over two pages asks for each; nothing is written before the last verdict", Guest, static t => WithPageEvents(t, () =>
        {
            Gpa start = Page + 4092;
            t.WriteQuad(Page + 4088, 0);
            t.Write(NextPage, new byte[8]);
            t.SetAccess(Page, ReadExecute);
            t.SetAccess(NextPage, ReadExecute);
            ulong ticket = t.Start(SelftestAction.StoreQuad, start.Value, 0x8877_6655_4433_2211);
            foreach (ulong address in (ulong[])[start.Value, NextPage.Value])
            {
                RawEvent message = t.Peer.WaitEvent(EventId.PageFault, 568);
                ExpectFault(message, address, address, PageAccess.Write);
                Expect(0UL, t.ReadQuad(NextPage) | t.ReadQuad(Page + 4088), "memory before the verdict");
                t.Peer.Answer(message, EventAction.Continue);
            }

            t.AwaitDone(ticket);
            Expect(0x4433_2211_0000_0000UL, t.ReadQuad(Page + 4088), "first page afterwards");
            Expect(0x8877_6655UL, t.ReadQuad(NextPage), "second page afterwards");
        })),
        new("x28", "PF event", "REP MOVSB: each element asks; rcx and rdi show what is done, rip stays", Guest, static t => WithPageEvents(t, () =>
        {
            Gpa source = SelftestGuest.TestPage + 0x2000;
            t.Write(source, [1, 2, 3, 4, 5, 6, 7, 8]);
            t.Write(Page + 4092, new byte[4]);
            t.Write(NextPage, new byte[8]);
            t.SetAccess(NextPage, ReadExecute);
            ulong ticket = t.Start(SelftestAction.CopyBytes, Page.Value + 4092, source.Value, 8);
            ulong rip = 0;
            for (ulong element = 4; element < 8; element++)
            {
                RawEvent message = t.Peer.WaitEvent(EventId.PageFault, 568);
                ExpectFault(message, NextPage.Value + element - 4, NextPage.Value + element - 4, PageAccess.Write);
                KvmRegs registers = message.Common.Arch.Regs;
                Expect(8 - element, registers.Rcx, "rcx");
                Expect(Page.Value + 4092 + element, registers.Rdi, "rdi");
                rip = rip == 0 ? registers.Rip : rip;
                Expect(rip, registers.Rip, "rip");
                t.Peer.Answer(message, EventAction.Continue);
            }

            t.AwaitDone(ticket);
            Expect(0x0807_0605UL, t.ReadQuad(NextPage), "memory afterwards");
        })),
        new("x29", "PF event", "a push to a read-only page: rsp is unchanged at the event", Guest, static t => WithPageEvents(t, () =>
        {
            t.SetAccess(Page, ReadExecute);
            ulong ticket = t.Start(SelftestAction.Push, Page.Value + 0x100, 0x1234);
            RawEvent message = t.Peer.WaitEvent(EventId.PageFault, 568);
            ExpectFault(message, Page.Value + 0xF8, Page.Value + 0xF8, PageAccess.Write);
            Expect(Page.Value + 0x100, message.Common.Arch.Regs.Rsp, "rsp");
            t.Peer.Answer(message, EventAction.Continue);
            t.AwaitDone(ticket);
            Expect(0x1234UL, t.ReadQuad(Page + 0xF8), "what was pushed");
        })),
        new("x30", "PF event", "without the event enabled on the vCPU restricted pages pass silently", Guest, static t =>
        {
            t.SetAccess(Page, PageAccess.Execute);
            t.Run(SelftestAction.StoreByte, Page.Value, 0x31);
            Expect((byte)0x31, t.Read(Page, 1)[0], "the byte afterwards");
            t.SetAccess(Page, PageAccess.All);
        }),
        new("x31", "PF event", "the guest's page walk raises none, even from tables without any right", Guest, static t => WithPageEvents(t, () =>
        {
            for (ulong table = 0x1000; table <= 0x4000; table += 0x1000)
                t.SetAccess(new Gpa(table), PageAccess.None);
            t.Run(SelftestAction.ReloadCr3);
            t.Run(SelftestAction.StoreByte, SelftestGuest.TestPageAlias.Value, 1);
            for (ulong table = 0x1000; table <= 0x4000; table += 0x1000)
                t.SetAccess(new Gpa(table), PageAccess.All);
        })),
        new("x32", "VM_SET_PAGE_ACCESS", "all entries are applied and the first error is reported", Guest, static t => WithPageEvents(t, () =>
        {
            PayloadBuilder request = PayloadBuilder.New.U16(3).U16(0).U32(0)
                .U64(Page.Value).U8(8).U8(1).U16(0).U32(0)
                .U64(NextPage.Value).U8((int)ReadExecute).U8(1).U16(0).U32(0)
                .U64(Page.Value).U8((int)ReadExecute).U8(2).U16(0).U32(0);
            t.Call(MessageId.VmSetPageAccess, request, KvmError.InvalidArgument);
            t.Run(SelftestAction.StoreByte, Page.Value, 1);
            ulong ticket = t.Start(SelftestAction.StoreByte, NextPage.Value, 1);
            t.Peer.Answer(t.Peer.WaitEvent(EventId.PageFault, 568), EventAction.Continue);
            t.AwaitDone(ticket);
        })),
        new("x33", "VM_SET_PAGE_ACCESS", "a page without memory: EINVAL if visible, silence if not", None, static t =>
        {
            ulong gpa = CommandRows.MaxGfn(t) << 12;
            t.Call(MessageId.VmSetPageAccess, PayloadBuilder.New.U16(1).U16(0).U32(0).U64(gpa).U8(0).U8(1).U16(0).U32(0), KvmError.InvalidArgument);
            t.Call(MessageId.VmSetPageAccess, PayloadBuilder.New.U16(1).U16(0).U32(0).U64(gpa).U8(0).U8(0).U16(0).U32(0));
        }),
        new("x34", "VM_SET_PAGE_ACCESS", "511 entries in one message; full rights are forgotten", Guest, static t => WithPageEvents(t, () =>
        {
            foreach (PageAccess access in (PageAccess[])[PageAccess.Read, PageAccess.All])
            {
                PayloadBuilder request = PayloadBuilder.New.U16(511).U16(0).U32(0);
                for (ulong index = 0; index < 511; index++)
                    request.U64(0x20_0000 + (index << 12)).U8((int)access).U8(1).U16(0).U32(0);
                t.Call(MessageId.VmSetPageAccess, request);
            }

            t.Run(SelftestAction.StoreByte, 0x20_0000, 1);
        })),
        new("x35", "memory slots", "a slot removed and added again has the restriction of its addresses", Manager | Guest, static t => WithPageEvents(t, () =>
        {
            var gpa = new Gpa(0x1000_0000);
            Expect(0, t.Manager.AddMemory(gpa, 0x20_0000), "add memory");
            t.SetAccess(gpa, ReadExecute);
            Expect(0, t.Manager.RemoveMemory(gpa), "remove memory");
            t.SetAccess(gpa, PageAccess.All, KvmError.InvalidArgument);
            t.Run(SelftestAction.StoreByte, gpa.Value, 1); // nothing there: the store is lost, no event
            Expect(0, t.Manager.AddMemory(gpa, 0x20_0000), "add memory again");
            ulong ticket = t.Start(SelftestAction.StoreByte, gpa.Value, 7);
            RawEvent message = t.Peer.WaitEvent(EventId.PageFault, 568);
            ExpectFault(message, gpa.Value, gpa.Value, PageAccess.Write);
            t.Peer.Answer(message, EventAction.Continue);
            t.AwaitDone(ticket);
            t.SetAccess(gpa, PageAccess.All);
            Expect(0, t.Manager.RemoveMemory(gpa), "remove memory at the end");
        })),
        new("x36", "disconnect", "during a PF event: the access is carried out, and a new tool finds nothing restricted", Guest, static t =>
        {
            t.WriteQuad(Page, 0);
            t.SetAccess(Page, ReadExecute);
            t.ControlEvent(EventId.PageFault, true);
            ulong ticket = t.Start(SelftestAction.StoreByte, Page.Value, 0x42);
            _ = t.Peer.WaitEvent(EventId.PageFault, 568);
            t.Rehook();
            t.AwaitDone(ticket);
            Expect((byte)0x42, t.Read(Page, 1)[0], "the byte afterwards");
            t.ControlEvent(EventId.PageFault, true);
            t.Run(SelftestAction.StoreByte, Page.Value, 0x43);
            t.ControlEvent(EventId.PageFault, false);
        }),
        new("x37", "several vCPUs", "each has its own outstanding event; replies in any order", Guest | SeveralVcpus, static t =>
        {
            t.SetAccess(Page, ReadExecute);
            int count = Math.Min(t.VcpuCount, SelftestGuest.MaxVcpus);
            for (int vcpu = 0; vcpu < count; vcpu++)
                t.ControlEvent(EventId.PageFault, true, vcpu);
            ulong[] tickets = new ulong[count];
            for (int vcpu = 0; vcpu < count; vcpu++)
                tickets[vcpu] = t.Start(SelftestAction.StoreByte, Page.Value + (ulong)vcpu, (ulong)(vcpu + 1), vcpu: vcpu);
            RawEvent[] messages = [.. Enumerable.Range(0, count).Select(_ => t.Peer.WaitEvent(EventId.PageFault, 568))];
            Expect(count, messages.Select(message => message.Common.Vcpu.Value).Distinct().Count(), "vCPUs with an event");
            foreach (RawEvent message in messages.OrderByDescending(message => message.Common.Vcpu.Value))
                t.Peer.Answer(message, EventAction.Continue);
            for (int vcpu = 0; vcpu < count; vcpu++)
            {
                t.AwaitDone(tickets[vcpu], vcpu: vcpu);
                Expect((byte)(vcpu + 1), t.Read(Page + (ulong)vcpu, 1)[0], $"byte of vCPU {vcpu}");
                t.ControlEvent(EventId.PageFault, false, vcpu);
            }

            t.SetAccess(Page, PageAccess.All);
        }),
        new("64", "unhook", "succeeds, and once more", Manager, static t =>
        {
            Expect(0, t.Manager.Unhook(), "unhook");
            t.Peer.WaitClosed("the device manager unhooked");
            Expect(0, t.Manager.Unhook(), "unhook without a hook");
        }),
        new("x38", "CRASH", "ends the VM", Manager | Guest, static t =>
        {
            t.Rehook();
            CommandRows.Pause(t, 0, 1);
            t.Peer.Answer(t.Peer.WaitEvent(EventId.PauseVcpu, 544), EventAction.Crash);
            t.Peer.WaitClosed("the VM was crashed");
        }),
    ];

    private static void WithPageEvents(ConformanceContext t, Action action)
    {
        t.ControlEvent(EventId.PageFault, true);
        action();
        t.ControlEvent(EventId.PageFault, false);
        t.SetAccess(Page, PageAccess.All);
        t.SetAccess(NextPage, PageAccess.All);
    }
}
