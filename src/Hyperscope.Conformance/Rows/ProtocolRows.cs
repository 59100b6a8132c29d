using System.Buffers.Binary;
using Hyperscope.Guests;
using static Hyperscope.Conformance.ConformanceContext;
using static Hyperscope.Conformance.RowNeeds;

namespace Hyperscope.Conformance.Rows;

/// <summary>Framing, lengths, event replies and what closes a connection: not covered by the v9 self-test. Source: kvmi-abi.md 1.3 to 1.9.</summary>
internal static class ProtocolRows
{
    public static IEnumerable<ConformanceRow> All =>
    [
        new("x1", "framing", "a short command counts as zero-filled, excess bytes are ignored", None, static t =>
        {
            t.Call(MessageId.VmCheckCommand, PayloadBuilder.New.U16((int)MessageId.VmGetInfo));
            t.Call(MessageId.VmCheckCommand, PayloadBuilder.New.U16((int)MessageId.VmGetInfo).Zeros(6).U64(ulong.MaxValue));
            t.Call(MessageId.GetVersion, PayloadBuilder.New.Zeros(8176), KvmError.None, 16);
        }),
        new("x2", "framing", "commands in one write are answered in order", None, static t =>
        {
            uint[] sent = [.. Enumerable.Range(0, 32).Select(_ => t.Peer.Send(MessageId.GetVersion, []))];
            foreach (uint seq in sent)
                Check(MessageId.GetVersion, t.Peer.Await(seq, MessageId.GetVersion), KvmError.None, 16);
        }),
        new("x3", "framing", "a header that announces more than 8184 bytes closes the connection", None, static t =>
        {
            byte[] header = RawPeer.Frame((ushort)MessageId.GetVersion, 1, []);
            BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(2), 8185);
            Closes(t, header, "the header announced 8185 bytes");
        }),
        new("x4", "VM_WRITE_PHYSICAL", "a payload shorter than its own size closes the connection", None, static t =>
            Closes(t, RawPeer.Frame((ushort)MessageId.VmWritePhysical, 1, PayloadBuilder.New.U64(0).U16(8).U16(0).U32(0).Zeros(7).ToArray()), "7 of 8 bytes came")),
        new("x5", "VCPU_GET_REGISTERS", "a payload too short for its MSRs closes the connection", None, static t =>
            Closes(t, RawPeer.Frame((ushort)MessageId.VcpuGetRegisters, 1, PayloadBuilder.Vcpu(0).U16(2).U16(0).U32(0).U32(0x10).ToArray()), "1 of 2 MSRs came")),
        new("x6", "VCPU_SET_XSAVE", "a payload shorter than the vCPU block closes the connection", None, static t =>
            Closes(t, RawPeer.Frame((ushort)MessageId.VcpuSetXsave, 1, [0, 0, 0, 0]), "4 bytes came")),
        new("x7", "VM_SET_PAGE_ACCESS", "a payload too short for its entries is EINVAL and the connection stays", None, static t =>
        {
            t.Call(MessageId.VmSetPageAccess, PayloadBuilder.New.U16(2).U16(0).U32(0).U64(0).U8(7).U8(1).U16(0).U32(0), KvmError.InvalidArgument);
            t.Call(MessageId.VmSetPageAccess, PayloadBuilder.New.U16(0).U16(1).U32(0), KvmError.InvalidArgument);
            t.Call(MessageId.VmSetPageAccess, PayloadBuilder.New.U16(0).U16(0).U32(1), KvmError.InvalidArgument);
            t.Call(MessageId.VmSetPageAccess, PayloadBuilder.New.U16(0).U16(0).U32(0));
        }),
        new("x8", "event reply", "a wrong sequence number closes the connection and releases the vCPU", Guest, static t =>
            BadReply(t, static message => Reply(message.Header.Seq + 1, 0, 0, EventAction.Continue), "the sequence number was wrong")),
        new("x9", "event reply", "dirty padding closes the connection", Guest, static t =>
            BadReply(t, static message => RawPeer.Frame(0, message.Header.Seq, PayloadBuilder.Vcpu(0).U8(0).U8((int)message.Id).U16(1).U32(0).ToArray()), "padding was set")),
        new("x10", "event reply", "a payload shorter than 16 bytes closes the connection", Guest, static t =>
            BadReply(t, static message => RawPeer.Frame(0, message.Header.Seq, PayloadBuilder.Vcpu(0).U8(0).Zeros(3).ToArray()), "it had 12 bytes")),
        new("x11", "event reply", "data that the event does not define closes the connection", Guest, static t =>
            BadReply(t, static message => RawPeer.Frame(0, message.Header.Seq, PayloadBuilder.Vcpu(0).Zeros(8).U64(0).ToArray()), "it had 8 bytes too many")),
        new("x12", "event reply", "an action the event does not accept closes the connection", Guest, static t =>
            BadReply(t, static message => Reply(message.Header.Seq, 0, 0, EventAction.Retry), "RETRY is not for PAUSE_VCPU")),
        new("x13", "event reply", "an unknown action closes the connection", Guest, static t =>
            BadReply(t, static message => Reply(message.Header.Seq, 0, 0, (EventAction)3), "action 3 does not exist")),
        new("x14", "event reply", "a bad vCPU block is refused with EINVAL and the event stays pending", Guest, static t =>
        {
            CommandRows.Pause(t, 0, 1);
            RawEvent message = t.Peer.WaitEvent(EventId.PauseVcpu, 544);
            foreach ((int vcpu, int padding) in ((int, int)[])[(99, 0), (0, 1)])
            {
                t.Peer.SendRaw(Reply(message.Header.Seq, vcpu, padding, EventAction.Continue));
                RawReply refusal = t.Peer.WaitRefusal();
                Expect(-(int)KvmError.InvalidArgument, refusal.Error, "error of the refusal");
                Expect(message.Header.Seq, refusal.Header.Seq, "seq of the refusal");
            }

            t.Peer.Answer(message, EventAction.Continue);
            t.Run(SelftestAction.Nop);
        }),
        new("x15", "event reply", "a reply while no event is pending closes the connection", Guest, static t =>
        {
            t.Peer.SendRaw(Reply(1, 0, 0, EventAction.Continue));
            t.Peer.WaitClosed("no event was pending");
            t.Rehook();
            t.Run(SelftestAction.Nop);
        }),
        new("x16", "event reply", "specific data that is missing counts as zero", Guest, static t =>
        {
            t.ControlEvent(EventId.Msr, true);
            EventRows.ControlMsr(t, 0x140, true);
            ulong ticket = t.Start(SelftestAction.SetMsrBits, 0x140, 1);
            t.Peer.Answer(t.Peer.WaitEvent(EventId.Msr, 568), EventAction.Continue);
            Expect(0UL, t.AwaitDone(ticket), "MSR afterwards");
            EventRows.ControlMsr(t, 0x140, false);
            t.ControlEvent(EventId.Msr, false);
        }),
        new("x17", "VCPU_PAUSE", "1002 requests can be pending, one more is EBUSY; each gives one event", Manager | Guest, static t =>
        {
            t.Manager.Suspend();
            uint[] sent = [.. Enumerable.Range(0, 1003).Select(_ => t.Peer.Send(MessageId.VcpuPause, PayloadBuilder.Vcpu(0).Zeros(8).ToArray()))];
            for (int index = 0; index < sent.Length; index++)
                Check(MessageId.VcpuPause, t.Peer.Await(sent[index], MessageId.VcpuPause), index < 1002 ? KvmError.None : KvmError.Busy);
            t.Manager.Resume();
            for (int index = 0; index < 1002; index++)
                t.Peer.Answer(t.Peer.WaitEvent(EventId.PauseVcpu, 544), EventAction.Continue);
            t.Run(SelftestAction.Nop);
        }),
        new("x18", "vCPU commands", "stay unanswered while the vCPU is not run, and are answered in order once it is", Manager | Guest, static t =>
        {
            t.Manager.Suspend();
            uint[] sent = [.. Enumerable.Range(0, 8).Select(_ => t.Peer.Send(MessageId.VcpuGetInfo, PayloadBuilder.Vcpu(0).ToArray()))];
            t.Call(MessageId.VmGetInfo, PayloadBuilder.New);
            Expect(false, t.Peer.HasReply(sent[0]), "a reply came while the vCPU was not run");
            t.Manager.Resume();
            foreach (uint seq in sent)
                Check(MessageId.VcpuGetInfo, t.Peer.Await(seq, MessageId.VcpuGetInfo), KvmError.None, 8);
        }),
        new("x19", "events", "commands are executed while an event waits for its reply", Guest, static t =>
        {
            CommandRows.Pause(t, 0, 1);
            RawEvent message = t.Peer.WaitEvent(EventId.PauseVcpu, 544);
            Expect(message.Common.Arch.Regs.Rip, t.Registers().Rip, "rip by command and in the event");
            t.Call(MessageId.VcpuGetInfo, PayloadBuilder.Vcpu(0), KvmError.None, 8);
            t.Peer.Answer(message, EventAction.Continue);
            t.Run(SelftestAction.Nop);
        }),
    ];

    private static byte[] Reply(uint seq, int vcpu, int padding, EventAction action) =>
        RawPeer.Frame(0, seq, PayloadBuilder.Vcpu(vcpu, (ushort)padding).U8((int)action).Zeros(7).ToArray());

    private static void Closes(ConformanceContext t, byte[] bytes, string why)
    {
        t.Peer.SendRaw(bytes);
        t.Peer.WaitClosed(why);
        t.Rehook();
        t.Call(MessageId.GetVersion, PayloadBuilder.New, KvmError.None, 16);
    }

    private static void BadReply(ConformanceContext t, Func<RawEvent, byte[]> reply, string why)
    {
        CommandRows.Pause(t, 0, 1);
        RawEvent message = t.Peer.WaitEvent(EventId.PauseVcpu, 544);
        t.Peer.SendRaw(reply(message));
        t.Peer.WaitClosed(why);
        t.Rehook();
        t.Run(SelftestAction.Nop);
    }
}
