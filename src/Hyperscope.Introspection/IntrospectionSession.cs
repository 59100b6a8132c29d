using System.Diagnostics.CodeAnalysis;
using Hyperscope.LinuxHost;
using Microsoft.Extensions.Logging;

namespace Hyperscope.Introspection;

/// <summary>One hook: a connection, its permissions and what the tool asked for. Made by <see cref="Introspector.Hook"/>.</summary>
/// <remarks>
/// <para>One thread at a time holds the reader's role. While nobody waits for an event reply that is the receive thread, which sleeps
/// in epoll until something arrives. A vCPU that sends an event takes the role first, if it is free, and so reads its reply
/// itself: the usual round trip wakes no other thread of this process. Whoever reads runs the commands of the VM and hands the others to
/// the vCPUs they name.</para>
/// <para>Lock order: AccessMap.WriterLock, a vCPU's queue, the channel's send lock. No lock is held while a vCPU or the tool is waited for,
/// except that page access is changed under WriterLock.</para>
/// </remarks>
[SuppressMessage("Design", "CA1001", Justification = "the last user of the descriptors disposes them, see Leave")]
public sealed partial class IntrospectionSession
{
    private readonly HookOptions _options;
    private readonly ILogger _logger;
    private readonly MessageChannel _channel;
    private readonly IntrospectedVcpu[] _vcpus;
    private readonly Action<IntrospectionSession> _whenClosed;
    private int _closed;
    private int _released;
    private int _users = 1; // the hook itself
    private readonly object _lastUser = new(); // a Monitor, because it is waited on
    private bool _unhookEventEnabled;

    internal IntrospectionSession(
        IVirtualMachine vm, StreamSocket socket, HookOptions options, VcpuInterception[] interceptions, ILogger logger,
        Action<IntrospectionSession> whenClosed)
    {
        Vm = vm;
        _options = options;
        _logger = logger;
        _whenClosed = whenClosed;
        Dialect = options.Dialect;
        CleansUp = options.Dialect.CleansUpByDefault;
        _channel = new MessageChannel(socket, options.MaxBacklogBytes);
        _vcpus = new IntrospectedVcpu[interceptions.Length];
        for (int index = 0; index < _vcpus.Length; index++)
            _vcpus[index] = new IntrospectedVcpu(this, vm.Vcpus[index], interceptions[index]);
        try
        {
            _epoll.Add(socket.Handle, EpollEvents.In | EpollEvents.OneShot, SocketTag);
            _epoll.Add(_wake.Handle, EpollEvents.In, WakeTag);
        }
        catch
        {
            _epoll.Dispose();
            _wake.Dispose();
            throw;
        }

        _receiver = new Thread(Receive) { Name = $"kvmi {vm.Name}", IsBackground = true };
    }

    /// <summary>The connection is gone; no event is raised and no command executed any more.</summary>
    public bool IsClosed => Volatile.Read(ref _closed) != 0;

    /// <summary>Why the connection closed; null while it has not.</summary>
    public string? CloseReason { get; private set; }

    /// <summary>The name of the peer in logs.</summary>
    public string ToolName => _options.ToolName;

    internal IVirtualMachine Vm { get; }

    internal Dialect Dialect { get; private set; }

    internal PermissionMask Commands { get; } = new(KvmiConstants.MessageCount, Mandatory());

    internal PermissionMask Events { get; } = new(KvmiConstants.EventCount, 0);

    internal JobPool Jobs { get; } = new();

    internal bool CleansUp { get; private set; }

    internal int MaxQueuedBytes => _options.MaxQueuedBytes;

    /// <summary>Milliseconds that an event may stay unanswered; -1 for ever.</summary>
    internal int ReplyDeadline => _options.ReplyDeadline is { } deadline ? (int)Math.Clamp(deadline.TotalMilliseconds, 1, int.MaxValue) : -1;

