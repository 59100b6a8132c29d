using Hyperscope.Introspection;
using Hyperscope.LinuxHost;

namespace Hyperscope.Machine.Control;

/// <summary>Brings tools to a VM: waits for one, hooks, unhooks when it has gone, waits for the next.</summary>
/// <remarks>One tool at a time, as the protocol has it. Either this side listens (a tool connects when it likes) or it connects to a listening
/// tool, trying again while there is none.</remarks>
public sealed class IntrospectionHost : IAsyncDisposable
{
    /// <summary>How long to wait before the next attempt to reach a tool that is not there or has gone: tools give up after 9 seconds.</summary>
    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(250);

    private readonly Introspector _introspector;
    private readonly HookOptions _options;
    private readonly HandshakeOptions? _handshake;
    private readonly Endpoint _endpoint;
    private readonly SocketListener? _listener;
    private readonly EventFd _cancel = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly SemaphoreSlim _changed = new(0);
    private readonly Task _loop;

    /// <summary>Starts to bring tools.</summary>
    /// <param name="introspector">The VM's introspection.</param>
    /// <param name="endpoint">Where.</param>
    /// <param name="listen">Listen there; false: connect to a tool that listens there.</param>
    /// <param name="options">How each connection is treated.</param>
    /// <param name="handshake">Greet each tool first, as existing C tools expect; null: start with the protocol itself.</param>
    /// <exception cref="LinuxException">Listening is not possible there.</exception>
    public IntrospectionHost(Introspector introspector, Endpoint endpoint, bool listen, HookOptions options, HandshakeOptions? handshake = null)
    {
        _introspector = introspector;
        _options = options;
        _handshake = handshake;
        _endpoint = endpoint;
        _listener = listen ? SocketListener.Listen(endpoint) : null;
        introspector.Disconnected += OnDisconnected;
        introspector.CleanedUp += OnChanged;
        _loop = Task.Factory.StartNew(Serve, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    /// <summary>Where it listens; a requested TCP port 0 is replaced by the port in use.</summary>
    public Endpoint Endpoint => _listener?.Endpoint ?? _endpoint;

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        _cancel.Signal();
        _listener?.Dispose();
        await _loop.ConfigureAwait(false);
        _introspector.Disconnected -= OnDisconnected;
        _introspector.CleanedUp -= OnChanged;
        _cancel.Dispose();
        _changed.Dispose();
        _stop.Dispose();
    }

    private void OnDisconnected(IntrospectionSession session) => OnChanged();

    private void OnChanged()
    {
        try
        {
            _changed.Release();
        }
        catch (ObjectDisposedException)
        {
            // The last session ended after this host did: nobody waits any more.
        }
    }

    private void Serve()
    {
        try
        {
            while (!_stop.IsCancellationRequested)
            {
                StreamSocket? socket = NextTool();
                if (socket is null)
                    continue;
                if (!IsWelcome(socket) || !Attach(socket))
                {
                    socket.Dispose();
                    WaitBeforeRetry();
                    continue;
                }

                while (_introspector.Session is { IsClosed: false })
                    _changed.Wait(_stop.Token);
                _introspector.Unhook();
                WaitBeforeRetry();
            }
        }
        catch (OperationCanceledException)
        {
            // DisposeAsync was called.
        }

        _introspector.Unhook();
    }

    private StreamSocket? NextTool()
    {
        if (_listener is not null)
            return _listener.Accept(_cancel);
        try
        {
            return StreamSocket.Connect(_endpoint, _cancel);
        }
        catch (LinuxException)
        {
            // No such file, connection refused, queue full: the tool is not there yet.
            WaitBeforeRetry();
            return null;
        }
    }

    private bool IsWelcome(StreamSocket socket) =>
        _handshake is null || _introspector.Greet(socket, _handshake, _options.ToolName, _cancel);

    /// <summary>Another process's socket tells nobody when it is ready. A listener needs no wait.</summary>
    private void WaitBeforeRetry()
    {
        if (_listener is null)
            _ = _stop.Token.WaitHandle.WaitOne(RetryDelay);
    }

    /// <summary>Hooks, waiting for vCPUs that still owe their clean-up. False: the socket is no good.</summary>
    private bool Attach(StreamSocket socket)
    {
        while (true)
        {
            switch (_introspector.Hook(socket, _options))
            {
                case ControlError.None:
                    return true;
                case ControlError.AlreadyHooked:
                    _changed.Wait(_stop.Token);
                    break;
                default:
                    return false;
            }
        }
    }
}
