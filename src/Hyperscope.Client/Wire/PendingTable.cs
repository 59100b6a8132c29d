namespace Hyperscope.Client;

/// <summary>The commands of one connection that have no reply yet, by sequence number. All members are safe from any thread.</summary>
internal sealed class PendingTable : IDisposable
{
    private const int MaxAbandoned = 65536;

    private readonly Lock _gate = new();
    private readonly Dictionary<uint, PendingCommand> _waiting = [];
    private readonly Dictionary<uint, MessageId> _abandoned = [];
    private readonly SemaphoreSlim _window;
    private readonly TimeSpan _timeout;
    private readonly Timer _timer;
    private Exception? _closed;
    private uint _lastSeq;
    private bool _isTimerArmed;

    public PendingTable(IntrospectionOptions options)
    {
        _window = new SemaphoreSlim(options.MaxCommandsInFlight);
        _timeout = options.CommandTimeout;
        _timer = new Timer(static state => ((PendingTable)state!).FailOverdue(), this, Timeout.Infinite, Timeout.Infinite);
    }

    /// <summary>Commands sent so far.</summary>
    public long Count { get; private set; }

    /// <summary>Takes a place in the window of commands in flight, if one is free.</summary>
    public bool TryEnterWindow() => _window.Wait(0, CancellationToken.None);

    /// <summary>Waits for a place in the window of commands in flight.</summary>
    /// <returns>False after the time-out of a command.</returns>
    public Task<bool> EnterWindowAsync(CancellationToken cancellation) => _window.WaitAsync(_timeout, cancellation);

    /// <summary>Adds a command and numbers it. False: the table is closed and the command has failed.</summary>
    public bool TryAdd(PendingCommand command, bool holdsWindow)
    {
        Exception? closed;
        lock (_gate)
        {
            closed = _closed;
            if (closed is null)
            {
                command.Seq = NextSeq();
                command.HoldsWindow = holdsWindow;
                bool expires = _timeout != Timeout.InfiniteTimeSpan;
                command.Deadline = expires ? Environment.TickCount64 + (long)_timeout.TotalMilliseconds : long.MaxValue;
                _waiting.Add(command.Seq, command);
                Count++;
                if (expires && !_isTimerArmed)
                    Arm(_timeout);
                return true;
            }
        }

        if (holdsWindow)
            _window.Release();
        command.Fail(Closed(command, closed));
        return false;
    }

    /// <summary>Takes the command that a reply belongs to.</summary>
    /// <returns>The command, to be completed by the caller; <see langword="null"/> if nobody waits for it any more.</returns>
    /// <exception cref="ProtocolException">No such command was sent, or it was another.</exception>
    public PendingCommand? TakeForReply(uint seq, MessageId id)
    {
        PendingCommand? command;
        lock (_gate)
        {
            if (!_waiting.TryGetValue(seq, out command))
            {
                if (_closed is not null)
                    return null;
                if (!_abandoned.Remove(seq, out MessageId abandoned))
                    throw new ProtocolException($"a reply to {id} has seq {seq}, which no unanswered command has");
                return abandoned == id ? null : throw Mismatch(seq, id, abandoned);
            }

            if (command.Id != id)
                throw Mismatch(seq, id, command.Id);
            _waiting.Remove(seq);
        }

        Leave(command);
        return command;
    }

    /// <summary>Gives a command up. Its reply, should it come, will be ignored.</summary>
    /// <returns>True if it was still waiting: the caller completes it.</returns>
    public bool Abandon(PendingCommand command, uint seq)
    {
        lock (_gate)
        {
            if (!_waiting.TryGetValue(seq, out PendingCommand? found) || !ReferenceEquals(found, command))
                return false;
            _waiting.Remove(seq);
            if (_abandoned.Count < MaxAbandoned)
                _abandoned.Add(seq, command.Id);
        }

        Leave(command);
        return true;
    }

    /// <summary>Fails all commands, and each later one.</summary>
    public void Close(Exception? reason)
    {
        PendingCommand[] commands;
        lock (_gate)
        {
            if (_closed is not null)
                return;
            _closed = reason ?? new ConnectionClosedException("the connection was closed");
            commands = [.. _waiting.Values];
            _waiting.Clear();
            _abandoned.Clear();
        }

        foreach (PendingCommand command in commands)
        {
            Leave(command);
            command.Fail(Closed(command, _closed));
        }
    }

    public void Dispose()
    {
        // The semaphore is left to the collector: a command that waits for its turn still needs it to fail.
        _timer.Dispose();
    }

    private static ConnectionClosedException Closed(PendingCommand command, Exception reason) => new(
        $"{command.Id} ({command.Describe()}) has no reply: the connection has ended", reason is ConnectionClosedException ? null : reason);

    private static ProtocolException Mismatch(uint seq, MessageId id, MessageId expected) =>
        new($"a reply with seq {seq} says {id}, the command was {expected}");

    private uint NextSeq()
    {
        do
        {
            _lastSeq = unchecked(_lastSeq + 1);
        }
        while (_waiting.ContainsKey(_lastSeq) || _abandoned.ContainsKey(_lastSeq));
        return _lastSeq;
    }

    private void Leave(PendingCommand command)
    {
        if (command.HoldsWindow)
            _window.Release();
    }

    private void Arm(TimeSpan after)
    {
        _isTimerArmed = true;
        try
        {
            _timer.Change((long)Math.Max(1, after.TotalMilliseconds), Timeout.Infinite);
        }
        catch (ObjectDisposedException)
        {
            // The connection is closing and fails its commands itself.
        }
    }

    // The timer is armed for the oldest command only, so in a busy connection it fires once in a time-out.
    private void FailOverdue()
    {
        long now = Environment.TickCount64;
        List<(PendingCommand Command, uint Seq)> overdue = [];
        lock (_gate)
        {
            long next = long.MaxValue;
            foreach (PendingCommand command in _waiting.Values)
            {
                if (command.Deadline <= now)
                    overdue.Add((command, command.Seq));
                else
                    next = Math.Min(next, command.Deadline);
            }

            _isTimerArmed = false;
            if (next != long.MaxValue)
                Arm(TimeSpan.FromMilliseconds(next - now));
        }

        foreach ((PendingCommand command, uint seq) in overdue)
        {
            if (Abandon(command, seq))
                command.Fail(TimedOut(command));
        }
    }

    /// <summary>The failure of a command without a reply in time.</summary>
    public TimeoutException TimedOut(PendingCommand command) =>
        new($"{command.Id} ({command.Describe()}) was not answered within {_timeout.TotalSeconds:0.###} s");
}
