using System.Buffers.Binary;
using System.Diagnostics;

namespace Hyperscope.Kvmi;

/// <summary>What libkvmi puts on the wire, and with it LibVMI, HVMI and libmicrovmi. Source: kvmi-dialect-libkvmi.md.</summary>
/// <remarks>Padding that a tool sends is dropped here and one-byte flags become 0 or 1, so the core's own checks hold. Only the padding of
/// the vCPU block is passed on, because this dialect's servers refuse it too.</remarks>
internal sealed class LibkvmiDialect : Dialect
{
    private const ushort Nothing = ushort.MaxValue;
    private const int Invalid = -(int)KvmError.InvalidArgument, Unsupported = -(int)KvmError.NotSupported;
    private const ushort ReplyControlId = 27;

    // Position: the wire id of the message.
    private static readonly MessageId?[] Messages =
    [
        null, // 0: the event reply
        null, // 1: the event
        MessageId.GetVersion,
        MessageId.VmCheckCommand,
        MessageId.VmCheckEvent,
        MessageId.VmGetInfo,
        MessageId.VcpuGetInfo,
        MessageId.VcpuPause,
        MessageId.VmControlEvents,
        MessageId.VcpuControlEvents,
        MessageId.VcpuControlCr,
        MessageId.VcpuControlMsr,
        null,
        MessageId.VcpuGetRegisters,
        MessageId.VcpuSetRegisters,
        MessageId.VcpuGetCpuid,
        MessageId.VcpuGetXsave,
        MessageId.VmReadPhysical,
        MessageId.VmWritePhysical,
        MessageId.VcpuInjectException,
        null,
        MessageId.VmSetViewPageAccess,
        null,
        MessageId.VcpuGetMtrrType,
        null, null,
        MessageId.VmSetWriteBitmap, // 26
        null, null,
        MessageId.VmGetMaxGfn, // 29
        null,
        MessageId.VmGetNextGfn, // 31
        MessageId.VcpuSwitchView,
        null,
        MessageId.VcpuGetView, // 34
        MessageId.VcpuTranslateGva,
        MessageId.VcpuControlView,
        MessageId.VcpuGetXcr,
        MessageId.VcpuSetXsave, // 38
        MessageId.VmQueryPhysical, // 39
        null,
        MessageId.VmAllocateGfn, // 41
        MessageId.VmFreeGfn,
        MessageId.VmCreateView,
        MessageId.VmDestroyView, // 44
        null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, // 45 to 59
        MessageId.VcpuChangeGfn, // 60
        null, null,
        MessageId.VcpuControlSinglestep, // 63
    ];

    // Position: the wire id of the event. 12 cannot be parsed by any tool.
    private static readonly EventId?[] Events =
    [
        EventId.Unhook,
        EventId.Cr,
        EventId.Msr,
        EventId.Xsetbv,
        EventId.Breakpoint,
        EventId.Hypercall,
        EventId.PageFault,
        EventId.Trap,
        EventId.Descriptor,
        EventId.CreateVcpu,
        EventId.PauseVcpu,
        EventId.Singlestep,
        null,
        EventId.Cpuid,
    ];

    private static readonly Dictionary<MessageId, ushort> MessageWireIds = Invert();

    public override string Name => "libkvmi";

    public override ushort EventMessageId => 1;

    public override ushort EventReplyMessageId => 0;

    public override bool HasReplyControl => true;

    public override bool CleansUpByDefault => true;

    public override KvmError UnknownIdInCheck => KvmError.InvalidArgument;

    public override KvmError MissingFrame => KvmError.NotFound;

    public override bool HasPageFaultReplyData => true;

    public override bool ToleratesRepeatedSwitching => true;

    public override bool HasMsrZero => true;

    public override bool PausesComeFirst => true;

    public override bool PageRightsEndWatches => true;

    public override bool PausesOnlyStartedVcpus => true;

    public override bool TryGetMessage(ushort wireId, out MessageId id)
    {
        MessageId? found = wireId < Messages.Length ? Messages[wireId] : null;
        id = found.GetValueOrDefault();
        return found is not null;
    }

    public override bool TryGetWireId(MessageId id, out ushort wireId)
    {
        if (MessageWireIds.TryGetValue(id, out wireId))
            return true;
        wireId = Nothing;
        return false;
    }

    public override bool TryGetEvent(ushort wireId, out EventId id)
    {
        EventId? found = wireId < Events.Length ? Events[wireId] : null;
        id = found.GetValueOrDefault();
        return found is not null;
    }

