using System.Threading.Tasks.Sources;

namespace Hyperscope.Client;

/// <summary>A command that waits for its reply. Whoever takes it out of the <see cref="PendingTable"/> completes it, once.</summary>
internal abstract class PendingCommand
{
    /// <summary>The connection it was sent on.</summary>
    public Connection? Owner { get; set; }

    /// <summary>Its sequence number.</summary>
    public uint Seq { get; set; }

    /// <summary>When it times out, in <see cref="Environment.TickCount64"/>; <see cref="long.MaxValue"/>: never.</summary>
    public long Deadline { get; set; }

    /// <summary>It counts against the window of commands in flight.</summary>
    public bool HoldsWindow { get; set; }

    /// <summary>The result or failure is set. For the thread that is going to take the result.</summary>
    public abstract bool IsCompleted { get; }

    /// <summary>Its id, which the reply must repeat.</summary>
    public abstract MessageId Id { get; }

    /// <summary>Its arguments, for an error message.</summary>
    public abstract string Describe();

    /// <summary>Completes it with a reply.</summary>
    /// <exception cref="ProtocolException">The reply is malformed; the command has failed with this exception as well.</exception>
    public abstract void Complete(KvmError error, ReadOnlySpan<byte> data);

    /// <summary>Completes it with a failure.</summary>
    public abstract void Fail(Exception failure);
}

/// <summary>The same with its types. Instances are pooled: awaiting the result gives them back.</summary>
internal sealed class PendingCommand<TCommand, TResult> : PendingCommand, IValueTaskSource<TResult>, IValueTaskSource
    where TCommand : unmanaged, ICommand<TCommand>
{
    private const int PoolSize = 512;
    private static readonly Lock PoolGate = new();
    private static readonly Stack<PendingCommand<TCommand, TResult>> Pool = new();

    private ManualResetValueTaskSourceCore<TResult> _core = new() { RunContinuationsAsynchronously = true };
    private TCommand _command;
    private ReplyReader<TResult>? _reader;
    private Memory<byte> _destination;
    private CancellationTokenRegistration _registration;

    public override MessageId Id => TCommand.Id;

    public override bool IsCompleted => _core.GetStatus(_core.Version) != ValueTaskSourceStatus.Pending;

    public short Version => _core.Version;

    public static PendingCommand<TCommand, TResult> Rent(in TCommand command, ReplyReader<TResult> reader, Memory<byte> destination)
    {
        PendingCommand<TCommand, TResult>? pending;
        lock (PoolGate)
        {
            if (!Pool.TryPop(out pending))
                pending = new PendingCommand<TCommand, TResult>();
        }

        pending._command = command;
        pending._reader = reader;
        pending._destination = destination;
        return pending;
    }

    /// <summary>Notes the registration that <see cref="GetResult"/> takes back.</summary>
    public void CancelWith(CancellationTokenRegistration registration) => _registration = registration;

    public override string Describe() => CommandText.Describe(_command);

    public override void Complete(KvmError error, ReadOnlySpan<byte> data)
    {
        if (error != KvmError.None)
        {
            Fail(new KvmiException(Id, Describe(), error));
            return;
        }

        TResult result;
        try
        {
            result = _reader!(data, _destination);
        }
        catch (ProtocolException malformed)
        {
            Fail(malformed);
            throw;
        }

        _core.SetResult(result);
    }

    public override void Fail(Exception failure) => _core.SetException(failure);

    public TResult GetResult(short token)
    {
        try
        {
            return _core.GetResult(token);
        }
        finally
        {
            Return();
        }
    }

    void IValueTaskSource.GetResult(short token) => GetResult(token);

    public ValueTaskSourceStatus GetStatus(short token) => _core.GetStatus(token);

    public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, flags);

    private void Return()
    {
        // Waits for a callback that is running, so that it cannot meet the next user of this object.
        _registration.Dispose();
        _registration = default;
        Owner = null;
        _command = default;
        _reader = null;
        _destination = default;
        _core.Reset();
        lock (PoolGate)
        {
            if (Pool.Count < PoolSize)
                Pool.Push(this);
        }
    }
}
