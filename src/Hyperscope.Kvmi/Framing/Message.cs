using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi;

/// <summary>Turns structs into whole messages and back. Pure: bytes in, a value or a refusal out; nothing is allocated.</summary>
/// <remarks>The writers return the number of bytes written, always header and payload together, to be sent in one call. They
/// throw <see cref="ArgumentException"/> if the buffer is too small, which is the caller's bug: a buffer of
/// <see cref="KvmiConstants.MaxMessageSize"/> holds any legal message.</remarks>
public static class Message
{
    /// <summary>Writes a command.</summary>
    public static int WriteCommand<T>(Span<byte> destination, uint seq, in T command)
        where T : unmanaged, ICommand<T> => WriteCommand(destination, seq, command, []);

    /// <summary>Writes a command and the data behind its fixed part.</summary>
    public static int WriteCommand<T>(Span<byte> destination, uint seq, in T command, ReadOnlySpan<byte> tail)
        where T : unmanaged, ICommand<T>
    {
        int size = T.WireSize;
        int total = Start(destination, T.Id, size + tail.Length, seq);
        Bytes(command, size).CopyTo(destination[KvmiConstants.HeaderSize..]);
        tail.CopyTo(destination[(KvmiConstants.HeaderSize + size)..]);
        return total;
    }

    /// <summary>Writes a success reply without data.</summary>
    public static int WriteReply(Span<byte> destination, MessageId id, uint seq) => WriteError(destination, id, seq, KvmError.None);

    /// <summary>Writes a success reply of plain bytes.</summary>
    public static int WriteReply(Span<byte> destination, MessageId id, uint seq, ReadOnlySpan<byte> data)
    {
        int total = Start(destination, id, KvmiConstants.ErrorCodeSize + data.Length, seq);
        destination.Slice(KvmiConstants.HeaderSize, KvmiConstants.ErrorCodeSize).Clear();
        data.CopyTo(destination[(KvmiConstants.HeaderSize + KvmiConstants.ErrorCodeSize)..]);
        return total;
    }

    /// <summary>Writes a success reply.</summary>
    public static int WriteReply<T>(Span<byte> destination, MessageId id, uint seq, in T data)
        where T : unmanaged => WriteReply(destination, id, seq, Bytes(data, Unsafe.SizeOf<T>()));

    /// <summary>Writes a success reply and the data behind its fixed part.</summary>
    public static int WriteReply<T>(Span<byte> destination, MessageId id, uint seq, in T data, ReadOnlySpan<byte> tail)
        where T : unmanaged
    {
        int size = KvmiConstants.ErrorCodeSize + Unsafe.SizeOf<T>();
        int total = Start(destination, id, size + tail.Length, seq);
        destination.Slice(KvmiConstants.HeaderSize, KvmiConstants.ErrorCodeSize).Clear();
        Bytes(data, Unsafe.SizeOf<T>()).CopyTo(destination[(KvmiConstants.HeaderSize + KvmiConstants.ErrorCodeSize)..]);
        tail.CopyTo(destination[(KvmiConstants.HeaderSize + size)..]);
        return total;
    }

    /// <summary>Where a reply's data goes inside a message buffer, to be filled in place before <see cref="CompleteReply"/>.</summary>
    public static Span<byte> ReplyDataOf(Span<byte> message) => message[(KvmiConstants.HeaderSize + KvmiConstants.ErrorCodeSize)..];

    /// <summary>Writes everything of a success reply but its data, which is in the buffer already.</summary>
    public static int CompleteReply(Span<byte> destination, MessageId id, uint seq, int dataSize)
    {
        int total = Start(destination, id, KvmiConstants.ErrorCodeSize + dataSize, seq);
        destination.Slice(KvmiConstants.HeaderSize, KvmiConstants.ErrorCodeSize).Clear();
        return total;
    }

    /// <summary>Writes a reply that carries only its error block.</summary>
    public static int WriteError(Span<byte> destination, MessageId id, uint seq, KvmError error)
    {
        int total = Start(destination, id, KvmiConstants.ErrorCodeSize, seq);
        MemoryMarshal.Write(destination[KvmiConstants.HeaderSize..], new ErrorCode(error));
        return total;
    }

    /// <summary>Writes an event.</summary>
    public static int WriteEvent<T>(Span<byte> destination, uint seq, in EventHeader header, in T data)
        where T : unmanaged, IEvent<T>
    {
        MemoryMarshal.Write(destination[KvmiConstants.HeaderSize..], header);
        return CompleteEvent(destination, seq, data);
    }

    /// <summary>The event header inside a message buffer, to be filled in place before <see cref="CompleteEvent"/>.</summary>
    public static ref EventHeader EventHeaderOf(Span<byte> message) =>
        ref MemoryMarshal.AsRef<EventHeader>(message[KvmiConstants.HeaderSize..]);

    /// <summary>Writes everything of an event but its <see cref="EventHeader"/>, which is in the buffer already.</summary>
    public static int CompleteEvent<T>(Span<byte> destination, uint seq, in T data)
        where T : unmanaged, IEvent<T>
    {
        int total = Start(destination, MessageId.Event, KvmiConstants.EventHeaderSize + T.WireSize, seq);
        Bytes(data, T.WireSize).CopyTo(destination[(KvmiConstants.HeaderSize + KvmiConstants.EventHeaderSize)..]);
        return total;
    }

