using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Starts every event's payload (C name <c>kvmi_event</c>). 544 bytes; the specific data follows at <see cref="Size"/>.</summary>
/// <remarks>An id of <see cref="KvmiConstants.FirstExtensionId"/> or more keeps its high byte in the first padding byte, which is
/// zero for every v9 event. Source: kvmi-abi.md 3.7.</remarks>
[StructLayout(LayoutKind.Sequential)]
public struct EventHeader
{
    /// <summary>Bytes of this structure as the sender knows it: 544 here.</summary>
    public ushort Size;

    /// <summary>The vCPU the event is of; the reply repeats it.</summary>
    public VcpuIndex Vcpu;

    private byte _event;
    private Padding3 _padding;

    /// <summary>The vCPU's state.</summary>
    public EventArch Arch;

    /// <summary>A header of <paramref name="vcpu"/> for <paramref name="eventId"/> with all state zero.</summary>
    public EventHeader(VcpuIndex vcpu, EventId eventId)
    {
        Size = KvmiConstants.EventHeaderSize;
        Vcpu = vcpu;
        Event = eventId;
    }

    /// <summary>Which event this is.</summary>
    public EventId Event
    {
        readonly get => (EventId)(_event | (_padding[0] << 8));
        set
        {
            _event = unchecked((byte)value);
            _padding[0] = (byte)((ushort)value >> 8);
        }
    }

    /// <summary>All padding is zero.</summary>
    public readonly bool IsWellFormed =>
        (_padding[0] is 0 or >= KvmiConstants.FirstExtensionId >> 8) && (_padding[1] | _padding[2]) == 0 && Arch.IsWellFormed;
}

/// <summary>A vCPU's state at an event (C name <c>kvmi_event_arch</c>). 536 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct EventArch
{
    /// <summary>2, 4 or 8; 0 in UNHOOK.</summary>
    public CpuMode Mode;

    private Padding7 _padding;

    /// <summary>General registers.</summary>
    public KvmRegs Regs;

    /// <summary>Segment, table and control registers.</summary>
    public KvmSregs Sregs;

    /// <summary>The MSRs that every event carries.</summary>
    public EventMsrs Msrs;

    /// <summary>All padding of this block itself is zero.</summary>
    public readonly bool IsWellFormed => _padding.IsZero;
}

/// <summary>The MSRs that every event carries. 72 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct EventMsrs
{
#pragma warning disable CS1591 // architectural names; indexes in MsrIndex
    public ulong SysenterCs, SysenterEsp, SysenterEip, Efer, Star, Lstar, Cstar, Pat, ShadowGs;
#pragma warning restore CS1591
}
