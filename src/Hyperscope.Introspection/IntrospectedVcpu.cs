using Hyperscope.LinuxHost;

namespace Hyperscope.Introspection;

/// <summary>One vCPU in one session: its queue of jobs, its pause requests and its way of waiting for a reply.</summary>
/// <remarks>Everything runs on the vCPU's own thread, save <see cref="Enqueue"/>, <see cref="TryRequestPause"/>,
/// <see cref="WakeForClose"/> and <see cref="IsAwaitingReply"/>.</remarks>
internal sealed partial class IntrospectedVcpu(IntrospectionSession session, IVcpu vcpu, VcpuInterception interception)
{
    private readonly object _gate = new(); // guards the queue and _isWaiting; a Monitor, because it is waited on
    private readonly byte[] _buffer = new byte[KvmiConstants.MaxMessageSize];
    private Job? _head;
    private Job? _tail;
    private int _queuedBytes;
    private bool _isWaiting;
    private bool _isSending;
    private int _threadId;
    private int _pauseRequests;

    public IVcpu Vcpu => vcpu;

    /// <summary>An event of this vCPU is unanswered.</summary>
    public bool IsAwaitingReply => Volatile.Read(ref _awaitsReply) != 0;

    /// <summary>The calling thread is this vCPU's, inside this session.</summary>
    public bool IsOnOwnThread => Volatile.Read(ref _threadId) == Environment.CurrentManagedThreadId;

    /// <summary>Appends a message for the vCPU's thread and makes that thread look. Only the thread that holds the reader's role.</summary>
    /// <exception cref="ProtocolException">Too much is waiting.</exception>
    public void Enqueue(in MessageHeader header, ReadOnlySpan<byte> payload, bool isSilent)
    {
        Job job = session.Jobs.Rent(header, payload, isSilent);
        bool isWaiting;
        lock (_gate)
        {
            int bytes = _queuedBytes + header.MessageSize;
            if (bytes > session.MaxQueuedBytes)
                throw new ProtocolException($"{bytes} bytes of commands wait for vCPU {vcpu.Index}, above the bound of {session.MaxQueuedBytes}");
            _queuedBytes = bytes;
            if (_tail is null)
                _head = job;
            else
                _tail.Next = job;
            _tail = job;
            isWaiting = _isWaiting;
            if (isWaiting)
                Monitor.Pulse(_gate);
        }

        if (!isWaiting)
            vcpu.Kick();
    }

    /// <summary>Asks for one PAUSE_VCPU event; false if too many are asked for already.</summary>
    public bool TryRequestPause()
    {
        if (Volatile.Read(ref _pauseRequests) > KvmiConstants.PauseLimit)
            return false;
        if (session.Dialect.PausesComeFirst)
        {
            // An event is either on its way to the tool before this pause counts, or comes after the pause's own.
            lock (_gate)
            {
                _pauseRequests++;
                while (_isSending && !session.IsClosed)
                    Monitor.Wait(_gate);
            }
        }
        else
        {
            Interlocked.Increment(ref _pauseRequests);
        }

        vcpu.Kick();
        return true;
    }

    /// <summary>The session closed, or let go: whoever waits looks again.</summary>
    public void WakeForClose()
    {
        lock (_gate)
            Monitor.PulseAll(_gate);
        vcpu.Kick();
    }

    /// <summary>Before entry: owed events, jobs, pauses, injection, in the order of kvmi-abi.md 4.4.</summary>
    public void Service()
    {
        if (session.IsClosed || !session.TryEnter())
        {
            Release();
            return;
        }

        try
        {
            Volatile.Write(ref _threadId, Environment.CurrentManagedThreadId);
            bool again = true;
            while (again && !session.IsClosed)
            {
                SendOwedTrap();
                RunJobs();
                if (TryTakePause())
                    Send(default(PauseVcpuEvent));
                else
                    again = TryInject();
            }
        }
        finally
        {
            session.Leave();
        }

        if (session.IsClosed)
            Release();
    }

