using System.Buffers.Binary;
using System.Diagnostics;

namespace Hyperscope.Kvmi;

/// <summary>What libkvmi puts on the wire, and with it LibVMI, HVMI and libmicrovmi. Source: kvmi-dialect-libkvmi.md.</summary>
/// <remarks>Padding that a tool sends is dropped here and one-byte flags become 0 or 1, so the core's own checks hold. Only the padding of
/// the vCPU block is passed on, because this dialect's servers refuse it too.</remarks>
internal sealed class LibkvmiDialect : Dialect
{
    private const ushort Nothing = ushort.MaxValue;
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
        MessageId.VmSetPageAccess,
        null,
        MessageId.VcpuGetMtrrType,
        null, null, null, null, null,
        MessageId.VmGetMaxGfn, // 29
        null, null, null, null, null,
        MessageId.VcpuTranslateGva, // 35
        null,
        MessageId.VcpuGetXcr,
        MessageId.VcpuSetXsave, // 38
        null, null, null, null, null, null, null, null, null, null, null, null, // 39 to 50
        null, null, null, null, null, null, null, null, null, null, null, null, // 51 to 62
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

    private static readonly ushort[] MessageWireIds = Invert();

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

    public override bool PausesOnlyStartedVcpus => true;

    public override bool TryGetMessage(ushort wireId, out MessageId id)
    {
        MessageId? found = wireId < Messages.Length ? Messages[wireId] : null;
        id = found.GetValueOrDefault();
        return found is not null;
    }

    public override bool TryGetWireId(MessageId id, out ushort wireId)
    {
        wireId = (int)id < MessageWireIds.Length ? MessageWireIds[(int)id] : Nothing;
        return wireId != Nothing;
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

    // The map token needs a guest kernel that knows of it. Views, frames and #VE are known to the dialect and not there.
    public override KvmError RefusalOf(ushort wireId) => wireId switch
    {
        26 or 28 or (>= 30 and <= 34) or 36 or 39 or (>= 41 and <= 44) or 60 => KvmError.NotSupported,
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
            case MessageId.VmSetPageAccess:
                return RewritePageAccess(copy);
            default:
                return copy.Length;
        }
    }

    public override int ReplyToWire(MessageId id, ReadOnlySpan<byte> core, Span<byte> wire)
    {
        core.CopyTo(wire);
        if (id == MessageId.GetVersion)
            wire[8..core.Length].Clear(); // spp, vmfunc, eptp, ve: v9's first byte means something else
        return core.Length;
    }

    public override int EventToWire(EventId id, ReadOnlySpan<byte> core, Span<byte> wire)
    {
        // Nothing follows the common block of XSETBV, where v9 reports the values.
        int size = id == EventId.Xsetbv ? KvmiConstants.EventHeaderSize : core.Length;
        core[..size].CopyTo(wire);
        if (!TryGetWireId(id, out ushort wireId))
            throw new UnreachableException($"event {id} was raised and {Name} has no such event");
        wire[4] = (byte)wireId;
        wire[5..8].Clear(); // where v9 keeps the high byte of an extension's id
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

    private static int RewritePageAccess(Span<byte> payload)
    {
        if (payload.Length < 8)
            return payload.Length;
        if (BinaryPrimitives.ReadUInt16LittleEndian(payload) != 0)
            return -1; // a view that does not exist
        WriteId(payload, BinaryPrimitives.ReadUInt16LittleEndian(payload[2..]));
        payload[2..8].Clear();
        for (Span<byte> entry = payload[8..]; entry.Length >= 16; entry = entry[16..])
        {
            entry[8] &= 0xF7; // suppress #VE: there is none
            entry[9] = 1; // a frame without memory is an error
            entry[10..16].Clear();
        }

        return payload.Length;
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

    private static ushort[] Invert()
    {
        ushort[] inverse = new ushort[KvmiConstants.MessageCount];
        Array.Fill(inverse, Nothing);
        for (int wireId = 0; wireId < Messages.Length; wireId++)
        {
            if (Messages[wireId] is { } id)
                inverse[(int)id] = (ushort)wireId;
        }

        return inverse;
    }
}
