using System.Runtime.InteropServices;
using Hyperscope.Guests;
using static Hyperscope.Conformance.ConformanceContext;
using static Hyperscope.Conformance.RowNeeds;

namespace Hyperscope.Conformance.Rows;

/// <summary>Memory, vCPU state and the commands without an event of their own: rows 23 to 42, 45, 47, 50, 52 to 54, 57, 58, 61 to 63.</summary>
internal static class CommandRows
{
    public static IEnumerable<ConformanceRow> All =>
    [
        new("23", "memory", "a full page can be written", Guest, static t =>
        {
            t.Write(SelftestGuest.TestPage, Pattern(0xA7));
            Expect(0xA7A7_A7A7_A7A7_A7A7UL, t.Run(SelftestAction.LoadQuad, SelftestGuest.TestPage.Value + 4088), "what the guest sees");
        }),
        new("24", "memory", "reading gives what was written", Guest, static t =>
            Expect(true, t.Read(SelftestGuest.TestPage, 4096).AsSpan().SequenceEqual(Pattern(0xA7)), "the page is as written")),
        new("25", "memory", "size 0, a crossed page and padding are EINVAL", None, static t =>
        {
            foreach (MessageId id in (MessageId[])[MessageId.VmReadPhysical, MessageId.VmWritePhysical])
            {
                t.Call(id, Range(0, 0), KvmError.InvalidArgument);
                t.Call(id, Range(4095, 2).U16(0), KvmError.InvalidArgument);
                t.Call(id, PayloadBuilder.New.U64(0).U16(1).U16(1).U32(0).U8(0), KvmError.InvalidArgument);
                t.Call(id, PayloadBuilder.New.U64(0).U16(1).U16(0).U32(1).U8(0), KvmError.InvalidArgument);
            }

            t.Call(MessageId.VmReadPhysical, Range(0, 4097), KvmError.InvalidArgument);
        }),
        new("26", "memory", "the page behind the highest frame is ENOENT", None, static t =>
        {
            ulong gpa = MaxGfn(t) << 12;
            t.Call(MessageId.VmReadPhysical, Range(gpa, 1), KvmError.NotFound);
            t.Call(MessageId.VmWritePhysical, Range(gpa, 1).U8(0), KvmError.NotFound);
        }),
        new("27", "VCPU_GET_INFO", "vCPU 0 gives 8 bytes", None, static t => t.Call(MessageId.VcpuGetInfo, PayloadBuilder.Vcpu(0), KvmError.None, 8)),
        new("28", "VCPU_GET_INFO", "vCPU 99 and vCPU block padding are EINVAL", None, static t =>
        {
            t.Call(MessageId.VcpuGetInfo, PayloadBuilder.Vcpu(99), KvmError.InvalidArgument);
            t.Call(MessageId.VcpuGetInfo, PayloadBuilder.Vcpu(0, padding1: 1), KvmError.InvalidArgument);
            t.Call(MessageId.VcpuGetInfo, PayloadBuilder.Vcpu(0, padding2: 1), KvmError.InvalidArgument);
        }),
        new("29", "VCPU_PAUSE", "wait 1 succeeds while the vCPU is not run; the event comes once it is", Manager, static t =>
        {
            t.Manager.Suspend();
            Pause(t, 0, 1);
            t.Manager.Resume();
            t.Peer.Answer(t.Peer.WaitEvent(EventId.PauseVcpu, 544), EventAction.Continue);
        }),
        new("30", "VCPU_PAUSE", "wait 1 on a running vCPU gives reply and event", None, static t =>
        {
            Pause(t, 0, 1);
            t.Peer.Answer(t.Peer.WaitEvent(EventId.PauseVcpu, 544), EventAction.Continue);
        }),
        new("31", "VCPU_PAUSE", "wait 2 and padding are EINVAL", None, static t =>
        {
            Pause(t, 0, 2, expected: KvmError.InvalidArgument);
            t.Call(MessageId.VcpuPause, PayloadBuilder.Vcpu(0).U8(0).U8(1).U16(0).U32(0), KvmError.InvalidArgument);
            t.Call(MessageId.VcpuPause, PayloadBuilder.Vcpu(0).U8(0).U8(0).U16(1).U32(0), KvmError.InvalidArgument);
            t.Call(MessageId.VcpuPause, PayloadBuilder.Vcpu(0).U8(0).U8(0).U16(0).U32(1), KvmError.InvalidArgument);
            Pause(t, 99, 0, expected: KvmError.InvalidArgument);
        }),
        new("32", "VCPU_PAUSE", "EPERM while the event is disallowed", Manager, static t =>
            ManagementRows.WithEventDisallowed(t, EventId.PauseVcpu, () => Pause(t, 0, 0, KvmError.NotPermitted))),
        new("33", "VCPU_CONTROL_EVENTS", "PAUSE_VCPU on and off succeeds without effect", None, static t =>
        {
            t.ControlEvent(EventId.PauseVcpu, true);
            t.ControlEvent(EventId.PauseVcpu, false);
        }),
        new("34", "VCPU_CONTROL_EVENTS", "padding, enable 2, unknown events and UNHOOK are EINVAL", None, static t =>
        {
            PayloadBuilder Request(int id, int enable, int padding1 = 0, uint padding2 = 0) =>
                PayloadBuilder.Vcpu(0).U16(id).U8(enable).U8(padding1).U32(padding2);
            t.Call(MessageId.VcpuControlEvents, Request((int)EventId.PauseVcpu, 1, padding1: 1), KvmError.InvalidArgument);
            t.Call(MessageId.VcpuControlEvents, Request((int)EventId.PauseVcpu, 1, padding2: 1), KvmError.InvalidArgument);
            t.Call(MessageId.VcpuControlEvents, Request((int)EventId.PauseVcpu, 2), KvmError.InvalidArgument);
            t.Call(MessageId.VcpuControlEvents, Request(0xFFFF, 1), KvmError.InvalidArgument);
            t.Call(MessageId.VcpuControlEvents, Request((int)EventId.Unhook, 1), KvmError.InvalidArgument);
        }),
        new("35", "VCPU_CONTROL_EVENTS", "a disallowed event is EPERM, also when switching it off", Manager, static t =>
            ManagementRows.WithEventDisallowed(t, EventId.PauseVcpu, () =>
            {
                t.ControlEvent(EventId.PauseVcpu, true, expected: KvmError.NotPermitted);
                t.ControlEvent(EventId.PauseVcpu, false, expected: KvmError.NotPermitted);
            })),
        new("36", "VCPU_GET_REGISTERS", "no MSRs gives 472 bytes and a sensible mode", None, static t =>
        {
            RawReply reply = t.Call(MessageId.VcpuGetRegisters, PayloadBuilder.Vcpu(0).Zeros(8), KvmError.None, 472);
            Expect(true, MemoryMarshal.Read<uint>(reply.Data) is 2 or 4 or 8, "mode is 2, 4 or 8");
        }),
        new("37", "VCPU_GET_REGISTERS", "padding is EINVAL", None, static t =>
        {
            t.Call(MessageId.VcpuGetRegisters, PayloadBuilder.Vcpu(0).U16(0).U16(1).U32(0), KvmError.InvalidArgument);
            t.Call(MessageId.VcpuGetRegisters, PayloadBuilder.Vcpu(0).U16(0).U16(0).U32(1), KvmError.InvalidArgument);
        }),
        new("38", "VCPU_GET_REGISTERS", "an MSR that does not exist is EINVAL; EFER can be read", None, static t =>
        {
            t.Call(MessageId.VcpuGetRegisters, PayloadBuilder.Vcpu(0).U16(1).U16(0).U32(0).U32(0xFFFF_FFFF), KvmError.InvalidArgument);
            RawReply reply = t.Call(MessageId.VcpuGetRegisters, PayloadBuilder.Vcpu(0).U16(1).U16(0).U32(0).U32(MsrIndex.Efer), KvmError.None, 488);
            Expect(MsrIndex.Efer, MemoryMarshal.Read<uint>(reply.Data[472..]), "index of the MSR entry");
        }),
        new("39", "VCPU_GET_REGISTERS", "more MSRs than a reply holds is EINVAL", None, static t =>
        {
            PayloadBuilder request = PayloadBuilder.Vcpu(0).U16(2040).U16(0).U32(0);
            for (int index = 0; index < 2040; index++)
                request.U32(MsrIndex.Efer);
            t.Call(MessageId.VcpuGetRegisters, request, KvmError.InvalidArgument);
        }),
        new("40", "VCPU_SET_REGISTERS", "outside an event is EOPNOTSUPP", None, static t => t.SetRegisters(t.Registers(), expected: KvmError.NotSupported)),
        new("41", "VCPU_SET_REGISTERS", "during a PAUSE_VCPU event succeeds and takes effect with the reply", None, static t =>
        {
            Pause(t, 0, 1);
            RawEvent message = t.Peer.WaitEvent(EventId.PauseVcpu, 544);
            t.SetRegisters(message.Common.Arch.Regs);
            t.Peer.Answer(message, EventAction.Continue);
        }),
        new("42", "VCPU_GET_CPUID", "leaf 0 succeeds; a leaf that does not exist is ENOENT", None, static t =>
        {
            t.Call(MessageId.VcpuGetCpuid, PayloadBuilder.Vcpu(0).U32(0).U32(0), KvmError.None, 16);
            t.Call(MessageId.VcpuGetCpuid, PayloadBuilder.Vcpu(0).U32(0x7FFF_FFFF).U32(0), KvmError.NotFound);
        }),
        new("45", "VM_CONTROL_CLEANUP", "padding and enable 2 are EINVAL; on and off succeed", None, static t =>
        {
            t.Call(MessageId.VmControlCleanup, PayloadBuilder.New.U8(1).U8(1).U16(0).U32(0), KvmError.InvalidArgument);
            t.Call(MessageId.VmControlCleanup, PayloadBuilder.New.U8(2).Zeros(7), KvmError.InvalidArgument);
            t.Call(MessageId.VmControlCleanup, PayloadBuilder.New.U8(1).Zeros(7), KvmError.None, 0);
            t.Call(MessageId.VmControlCleanup, PayloadBuilder.New.U8(0).Zeros(7), KvmError.None, 0);
        }),
        new("47", "VCPU_CONTROL_CR", "enable 2, padding and cr 99 are EINVAL", None, static t =>
        {
            t.Call(MessageId.VcpuControlCr, PayloadBuilder.Vcpu(0).U8(0).U8(2).U16(0).U32(0), KvmError.InvalidArgument);
            t.Call(MessageId.VcpuControlCr, PayloadBuilder.Vcpu(0).U8(0).U8(0).U16(1).U32(0), KvmError.InvalidArgument);
            t.Call(MessageId.VcpuControlCr, PayloadBuilder.Vcpu(0).U8(0).U8(0).U16(0).U32(1), KvmError.InvalidArgument);
            t.Call(MessageId.VcpuControlCr, PayloadBuilder.Vcpu(0).U8(99).U8(1).U16(0).U32(0), KvmError.InvalidArgument);
        }),
        new("50", "VM_GET_MAX_GFN", "gives 8 bytes, one past the last frame", None, static t => Expect(true, MaxGfn(t) > 0, "a frame exists")),
        new("52", "VCPU_GET_XCR", "XCR0 succeeds; dirty padding and XCR1 are EINVAL", None, static t =>
        {
            ulong xcr0 = Message.Read<ulong>(t.Call(MessageId.VcpuGetXcr, PayloadBuilder.Vcpu(0).Zeros(8), KvmError.None, 8).Data);
            Expect(1UL, xcr0 & 1, "XCR0 bit 0");
            t.Call(MessageId.VcpuGetXcr, PayloadBuilder.Vcpu(0).Zeros(7).U8(1), KvmError.InvalidArgument);
            t.Call(MessageId.VcpuGetXcr, PayloadBuilder.Vcpu(0).U8(1).Zeros(7), KvmError.InvalidArgument);
        }),
        new("53", "XSAVE", "4096 bytes can be read and set again", None, static t =>
        {
            RawReply image = t.Call(MessageId.VcpuGetXsave, PayloadBuilder.Vcpu(0), KvmError.None, 4096);
            t.Call(MessageId.VcpuSetXsave, PayloadBuilder.Vcpu(0).Raw(image.Data), KvmError.None, 0);
            t.Call(MessageId.VcpuSetXsave, PayloadBuilder.Vcpu(0).Zeros(4097), KvmError.InvalidArgument);
        }),
        new("54", "VCPU_GET_MTRR_TYPE", "the test page has a memory type", None, static t =>
        {
            byte type = t.Call(MessageId.VcpuGetMtrrType, PayloadBuilder.Vcpu(0).U64(SelftestGuest.TestPage.Value), KvmError.None, 8).Data[0];
            Expect(true, type is 0 or 1 or 4 or 5 or 6, "type is 0, 1, 4, 5 or 6");
        }),
        new("57", "VCPU_CONTROL_MSR", "enable 2, padding and msr 0xffffffff are EINVAL", None, static t =>
        {
            t.Call(MessageId.VcpuControlMsr, PayloadBuilder.Vcpu(0).U8(2).U8(0).U16(0).U32(0x140), KvmError.InvalidArgument);
            t.Call(MessageId.VcpuControlMsr, PayloadBuilder.Vcpu(0).U8(1).U8(1).U16(0).U32(0x140), KvmError.InvalidArgument);
            t.Call(MessageId.VcpuControlMsr, PayloadBuilder.Vcpu(0).U8(1).U8(0).U16(1).U32(0x140), KvmError.InvalidArgument);
            t.Call(MessageId.VcpuControlMsr, PayloadBuilder.Vcpu(0).U8(1).U8(0).U16(0).U32(0xFFFF_FFFF), KvmError.InvalidArgument);
        }),
        new("58", "VM_SET_PAGE_ACCESS", "access 0, then 7, on gpa 0", None, static t =>
        {
            t.SetAccess(new Gpa(0), PageAccess.None);
            t.SetAccess(new Gpa(0), PageAccess.All);
        }),
        new("61", "VCPU_CONTROL_SINGLESTEP", "padding and enable 2 are EINVAL", None, static t =>
        {
            t.Call(MessageId.VcpuControlSinglestep, PayloadBuilder.Vcpu(0).U8(2).Zeros(7), KvmError.InvalidArgument);
            t.Call(MessageId.VcpuControlSinglestep, PayloadBuilder.Vcpu(0).U8(1).Zeros(6).U8(1), KvmError.InvalidArgument);
        }),
        new("62", "VCPU_CONTROL_SINGLESTEP", "EOPNOTSUPP where GET_VERSION says it is not supported", None, static t =>
        {
            if (t.HasSingleStep)
                throw new NotApplicableException("this server supports single-step");
            t.Call(MessageId.VcpuControlSinglestep, PayloadBuilder.Vcpu(0).U8(1).Zeros(7), KvmError.NotSupported);
        }),
        new("63", "VCPU_TRANSLATE_GVA", "the test page translates; all ones has no translation", Guest, static t =>
        {
            Expect(SelftestGuest.TestPage.Value, Translate(t, SelftestGuest.TestPageAlias.Value), "translation of the alias");
            Expect(ulong.MaxValue, Translate(t, ulong.MaxValue), "translation of all ones");
        }),
    ];

    /// <summary>VCPU_PAUSE.</summary>
    internal static void Pause(ConformanceContext t, int vcpu, int wait, KvmError expected = KvmError.None) =>
        t.Call(MessageId.VcpuPause, PayloadBuilder.Vcpu(vcpu).U8(wait).Zeros(7), expected, 0);

    /// <summary>VM_GET_MAX_GFN.</summary>
    internal static ulong MaxGfn(ConformanceContext t) => Message.Read<ulong>(t.Call(MessageId.VmGetMaxGfn, PayloadBuilder.New, KvmError.None, 8).Data);

    private static ulong Translate(ConformanceContext t, ulong gva) =>
        Message.Read<ulong>(t.Call(MessageId.VcpuTranslateGva, PayloadBuilder.Vcpu(0).U64(gva), KvmError.None, 8).Data);

    private static PayloadBuilder Range(ulong gpa, int size) => PayloadBuilder.New.U64(gpa).U16(size).U16(0).U32(0);

    private static byte[] Pattern(byte value)
    {
        byte[] page = new byte[4096];
        Array.Fill(page, value);
        return page;
    }
}