    /// <summary>Runs a message that is for this vCPU: a command, or (no row) an event reply.</summary>
    /// <exception cref="ProtocolException">The connection must close.</exception>
    public void Run(CommandRow? row, in MessageHeader header, ReadOnlySpan<byte> payload, bool isSilent)
    {
        if (row is null)
            AcceptReply(header, payload);
        else
            session.Execute(row, this, header, payload, _buffer, isSilent);
    }

    private void RunJobs()
    {
        while (TryTakeJob() is { } job)
        {
            try
            {
                if (session.IsClosed)
                {
                    IntrospectionMetrics.Dropped.Add(1);
                    continue;
                }

                CommandRow? row = null;
                if (job.Header.MessageId != MessageId.Event)
                    CommandTable.TryGet(job.Header.MessageId, out row);
                Run(row, job.Header, job.Payload, job.IsSilent);
            }
            catch (IOException failure)
            {
                session.Close(failure.Message);
            }
            finally
            {
                session.Jobs.Return(job);
            }
        }
    }

    private Job? TryTakeJob()
    {
        if (Volatile.Read(ref _head) is null)
            return null;
        lock (_gate)
        {
            Job? job = _head;
            if (job is null)
                return null;
            _head = job.Next;
            if (_head is null)
                _tail = null;
            _queuedBytes -= job.Header.MessageSize;
            return job;
        }
    }

    private bool TryTakePause()
    {
        if (Volatile.Read(ref _pauseRequests) == 0)
            return false;
        Interlocked.Decrement(ref _pauseRequests);
        return true;
    }

    /// <summary>What a lost connection leaves to be undone at once (kvmi-abi.md 4.2).</summary>
    private void Release()
    {
        RunJobs();
        Volatile.Write(ref _pauseRequests, 0);
        _isInjecting = false;
        _owedTrap = null;
        if (_isSinglestepping)
        {
            _isSinglestepping = false;
            interception.ApplySinglestep(vcpu, enable: false);
        }
    }

    /// <summary>Waits until the pending event is answered or lost, running jobs meanwhile and those right behind the reply.</summary>
    private void AwaitReply(bool isReader, EventId id)
    {
        int limit = session.ReplyDeadline;
        long deadline = limit < 0 ? long.MaxValue : Environment.TickCount64 + limit;
        while (true)
        {
            RunJobs();
            bool isInTime;
            if (isReader && IsAwaitingReply && !session.IsClosed)
            {
                isInTime = ReadOnce(deadline);
            }
            else
            {
                lock (_gate)
                {
                    if (_head is not null)
                        continue;
                    if (!IsAwaitingReply || session.IsClosed)
                    {
                        _isWaiting = false;
                        return;
                    }

                    isInTime = WaitForJob(deadline);
                }
            }

            if (!isInTime)
                session.Close($"event {id} of vCPU {vcpu.Index} got no reply within {limit} ms");
        }
    }

    private bool ReadOnce(long deadline)
    {
        try
        {
            return session.Read(this, _buffer, deadline);
        }
        catch (LinuxException failure)
        {
            session.Close(failure.Message);
            return true;
        }
    }

    private bool WaitForJob(long deadline)
    {
        if (deadline == long.MaxValue)
            return Monitor.Wait(_gate);
        long left = deadline - Environment.TickCount64;
        return left > 0 && (Monitor.Wait(_gate, (int)left) || Environment.TickCount64 < deadline);
    }

    /// <summary>Fail closed: stays until the device manager unhooks.</summary>
    private void Hold(EventId id)
    {
        if (!session.HoldsWaitingVcpus)
            return;
        session.Logger.PausedWithoutReply(session.ToolName, vcpu.Index, id);
        lock (_gate)
        {
            while (session.HoldsWaitingVcpus)
                Monitor.Wait(_gate);
        }
    }
}
