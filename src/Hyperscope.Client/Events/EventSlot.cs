using System.Runtime.InteropServices;

namespace Hyperscope.Client;

/// <summary>Holds one received event until it is answered. A vCPU has at most one unanswered event and reuses its slot for events that
/// are answered on the reader thread; others leave with their slot.</summary>
internal sealed class EventSlot(Connection connection, IntrospectedVcpu vcpu)
{
    private const int Pending = 1;
    private const int Answered = 2;

    private byte[] _data = new byte[64];
    private int _dataLength;
    private EventHeader _header;
    private EventInfo _info;
    private int _state;
    private uint _seq;

    public IntrospectedVcpu Vcpu => vcpu;

    public uint Seq => _seq;

    public EventId Id => _info.Id;

    public bool IsPending => Volatile.Read(ref _state) == Pending;

    /// <summary>A handler is looking at it: its memory must not be reused. Reader thread only.</summary>
    public bool IsInUse { get; set; }

    public ref readonly EventHeader Header => ref _header;

    public ReadOnlySpan<byte> Data => _data.AsSpan(0, _dataLength);

    /// <summary>Takes an event over from the receive buffer.</summary>
    public void Load(uint seq, in EventHeader header, ReadOnlySpan<byte> data, in EventInfo info)
    {
        if (data.Length > _data.Length)
            _data = new byte[data.Length];
        data.CopyTo(_data);
        _dataLength = data.Length;
        _header = header;
        _info = info;
        _seq = seq;
        Volatile.Write(ref _state, info.Accepts == EventActions.None ? Answered : Pending);
    }

    /// <summary>Throws if this slot holds another event by now.</summary>
    public void Check(uint seq)
    {
        if (seq != _seq)
            throw new EventAnswerException(
                EventAnswerProblem.TooLate, $"event {seq} of vCPU {vcpu.Index} is over: its handler has returned");
    }

    /// <summary>Answers the event; what a CR or MSR event needs is taken from <paramref name="newValue"/> or else from the event.</summary>
    public void Answer(uint seq, EventAction action, ulong? newValue = null)
    {
        Check(seq);
        if (!_info.Accepts.Allows(action))
            throw new EventAnswerException(EventAnswerProblem.ActionNotAccepted, $"{this} accepts {_info.Accepts}, not {action}");
        if (Interlocked.CompareExchange(ref _state, Answered, Pending) != Pending)
            throw new EventAnswerException(EventAnswerProblem.AnsweredTwice, $"{this} has been answered already");
        if (!Send(action, newValue))
            throw new EventAnswerException(EventAnswerProblem.TooLate, $"{this} cannot be answered: the connection has ended");
    }

    /// <summary>Answers an access with CONTINUE and data.</summary>
    public void Answer(uint seq, in PageFaultReply data)
    {
        Check(seq);
        if (Interlocked.CompareExchange(ref _state, Answered, Pending) != Pending)
            throw new EventAnswerException(EventAnswerProblem.AnsweredTwice, $"{this} has been answered already");
        vcpu.EventAnswered();
        Span<byte> message = stackalloc byte[KvmiConstants.HeaderSize + KvmiConstants.EventReplySize + PageFaultReply.WireSize];
        int size = Message.WriteEventReply(message, _seq, vcpu.Index, Id, EventAction.Continue, data);
        if (!connection.Send(message[..size]))
            throw new EventAnswerException(EventAnswerProblem.TooLate, $"{this} cannot be answered: the connection has ended");
    }

    /// <summary>Gives the default answer if there is none yet.</summary>
    /// <returns>True if there was none.</returns>
    public bool AnswerDefault(EventAction preferred)
    {
        if (Interlocked.CompareExchange(ref _state, Answered, Pending) != Pending)
            return false;
        Send(_info.Accepts.Allows(preferred) ? preferred : EventAction.Continue, null);
        return true;
    }

    /// <summary>The failure of whoever was done with this event and had not answered.</summary>
    public EventAnswerException NotAnswered() => new(
        EventAnswerProblem.NotAnswered,
        $"{this} was not answered: call one of its answer methods ({_info.Accepts}) before you are done with it");

    public override string ToString() => $"{Id} event {_seq} of vCPU {vcpu.Index}";

    private bool Send(EventAction action, ulong? newValue)
    {
        // Before the reply leaves: the vCPU's next event may arrive at once.
        vcpu.EventAnswered();
        Span<byte> message = stackalloc byte[KvmiConstants.HeaderSize + KvmiConstants.EventReplySize + 8];
        int size = _info.ReplyDataSize != Marshal.SizeOf<NewValueReply>()
            ? Message.WriteEventReply(message, _seq, vcpu.Index, Id, action)
            : Message.WriteEventReply(message, _seq, vcpu.Index, Id, action, new NewValueReply(newValue ?? OwnNewValue));
        return connection.Send(message[..size]);
    }

    // CrEvent and MsrEvent agree on where the new value is.
    private ulong OwnNewValue => Message.Read<CrEvent>(Data).NewValue;
}
