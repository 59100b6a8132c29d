using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;

namespace Hyperscope.Client;

/// <summary>One connection: a thread that reads, and what it hands out to.</summary>
/// <remarks>Only the reader thread touches the receive buffer. A blocking command on that thread (from a handler) reads on until its
/// reply is there and keeps other events for later.</remarks>
[SuppressMessage("Design", "CA1001", Justification = "the reader thread owns and disposes them; Close makes it end")]
internal sealed class Connection
{
    private const int BufferSize = 64 * 1024;

    [ThreadStatic]
    private static byte[]? _scratch;

    private readonly StreamSocket _socket;
    private readonly MessageSender _sender;
    private readonly PendingTable _pending;
    private readonly IntrospectionOptions _options;
    private readonly Func<VcpuIndex, IntrospectedVcpu> _vcpus;
    private readonly Thread _thread;
    private readonly EventFd _wake = new();
    private readonly byte[] _buffer = GC.AllocateUninitializedArray<byte>(BufferSize, pinned: true);
    private readonly Queue<EventSlot> _deferred = new();
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _closeGate = new();
    private int _start;
    private int _end;
    private uint _lastEventSeq;
    private bool _isClosed;
    private Exception? _failure;
    private long _events;
    private long _unhandled;
    private long _missed;
    private long _handlerErrors;

    public Connection(StreamSocket socket, string name, IntrospectionOptions options, Func<VcpuIndex, IntrospectedVcpu> vcpus)
    {
        _socket = socket;
        _options = options;
        _vcpus = vcpus;
        _sender = new MessageSender(socket);
        _pending = new PendingTable(options);
        _thread = new Thread(ReadUntilClosed) { IsBackground = true, Name = $"kvmi {name}" };
    }

    public EventRouter Router { get; } = new();

    public Task Completion => _completion.Task;

    public bool IsClosed => Volatile.Read(ref _isClosed);

    public IntrospectionStatistics Statistics => new(
        _pending.Count,
        Volatile.Read(ref _events),
        Volatile.Read(ref _unhandled),
        Volatile.Read(ref _missed),
        Volatile.Read(ref _handlerErrors));

    /// <summary>The VM has asked its tools to leave.</summary>
    public bool IsUnhooking { get; private set; }

    private bool IsOnReaderThread => Thread.CurrentThread == _thread;

    public void Start() => _thread.Start();

    /// <summary>Sends a whole message; false when the connection is gone.</summary>
    public bool Send(ReadOnlySpan<byte> message)
    {
        if (_sender.Send(message))
            return true;
        Close(null);
        return false;
    }

    /// <summary>Sends a command; the task completes with its reply.</summary>
    public ValueTask<TResult> RunAsync<TCommand, TTail, TResult>(
        TCommand command, ReadOnlyMemory<TTail> tail, ReplyReader<TResult> reader, Memory<byte> destination, CancellationToken cancellation)
        where TCommand : unmanaged, ICommand<TCommand>
        where TTail : unmanaged
    {
        if (!_pending.TryEnterWindow())
            return RunInTurnAsync(command, tail, reader, destination, cancellation);
        PendingCommand<TCommand, TResult> pending = Begin(command, tail.Span, reader, destination, holdsWindow: true, cancellation);
        return new ValueTask<TResult>(pending, pending.Version);
    }

    /// <summary>Sends a command without reply data.</summary>
    public ValueTask RunAsync<TCommand, TTail>(TCommand command, ReadOnlyMemory<TTail> tail, CancellationToken cancellation)
        where TCommand : unmanaged, ICommand<TCommand>
        where TTail : unmanaged
    {
        if (!_pending.TryEnterWindow())
            return new ValueTask(RunInTurnAsync(command, tail, Nothing.Read, default, cancellation).AsTask());
        PendingCommand<TCommand, Nothing> pending = Begin(command, tail.Span, Nothing.Read, default, holdsWindow: true, cancellation);
        return new ValueTask(pending, pending.Version);
    }

    /// <summary>Sends a command and blocks until its reply is there; on the reader thread by reading on.</summary>
    public TResult Run<TCommand, TTail, TResult>(
        TCommand command, ReadOnlyMemory<TTail> tail, ReplyReader<TResult> reader, Memory<byte> destination, CancellationToken cancellation)
        where TCommand : unmanaged, ICommand<TCommand>
        where TTail : unmanaged
    {
        if (!IsOnReaderThread)
            return RunAsync(command, tail, reader, destination, cancellation).AsTask().GetAwaiter().GetResult();
        PendingCommand<TCommand, TResult> pending = Begin(command, tail.Span, reader, destination, holdsWindow: false, cancellation);
        ReadUntilCompleted(pending);
        return pending.GetResult(pending.Version);
    }

    /// <summary>Deals with a handler that threw or left its event unanswered.</summary>
    public void HandlerFailed(EventSlot slot, Exception failure)
    {
        if (IsClosed)
            return; // what a handler throws when its connection vanishes is no news
        Interlocked.Increment(ref _handlerErrors);
        if (_options.HandlerError is not { } report)
        {
            Close(failure);
            return;
        }

        slot.AnswerDefault(_options.DefaultAnswer);
        report(failure);
    }

