using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Starts every message in both directions (C name <c>kvmi_msg_hdr</c>). 8 bytes.</summary>
/// <remarks>Source: kvmi-abi.md 1.1.</remarks>
/// <param name="id">What the message is, as the wire numbers it.</param>
/// <param name="size">Payload bytes, this header excluded.</param>
/// <param name="seq">Chosen by the sender of the request or event, repeated in its reply.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct MessageHeader(ushort id, ushort size, uint seq)
{
    /// <summary>What the message is, as the wire numbers it; a <see cref="MessageId"/> in v9.</summary>
    public readonly ushort Id = id;

    /// <summary>Payload bytes, this header excluded.</summary>
    public readonly ushort Size = size;

    /// <summary>The sequence number.</summary>
    public readonly uint Seq = seq;

    /// <summary>As above, with a core id.</summary>
    public MessageHeader(MessageId id, int size, uint seq)
        : this((ushort)id, checked((ushort)size), seq)
    {
    }

    /// <summary>The id as v9 reads it.</summary>
    public MessageId MessageId => (MessageId)Id;

    /// <summary>False: the payload exceeds <see cref="KvmiConstants.MaxPayloadSize"/>, the connection must close.</summary>
    public bool IsAcceptable => Size <= KvmiConstants.MaxPayloadSize;

    /// <summary>Header and payload.</summary>
    public int MessageSize => KvmiConstants.HeaderSize + Size;
}

/// <summary>Starts every command reply's payload (C name <c>kvmi_error_code</c>). 8 bytes.</summary>
/// <param name="error">The error; the wire carries its negative.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct ErrorCode(KvmError error)
{
    private readonly int _err = unchecked(-(int)error);
    private readonly uint _padding;

    /// <summary>The error, positive. An unknown number is kept.</summary>
    public KvmError Error => (KvmError)unchecked(-_err);

    /// <summary>All padding is zero.</summary>
    public bool IsWellFormed => _padding == 0;
}

/// <summary>Starts the payload of each vCPU command and event reply (C name <c>kvmi_vcpu_hdr</c>). 8 bytes.</summary>
/// <param name="index">Position of the vCPU in its VM.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct VcpuHeader(VcpuIndex index)
{
    /// <summary>Position of the vCPU in its VM, not an APIC id.</summary>
    public readonly VcpuIndex Index = index;

    private readonly ushort _padding1;
    private readonly uint _padding2;

    /// <summary>All padding is zero.</summary>
    public bool IsWellFormed => (_padding1 | _padding2) == 0;
}

/// <summary>Follows <see cref="VcpuHeader"/> in an event reply (C name <c>kvmi_event_reply</c>). 8 bytes.</summary>
/// <remarks>Source: kvmi-abi.md 1.8.</remarks>
/// <param name="action">The verdict.</param>
/// <param name="eventId">The event answered; by convention only, its low byte is sent.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly struct EventReply(EventAction action, EventId eventId)
{
    /// <summary>The verdict: any byte, when it comes from a peer.</summary>
    public readonly EventAction Action = action;

    private readonly byte _event = unchecked((byte)eventId);
    private readonly ushort _padding1;
    private readonly uint _padding2;

    /// <summary>The event answered, low byte; receivers do not rely on it.</summary>
    public byte Event => _event;

    /// <summary>All padding is zero.</summary>
    public bool IsWellFormed => (_padding1 | _padding2) == 0;
}