    /// <summary>A closed connection leaves vCPUs waiting: fail closed, until the device manager unhooks.</summary>
    internal bool HoldsWaitingVcpus => _options.FailurePolicy == FailurePolicy.Pause && Volatile.Read(ref _released) == 0;

    internal ILogger Logger => _logger;

    internal IntrospectedVcpu Vcpu(VcpuIndex index) => _vcpus[index.Value];

    internal void Start() => _receiver.Start();

    /// <summary>Ends the connection; the VM runs on. Any thread, any number of times.</summary>
    internal void Close(string reason)
    {
        if (Interlocked.Exchange(ref _closed, 1) != 0)
            return;
        CloseReason = reason;
        _logger.Closed(ToolName, reason);
        _channel.Shutdown();
        _wake.Signal();
        foreach (IntrospectedVcpu vcpu in _vcpus)
            vcpu.WakeForClose();
        ThreadPool.UnsafeQueueUserWorkItem(static session => session._whenClosed(session), this, preferLocal: false);
    }

    /// <summary>Closes and lets go even of vCPUs that fail closed.</summary>
    internal void Release(string reason)
    {
        Volatile.Write(ref _released, 1);
        Close(reason);
        foreach (IntrospectedVcpu vcpu in _vcpus)
            vcpu.WakeForClose();
    }

    /// <summary>The device manager's part of an unhook: returns when no thread is inside any more. Not on a vCPU's thread.</summary>
    internal void End()
    {
        Release("unhooked");
        if (!_receiver.ThreadState.HasFlag(ThreadState.Unstarted))
            _receiver.Join();
        lock (_lastUser)
        {
            while (Volatile.Read(ref _users) > 1)
                Monitor.Wait(_lastUser);
        }

        Leave();
    }

    /// <summary>Keeps the descriptors open while a vCPU's thread is inside; false if they are closed already.</summary>
    internal bool TryEnter()
    {
        int users = Volatile.Read(ref _users);
        while (users != 0)
        {
            int before = Interlocked.CompareExchange(ref _users, users + 1, users);
            if (before == users)
                return true;
            users = before;
        }

        return false;
    }

    internal void Leave()
    {
        int left = Interlocked.Decrement(ref _users);
        if (left == 1 && IsClosed)
        {
            lock (_lastUser)
                Monitor.PulseAll(_lastUser);
        }

        if (left != 0)
            return;
        _channel.Close();
        _epoll.Dispose();
        _wake.Dispose();
    }

    /// <summary>Sends a complete message; a failure closes the connection.</summary>
    internal void Send(ReadOnlySpan<byte> message)
    {
        if (!_channel.Send(message))
            Close("a reply could not be written");
    }

    /// <summary>Numbers and sends an event; false if <paramref name="vcpu"/> said that it is no longer due.</summary>
    internal bool SendEvent(Span<byte> message, ref uint expected, EventId id, IntrospectedVcpu? vcpu)
    {
        if (!_channel.SendEvent(message, ref expected, vcpu, out bool isSent))
            Close("an event could not be written");
        else if (isSent)
            IntrospectionMetrics.CountEvent(id);
        return isSent;
    }

    /// <summary>Sends UNHOOK, if the tool wants it.</summary>
    internal bool TrySendUnhook()
    {
        if (!Volatile.Read(ref _unhookEventEnabled) || IsClosed)
            return false;
        Span<byte> message = stackalloc byte[KvmiConstants.HeaderSize + KvmiConstants.EventHeaderSize];
        uint seq = 0;
        int length = Message.WriteEvent(message, 0, new EventHeader(default, EventId.Unhook), default(UnhookEvent));
        if (!Dialect.IsCore)
            _ = TranslateEvent(message, length, EventId.Unhook);
        SendEvent(message, ref seq, EventId.Unhook, vcpu: null);
        return !IsClosed;
    }

    private static ulong Mandatory()
    {
        ulong mask = 0;
        foreach (CommandInfo command in CommandCatalog.All)
        {
            if (command.IsMandatory)
                mask |= 1UL << (int)command.Id;
        }

        return mask;
    }
}