    /// <summary>Answers an event that nobody takes.</summary>
    public void AnswerUnhandled(EventSlot slot)
    {
        Interlocked.Increment(ref _unhandled);
        if (slot.Id == EventId.Unhook)
            Close(null); // what an unhook asks for
        else
            slot.AnswerDefault(_options.DefaultAnswer);
    }

    /// <summary>Ends the connection: commands fail now, the reader thread ends the rest.</summary>
    public void Close(Exception? failure)
    {
        lock (_closeGate)
        {
            if (_isClosed)
                return;
            _failure = failure;
            Volatile.Write(ref _isClosed, true);
        }

        _sender.Close();
        _socket.Shutdown();
        _wake.Signal();
        _pending.Close(failure);
    }

    /// <summary>Waits for the reader thread, unless called on it.</summary>
    public Task WaitForReaderAsync() => IsOnReaderThread ? Task.CompletedTask : _completion.Task;

    private async ValueTask<TResult> RunInTurnAsync<TCommand, TTail, TResult>(
        TCommand command, ReadOnlyMemory<TTail> tail, ReplyReader<TResult> reader, Memory<byte> destination, CancellationToken cancellation)
        where TCommand : unmanaged, ICommand<TCommand>
        where TTail : unmanaged
    {
        if (!await _pending.EnterWindowAsync(cancellation).ConfigureAwait(false))
            throw new TimeoutException($"{TCommand.Id} could not be sent: {_options.MaxCommandsInFlight} commands are unanswered");
        PendingCommand<TCommand, TResult> pending = Begin(command, tail.Span, reader, destination, holdsWindow: true, cancellation);
        return await new ValueTask<TResult>(pending, pending.Version).ConfigureAwait(false);
    }

    private PendingCommand<TCommand, TResult> Begin<TCommand, TTail, TResult>(
        in TCommand command,
        ReadOnlySpan<TTail> tail,
        ReplyReader<TResult> reader,
        Memory<byte> destination,
        bool holdsWindow,
        CancellationToken cancellation)
        where TCommand : unmanaged, ICommand<TCommand>
        where TTail : unmanaged
    {
        PendingCommand<TCommand, TResult> pending = PendingCommand<TCommand, TResult>.Rent(command, reader, destination);
        pending.Owner = this;
        if (!_pending.TryAdd(pending, holdsWindow))
            return pending;
        uint seq = pending.Seq;
        if (cancellation.CanBeCanceled)
            pending.CancelWith(RegisterCancellation(pending, cancellation));

        byte[] message = _scratch ??= new byte[KvmiConstants.MaxMessageSize];
        int size;
        try
        {
            size = Message.WriteCommand(message, seq, command, MemoryMarshal.AsBytes(tail));
        }
        catch (ArgumentException tooLong)
        {
            if (_pending.Abandon(pending, seq))
                pending.Fail(tooLong);
            return pending;
        }

        // A command cancelled by now is sent all the same: its reply is expected and ignored.
        Send(message.AsSpan(0, size));
        return pending;
    }

    // The registration is taken back before the object is used again, so its callback cannot meet another command.
    private static CancellationTokenRegistration RegisterCancellation(PendingCommand pending, CancellationToken cancellation) =>
        cancellation.UnsafeRegister(
            static (state, token) =>
            {
                var pending = (PendingCommand)state!;
                Connection connection = pending.Owner!;
                if (connection._pending.Abandon(pending, pending.Seq))
                {
                    pending.Fail(new OperationCanceledException(token));
                    connection._wake.Signal();
                }
            },
            pending);

    private void ReadUntilClosed()
    {
        Exception? failure = null;
        try
        {
            while (!IsClosed)
            {
                while (!IsClosed && TryTake(out MessageHeader header, out ReadOnlySpan<byte> payload))
                {
                    if (Process(header, payload) is { } slot)
                        Dispatch(slot);
                    while (!IsClosed && _deferred.TryDequeue(out EventSlot? deferred))
                        Dispatch(deferred);
                }

                if (IsClosed || !Receive(_socket.Receive(FreeSpace())))
                    break;
            }
        }
        catch (Exception caught)
        {
            // The root of the thread: a broken protocol, or a handler's error report that throws. The completion carries it.
            failure = caught;
        }

        Close(failure);
        Router.Close(_failure);
        _pending.Dispose();
        _socket.Dispose();
        _wake.Dispose();
        if (_failure is null)
            _completion.SetResult();
        else
            _completion.SetException(_failure);
        _ = _completion.Task.Exception; // observed: a tool that does not look is not punished by the finalizer
    }