    public override bool TryGetWireId(EventId id, out ushort wireId)
    {
        int found = Array.IndexOf(Events, id);
        wireId = found < 0 ? Nothing : (ushort)found;
        return found >= 0;
    }

    // The map token needs a guest kernel that knows of it. #VE is known to the dialect and not there.
    public override KvmError RefusalOf(ushort wireId) => wireId switch
    {
        28 or 30 or 33 => KvmError.NotSupported,
        _ => KvmError.UnknownCommand,
    };

    public override bool TryReadReplyControl(ushort wireId, ReadOnlySpan<byte> payload, out ReplyControl control)
    {
        control = default;
        if (wireId != ReplyControlId)
            return false;
        control = new ReplyControl(payload.Length > 0 && payload[0] != 0, payload.Length > 1 && payload[1] != 0);
        return true;
    }

    public override int CommandToCore(MessageId id, ReadOnlySpan<byte> wire, Span<byte> core)
    {
        wire.CopyTo(core);
        Span<byte> copy = core[..wire.Length];
        switch (id)
        {
            case MessageId.Event: // the reply's action and event id
            case MessageId.VmCheckCommand or MessageId.VmCheckEvent or MessageId.VmControlEvents or MessageId.VcpuControlEvents:
            case MessageId.VcpuPause or MessageId.VcpuControlSinglestep or MessageId.VcpuGetXcr or MessageId.VcpuInjectException:
            case MessageId.VcpuGetRegisters or MessageId.VcpuControlCr or MessageId.VcpuControlMsr:
                return Rewrite(id, copy);
            case MessageId.VmReadPhysical or MessageId.VmWritePhysical:
                return BoundSize(copy);
            case MessageId.VmSetViewPageAccess or MessageId.VmSetWriteBitmap:
                return RewriteEntries(id, copy);
            case MessageId.VcpuSwitchView or MessageId.VcpuControlView or MessageId.VmDestroyView:
                return Rewrite(id, copy);
            case MessageId.VmAllocateGfn or MessageId.VmFreeGfn:
                // Here they name a vCPU, which has no part in it.
                return wire.Length < 16 ? Invalid : Move(copy[8..16], core);
            case MessageId.VcpuChangeGfn:
                return RewriteChangeGfn(wire, core);
            case MessageId.VmGetNextGfn:
                return wire.IsEmpty ? 0 : Unsupported; // with 16 bytes it is an older library's question about #VE
            default:
                return copy.Length;
        }
    }

    public override int ReplyToWire(MessageId id, ReadOnlySpan<byte> core, Span<byte> wire)
    {
        core.CopyTo(wire);
        if (id == MessageId.GetVersion)
        {
            // spp, vmfunc, eptp, ve: the first byte means something else in v9; the write bitmap is there wherever views are.
            wire[8] = core[10];
            wire[11..core.Length].Clear();
        }

        return core.Length;
    }

    public override int EventToWire(EventId id, ReadOnlySpan<byte> core, Span<byte> wire, ushort view = 0)
    {
        // Nothing follows the common block of XSETBV, where v9 reports the values.
        int size = id == EventId.Xsetbv ? KvmiConstants.EventHeaderSize : core.Length;
        core[..size].CopyTo(wire);
        if (!TryGetWireId(id, out ushort wireId))
            throw new UnreachableException($"event {id} was raised and {Name} has no such event");
        wire[4] = (byte)wireId;
        wire[5..8].Clear(); // where v9 keeps the high byte of an extension's id
        if (id != EventId.Unhook)
            WriteId(wire[10..], view);
        if (id == EventId.PageFault)
            WriteId(wire[(KvmiConstants.EventHeaderSize + 18)..], view);
        return size;
    }

    public override int EventReplyDataLimit(EventId id) => id switch
    {
        EventId.PageFault => PageFaultReply.WireSize,
        _ => V9.EventReplyDataLimit(id),
    };

