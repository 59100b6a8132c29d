using static Hyperscope.Conformance.ConformanceContext;
using static Hyperscope.Conformance.RowNeeds;

namespace Hyperscope.Conformance.Rows;

/// <summary>Hooking, permissions, version and checks: rows 1 to 22 of the v9 self-test.</summary>
internal static class ManagementRows
{
    private const int Eperm = 1, Efault = 14, Eexist = 17, Einval = 22;

    public static IEnumerable<ConformanceRow> All =>
    [
        new("1", "permissions", "allowing everything before a hook is EFAULT", Manager, static t =>
        {
            Expect(0, t.Manager.Unhook(), "unhook");
            Expect(Efault, t.Manager.SetCommandPermission(-1, 1), "allow all commands");
            Expect(Efault, t.Manager.SetEventPermission(-1, 1), "allow all events");
        }),
        new("2", "hook", "padding set is EINVAL", Manager, static t => Expect(Einval, t.Manager.HookWrongly(setPadding: true, badDescriptor: false), "hook")),
        new("3", "hook", "descriptor -1 is EINVAL", Manager, static t => Expect(Einval, t.Manager.HookWrongly(setPadding: false, badDescriptor: true), "hook")),
        new("4", "hook", "a valid descriptor succeeds after the vCPU has run", Manager, static t =>
        {
            t.Manager.Resume();
            Expect(0, t.Manager.Hook(out RawPeer? peer), "hook");
            t.Adopt(peer!);
        }),
        new("5", "hook", "hooking twice is EEXIST", Manager, static t =>
        {
            Expect(Eexist, t.Manager.Hook(out RawPeer? peer), "second hook");
            peer?.Dispose();
        }),
        new("6", "permissions", "the three basic commands cannot be disallowed", Manager, static t =>
        {
            foreach (MessageId id in (MessageId[])[MessageId.GetVersion, MessageId.VmCheckCommand, MessageId.VmCheckEvent])
                Expect(Eperm, t.Manager.SetCommandPermission((int)id, 0), $"disallow {id}");
        }),
        new("7", "permissions", "commands: id -1 with allow 2 is EINVAL, 0 and 1 succeed", Manager, static t =>
        {
            Expect(Einval, t.Manager.SetCommandPermission(-1, 2), "allow 2");
            Expect(0, t.Manager.SetCommandPermission(-1, 0), "allow 0");
            Expect(0, t.Manager.SetCommandPermission(-1, 1), "allow 1");
        }),
        new("8", "permissions", "events: id -1 with allow 2 is EINVAL, 0 and 1 succeed", Manager, static t =>
        {
            Expect(Einval, t.Manager.SetEventPermission(-1, 2), "allow 2");
            Expect(0, t.Manager.SetEventPermission(-1, 0), "allow 0");
            Expect(0, t.Manager.SetEventPermission(-1, 1), "allow 1");
        }),
        new("9", "unknown id", "message 0xffff is ENOSYS", None, static t =>
            t.Call((MessageId)0xFFFF, PayloadBuilder.New, KvmError.UnknownCommand)),
        new("10", "GET_VERSION", "version 1; the single-step feature is 0 or 1", None, static t =>
        {
            GetVersionReply version = Message.Read<GetVersionReply>(t.Call(MessageId.GetVersion, PayloadBuilder.New, KvmError.None, 16).Data);
            Expect(1u, version.Version, "version");
            byte feature = t.Call(MessageId.GetVersion, PayloadBuilder.New).Data[8];
            Expect(true, feature <= 1, "features.singlestep is 0 or 1");
            t.HasSingleStep = feature == 1;
        }),
        new("11", "VM_CHECK_COMMAND", "VM_GET_INFO is known", None, static t => Check(t, MessageId.VmCheckCommand, (int)MessageId.VmGetInfo)),
        new("12", "VM_CHECK_COMMAND", "dirty padding is EINVAL", None, static t =>
            t.Call(MessageId.VmCheckCommand, PayloadBuilder.New.U16((int)MessageId.VmGetInfo).U16(1).U32(1), KvmError.InvalidArgument)),
        new("13", "VM_CHECK_COMMAND", "id 0xffff is ENOENT", None, static t => Check(t, MessageId.VmCheckCommand, 0xFFFF, KvmError.NotFound)),
        new("14", "VM_CHECK_COMMAND", "a disallowed command is EPERM, allowed again it is known", Manager, static t =>
        {
            Expect(0, t.Manager.SetCommandPermission((int)MessageId.VmGetInfo, 0), "disallow");
            Check(t, MessageId.VmCheckCommand, (int)MessageId.VmGetInfo, KvmError.NotPermitted);
            t.Call(MessageId.VmGetInfo, PayloadBuilder.New, KvmError.NotPermitted);
            Expect(0, t.Manager.SetCommandPermission((int)MessageId.VmGetInfo, 1), "allow");
            Check(t, MessageId.VmCheckCommand, (int)MessageId.VmGetInfo);
        }),
        new("15", "VM_CHECK_EVENT", "id 0xffff is ENOENT, with padding EINVAL", None, static t =>
        {
            t.Call(MessageId.VmCheckEvent, PayloadBuilder.New.U16(0xFFFF).U16(1).U32(1), KvmError.InvalidArgument);
            Check(t, MessageId.VmCheckEvent, 0xFFFF, KvmError.NotFound);
        }),
        new("16", "VM_CHECK_EVENT", "UNHOOK is known, with padding EINVAL", None, static t =>
        {
            Check(t, MessageId.VmCheckEvent, (int)EventId.Unhook);
            t.Call(MessageId.VmCheckEvent, PayloadBuilder.New.U16((int)EventId.Unhook).U16(1).U32(1), KvmError.InvalidArgument);
        }),
        new("17", "VM_CHECK_EVENT", "a disallowed event is EPERM", Manager, static t => WithEventDisallowed(t, EventId.Unhook, () =>
            Check(t, MessageId.VmCheckEvent, (int)EventId.Unhook, KvmError.NotPermitted))),
        new("18", "VM_GET_INFO", "tells the number of vCPUs", None, static t =>
        {
            uint count = Message.Read<uint>(t.Call(MessageId.VmGetInfo, PayloadBuilder.New, KvmError.None, 16).Data);
            Expect(true, count is >= 1 and <= ushort.MaxValue, "vcpu_count is at least 1");
            t.VcpuCount = (int)count;
        }),
        new("19", "UNHOOK event", "is sent by a pre-unhook once enabled, and not before", Manager, static t =>
        {
            Expect(2, t.Manager.PreUnhook(), "pre-unhook without the event enabled");
            ControlUnhook(t, 1);
            Expect(0, t.Manager.PreUnhook(), "pre-unhook");
            RawEvent message = t.Peer.WaitEvent(EventId.Unhook, 544);
            Expect((ushort)544, message.Common.Size, "size field");
            ControlUnhook(t, 0);
        }),
        new("20", "VM_CONTROL_EVENTS", "UNHOOK on and off succeeds", None, static t =>
        {
            ControlUnhook(t, 1);
            ControlUnhook(t, 0);
        }),
        new("21", "VM_CONTROL_EVENTS", "padding 1, enable 2, an unknown event and a vCPU event are EINVAL", None, static t =>
        {
            t.Call(MessageId.VmControlEvents, PayloadBuilder.New.U16(0).U8(1).U8(1).U32(0), KvmError.InvalidArgument);
            t.Call(MessageId.VmControlEvents, PayloadBuilder.New.U16(0).U8(1).U8(0).U32(1), KvmError.InvalidArgument);
            ControlUnhook(t, 2, KvmError.InvalidArgument);
            t.Call(MessageId.VmControlEvents, PayloadBuilder.New.U16(0xFFFF).U8(1).U8(0).U32(0), KvmError.InvalidArgument);
            t.Call(MessageId.VmControlEvents, PayloadBuilder.New.U16((int)EventId.PageFault).U8(1).U8(0).U32(0), KvmError.InvalidArgument);
        }),
        new("22", "VM_CONTROL_EVENTS", "a disallowed event is EPERM", Manager, static t => WithEventDisallowed(t, EventId.Unhook, () =>
        {
            ControlUnhook(t, 1, KvmError.NotPermitted);
            ControlUnhook(t, 0, KvmError.NotPermitted);
        })),
    ];

    /// <summary>Runs <paramref name="action"/> with an event disallowed, and allows it again whatever happens.</summary>
    internal static void WithEventDisallowed(ConformanceContext t, EventId id, Action action)
    {
        Expect(0, t.Manager.SetEventPermission((int)id, 0), $"disallow {id}");
        try
        {
            action();
        }
        finally
        {
            Expect(0, t.Manager.SetEventPermission((int)id, 1), $"allow {id}");
        }
    }

    private static void Check(ConformanceContext t, MessageId command, int subject, KvmError expected = KvmError.None) =>
        t.Call(command, PayloadBuilder.New.U16(subject).U16(0).U32(0), expected, 0);

    private static void ControlUnhook(ConformanceContext t, int enable, KvmError expected = KvmError.None) =>
        t.Call(MessageId.VmControlEvents, PayloadBuilder.New.U16((int)EventId.Unhook).U8(enable).U8(0).U32(0), expected, 0);
}