    // A handler waits for a reply on this thread. Failures close the connection, which completes the command.
    private void ReadUntilCompleted(PendingCommand pending)
    {
        try
        {
            while (!pending.IsCompleted && !IsClosed)
            {
                if (TryTake(out MessageHeader header, out ReadOnlySpan<byte> payload))
                {
                    if (Process(header, payload) is { } slot)
                        _deferred.Enqueue(slot);
                    continue;
                }

                int received = _socket.TryReceive(FreeSpace());
                if (received >= 0)
                {
                    if (!Receive(received))
                        Close(null);
                    continue;
                }

                long remaining = pending.Deadline - Environment.TickCount64;
                if (remaining > 0)
                {
                    _socket.WaitReadable(pending.Deadline == long.MaxValue ? -1 : (int)Math.Min(remaining, int.MaxValue), _wake);
                    _wake.Clear();
                }
                else if (_pending.Abandon(pending, pending.Seq))
                {
                    pending.Fail(_pending.TimedOut(pending));
                }
            }
        }
        catch (ProtocolException broken)
        {
            Close(broken);
        }

        // Another thread may be failing it at this moment.
        SpinWait.SpinUntil(() => pending.IsCompleted);
    }

    private Span<byte> FreeSpace()
    {
        if (_start == _end)
        {
            _start = _end = 0;
        }
        else if (_buffer.Length - _start < KvmiConstants.MaxMessageSize)
        {
            _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
            _end -= _start;
            _start = 0;
        }

        return _buffer.AsSpan(_end);
    }

    // False: the stream has ended.
    private bool Receive(int received)
    {
        _end += received;
        if (received == 0 && _start != _end && !IsClosed)
            throw new ProtocolException($"the stream ended inside a message, after {_end - _start} bytes of it");
        return received != 0;
    }

    private bool TryTake(out MessageHeader header, out ReadOnlySpan<byte> payload)
    {
        payload = default;
        ReadOnlySpan<byte> received = _buffer.AsSpan(_start, _end - _start);
        if (!Message.TryReadHeader(received, out header))
            return false;
        if (!header.IsAcceptable)
            throw new ProtocolException(
                $"message {header.MessageId} seq {header.Seq} announces a payload of {header.Size} bytes, "
                + $"the bound is {KvmiConstants.MaxPayloadSize}");
        if (received.Length < header.MessageSize)
            return false;
        payload = received[KvmiConstants.HeaderSize..header.MessageSize];
        _start += header.MessageSize;
        return true;
    }

    // Completes the command that a reply belongs to, or returns an event. The payload is gone after the next read.
    private EventSlot? Process(MessageHeader header, ReadOnlySpan<byte> payload)
    {
        if (header.MessageId == MessageId.Event)
            return ReadEvent(header.Seq, payload);
        if (!Message.TryReadReply(payload, out KvmError error, out ReadOnlySpan<byte> data))
            throw new ProtocolException(
                $"a reply to {header.MessageId} seq {header.Seq} has {payload.Length} bytes, "
                + $"at least {KvmiConstants.ErrorCodeSize} are needed");
        _pending.TakeForReply(header.Seq, header.MessageId)?.Complete(error, data);
        return null;
    }

    private EventSlot? ReadEvent(uint seq, ReadOnlySpan<byte> payload)
    {
        if (payload.Length == KvmiConstants.ErrorCodeSize && Message.TryReadReply(payload, out KvmError refusal, out _))
            throw new ProtocolException($"the VM refused the answer to event {seq} with {refusal}");
        if (!Message.TryReadEvent(payload, out ReadOnlySpan<byte> data))
            throw new ProtocolException($"event {seq} has a payload of {payload.Length} bytes and does not fit its own header");
        ref readonly EventHeader header = ref Message.EventHeaderIn(payload);
        CheckSequence(seq);
        Interlocked.Increment(ref _events);
        if (!EventCatalog.TryGet(header.Event, out EventInfo info))
            info = new EventInfo(header.Event, EventActions.Continue | EventActions.Retry | EventActions.Crash, 0, 0);
        if (data.Length < info.DataSize)
            throw new ProtocolException($"{info.Id} event {seq} carries {data.Length} bytes of data, {info.DataSize} are needed");

        IntrospectedVcpu vcpu = _vcpus(header.Vcpu);
        EventSlot slot;
        if (info.Id != EventId.Unhook)
        {
            slot = vcpu.EventArrived(seq);
        }
        else if (IsUnhooking)
        {
            return null; // said once is enough
        }
        else
        {
            IsUnhooking = true;
            slot = new EventSlot(this, vcpu);
        }

        slot.Load(seq, header, data, info);
        return slot;
    }

    private void CheckSequence(uint seq)
    {
        uint expected = unchecked(_lastEventSeq + 1);
        _lastEventSeq = seq;
        if (seq == expected)
            return;
        if (!_options.TolerateSequenceGaps)
            throw new ProtocolException($"event {seq} follows event {unchecked(expected - 1)}: events were lost or repeated");
        _missed += unchecked((int)(seq - expected)) > 0 ? seq - expected : 0;
    }

    private void Dispatch(EventSlot slot)
    {
        EventRoute? route = Router.Find(slot.Id);
        if (route is null || !route.Deliver(slot))
            AnswerUnhandled(slot);
    }
}