    /// <summary>Writes an event reply.</summary>
    /// <param name="destination">The message buffer.</param>
    /// <param name="seq">The event's sequence number.</param>
    /// <param name="vcpu">The event's vCPU.</param>
    /// <param name="eventId">The event's id.</param>
    /// <param name="action">The verdict.</param>
    /// <param name="data">Specific data: 8 bytes for CR and MSR, else none.</param>
    public static int WriteEventReply(
        Span<byte> destination, uint seq, VcpuIndex vcpu, EventId eventId, EventAction action, ReadOnlySpan<byte> data = default)
    {
        int total = Start(destination, MessageId.Event, KvmiConstants.EventReplySize + data.Length, seq);
        MemoryMarshal.Write(destination[KvmiConstants.HeaderSize..], new VcpuHeader(vcpu));
        MemoryMarshal.Write(destination[(KvmiConstants.HeaderSize + 8)..], new EventReply(action, eventId));
        data.CopyTo(destination[(KvmiConstants.HeaderSize + KvmiConstants.EventReplySize)..]);
        return total;
    }

    /// <summary>Writes an event reply with data.</summary>
    public static int WriteEventReply<T>(
        Span<byte> destination, uint seq, VcpuIndex vcpu, EventId eventId, EventAction action, in T data)
        where T : unmanaged => WriteEventReply(destination, seq, vcpu, eventId, action, Bytes(data, Unsafe.SizeOf<T>()));

    /// <summary>Reads a header; false if there are fewer than 8 bytes. The caller then asks <see cref="MessageHeader.IsAcceptable"/>.</summary>
    public static bool TryReadHeader(ReadOnlySpan<byte> source, out MessageHeader header) => MemoryMarshal.TryRead(source, out header);

    /// <summary>Reads a structure, bytes that are missing counting as zero (kvmi-abi.md 1.3).</summary>
    public static T Read<T>(ReadOnlySpan<byte> payload)
        where T : unmanaged
    {
        if (MemoryMarshal.TryRead(payload, out T value))
            return value;
        payload.CopyTo(MemoryMarshal.AsBytes(MemoryMarshal.CreateSpan(ref value, 1)));
        return value;
    }

    /// <summary>What follows a structure of <paramref name="size"/> bytes; nothing, if the payload ends before.</summary>
    public static ReadOnlySpan<byte> Tail(ReadOnlySpan<byte> payload, int size) => payload.Length > size ? payload[size..] : [];

    /// <summary>Takes a command reply's payload apart; false if it is too short for the error block.</summary>
    /// <param name="payload">The payload.</param>
    /// <param name="error">What the peer says; an unknown number is kept.</param>
    /// <param name="data">What follows the error block.</param>
    public static bool TryReadReply(ReadOnlySpan<byte> payload, out KvmError error, out ReadOnlySpan<byte> data)
    {
        if (!MemoryMarshal.TryRead(payload, out ErrorCode code))
        {
            error = KvmError.None;
            data = default;
            return false;
        }

        error = code.Error;
        data = payload[KvmiConstants.ErrorCodeSize..];
        return true;
    }

    /// <summary>Takes an event's payload apart without copying; false if it is too short or its inner size is out of bounds.</summary>
    /// <param name="payload">The payload.</param>
    /// <param name="data">The specific data, found by <see cref="EventHeader.Size"/>.</param>
    /// <returns>The payload has an event; read its header with <see cref="EventHeaderIn"/>.</returns>
    public static bool TryReadEvent(ReadOnlySpan<byte> payload, out ReadOnlySpan<byte> data)
    {
        data = default;
        if (payload.Length < KvmiConstants.EventHeaderSize)
            return false;
        int size = MemoryMarshal.Read<ushort>(payload);
        if (size < KvmiConstants.EventHeaderSize || size > payload.Length)
            return false;
        data = payload[size..];
        return true;
    }

    /// <summary>The event header inside an event's payload of at least 544 bytes.</summary>
    [SuppressMessage("Naming", "CA1716", Justification = "reads as a phrase")]
    public static ref readonly EventHeader EventHeaderIn(ReadOnlySpan<byte> payload) => ref MemoryMarshal.AsRef<EventHeader>(payload);

    /// <summary>The first <paramref name="size"/> bytes of a structure.</summary>
    private static ReadOnlySpan<byte> Bytes<T>(in T value, int size)
        where T : unmanaged => MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value))[..size];

    private static int Start(Span<byte> destination, MessageId id, int payload, uint seq)
    {
        int total = KvmiConstants.HeaderSize + payload;
        if (payload > KvmiConstants.MaxPayloadSize || total > destination.Length)
            ThrowSize(id, payload, destination.Length);
        MemoryMarshal.Write(destination, new MessageHeader(id, payload, seq));
        return total;
    }

    [DoesNotReturn]
    private static void ThrowSize(MessageId id, int payload, int capacity) => throw new ArgumentException(
        $"message {id} with a payload of {payload} bytes exceeds the bound of {KvmiConstants.MaxPayloadSize} or the buffer of {capacity} bytes");
}