    /// <summary>The small ones, whose payload may be shorter than the fixed part: missing bytes count as zero.</summary>
    private static int Rewrite(MessageId id, Span<byte> payload)
    {
        Span<byte> all = stackalloc byte[32];
        int size = Math.Min(payload.Length, all.Length);
        payload[..size].CopyTo(all);
        Span<byte> fields = all[8..]; // behind the vCPU block
        switch (id)
        {
            case MessageId.VmCheckCommand:
                WriteId(all, CoreCommand(BinaryPrimitives.ReadUInt16LittleEndian(all)));
                all[2..8].Clear();
                break;
            case MessageId.VmCheckEvent:
                WriteId(all, CoreEvent(BinaryPrimitives.ReadUInt16LittleEndian(all)));
                all[2..8].Clear();
                break;
            case MessageId.VmControlEvents:
                RewriteSwitch(all);
                break;
            case MessageId.VcpuControlEvents:
                RewriteSwitch(fields);
                break;
            case MessageId.VcpuControlCr:
                uint register = BinaryPrimitives.ReadUInt32LittleEndian(fields[4..]);
                fields[1] = Flag(fields[0]);
                fields[0] = register > byte.MaxValue ? byte.MaxValue : (byte)register;
                fields[2..8].Clear();
                break;
            case MessageId.VcpuControlMsr:
                fields[0] = Flag(fields[0]);
                fields[1..4].Clear();
                break;
            case MessageId.VcpuPause or MessageId.VcpuControlSinglestep:
                fields[0] = Flag(fields[0]);
                fields[1..8].Clear();
                break;
            case MessageId.VcpuGetXcr:
                fields[1..8].Clear();
                break;
            case MessageId.VcpuSwitchView:
                fields[2..8].Clear();
                break;
            case MessageId.VcpuControlView:
                fields[2] = Flag(fields[2]);
                fields[3..8].Clear();
                break;
            case MessageId.VmDestroyView:
                all[2..8].Clear();
                break;
            case MessageId.VcpuInjectException:
                fields[1..4].Clear();
                break;
            case MessageId.VcpuGetRegisters:
                fields[2..8].Clear();
                break;
            case MessageId.Event:
                fields[2..8].Clear();
                break;
        }

        all[..size].CopyTo(payload);
        return payload.Length;
    }

    /// <summary>The size has 8 bytes here and 2 in the core: what does not fit becomes 0, which is refused all the same.</summary>
    private static int BoundSize(Span<byte> payload)
    {
        if (payload.Length >= 16 && BinaryPrimitives.ReadUInt64LittleEndian(payload[8..]) > KvmiConstants.MaxPhysicalAccess)
            payload[8..16].Clear();
        return payload.Length;
    }

    /// <summary>View and count are where the core has them.</summary>
    private static int RewriteEntries(MessageId id, Span<byte> payload)
    {
        if (payload.Length < 8)
            return payload.Length;
        payload[4..8].Clear();
        for (Span<byte> entry = payload[8..]; entry.Length >= 16; entry = entry[16..])
        {
            if (id == MessageId.VmSetViewPageAccess)
            {
                entry[8] &= 0xF7; // suppress #VE: there is none
                entry[9] = 1; // a frame without memory is an error
                entry[10..16].Clear();
            }
            else
            {
                entry[12..16].Clear();
            }
        }

        return payload.Length;
    }

    /// <summary>An older library names no view: the one that the vCPU is in is meant.</summary>
    private static int RewriteChangeGfn(ReadOnlySpan<byte> wire, Span<byte> core)
    {
        if (wire.Length is not (24 or 32))
            return Invalid;
        wire[..8].CopyTo(core);
        core[8..16].Clear();
        WriteId(core[8..], wire.Length == 24 ? VcpuChangeGfn.CurrentView : BinaryPrimitives.ReadUInt16LittleEndian(wire[8..]));
        wire[^16..].CopyTo(core[16..]);
        return 32;
    }

    private static int Move(ReadOnlySpan<byte> from, Span<byte> to)
    {
        from.CopyTo(to);
        return from.Length;
    }

    private static void RewriteSwitch(Span<byte> fields)
    {
        WriteId(fields, CoreEvent(BinaryPrimitives.ReadUInt16LittleEndian(fields)));
        fields[2] = Flag(fields[2]);
        fields[3..8].Clear();
    }

    private static ushort CoreCommand(ushort wireId)
    {
        if (wireId is 0 or 1 or ReplyControlId)
            return (ushort)MessageId.Event;
        return wireId < Messages.Length && Messages[wireId] is { } id ? (ushort)id : Nothing;
    }

    private static ushort CoreEvent(ushort wireId) => wireId < Events.Length && Events[wireId] is { } id ? (ushort)id : Nothing;

    private static byte Flag(byte value) => (byte)(value == 0 ? 0 : 1);

    private static void WriteId(Span<byte> place, ushort id) => BinaryPrimitives.WriteUInt16LittleEndian(place, id);

    private static Dictionary<MessageId, ushort> Invert()
    {
        Dictionary<MessageId, ushort> inverse = [];
        for (int wireId = 0; wireId < Messages.Length; wireId++)
        {
            if (Messages[wireId] is { } id)
                inverse.Add(id, (ushort)wireId);
        }

        return inverse;
    }
}
