using System.Collections.Concurrent;

namespace Hyperscope.Client;

/// <summary>A VM under introspection: the tool's end of one KVMI connection.</summary>
/// <remarks>Safe from any thread. Commands are asynchronous methods here and on <see cref="Vcpus"/>; events are taken by
/// <see cref="On{T}"/>, <see cref="OnAsync{T}"/> or <see cref="Events(CancellationToken)"/>. Disposing ends the connection, upon which the
/// VM lets its vCPUs go. All commands can throw <see cref="KvmiException"/> (the VM refused), <see cref="ConnectionClosedException"/>
/// and <see cref="TimeoutException"/>.</remarks>
public sealed partial class IntrospectedVm : IAsyncDisposable, IDisposable
{
    private readonly Connection _connection;
    private readonly ConcurrentDictionary<VcpuIndex, IntrospectedVcpu> _vcpus = [];
    private readonly Func<VcpuIndex, IntrospectedVcpu> _createVcpu;
    private int _vcpuCount = ushort.MaxValue + 1; // until the VM says

    private IntrospectedVm(StreamSocket socket, Endpoint? endpoint, IntrospectionOptions options)
    {
        Endpoint = endpoint;
        PeerProcessId = socket.PeerProcessId;
        _ledger = options.RememberPageAccess ? new PageAccessLedger() : null;
        _connection = new Connection(socket, endpoint?.ToString() ?? "socket", options, VcpuOfEvent);
        _createVcpu = index => new IntrospectedVcpu(this, _connection, index);
    }

    /// <summary>Where it was accepted or connected; <see langword="null"/> for a socket that was handed over.</summary>
    public Endpoint? Endpoint { get; }

    /// <summary>The process at the other end of a unix socket; 0 if unknown.</summary>
    public int PeerProcessId { get; }

    /// <summary>How the VM introduced itself; null without <see cref="IntrospectionOptions.Handshake"/>.</summary>
    public VmGreeting? Greeting { get; private init; }

    /// <summary>Protocol version and features, as the VM said at the start.</summary>
    public GetVersionReply Version { get; private set; }

    /// <summary>The vCPUs that the VM had at the start; empty if its owner does not allow VM_GET_INFO, see <see cref="GetVcpu"/>.</summary>
    public IReadOnlyList<IntrospectedVcpu> Vcpus { get; private set; } = [];

    /// <summary>The VM has asked its tools to leave (an UNHOOK event): remove what you planted and dispose of the connection.</summary>
    public bool IsUnhooking => _connection.IsUnhooking;

    /// <summary>Completes when the connection has ended: normally when either side closed it, else with the
    /// <see cref="ProtocolException"/> of a peer or the exception of a handler that ended it.</summary>
    public Task Completion => _connection.Completion;

    /// <summary>Counts since the connection began.</summary>
    public IntrospectionStatistics Statistics => _connection.Statistics;

    /// <summary>Connects to a VM that listens for tools.</summary>
    /// <param name="endpoint"><c>unix:PATH</c>, <c>vsock:CID:PORT</c> or <c>tcp:HOST:PORT</c>.</param>
    /// <param name="options">How the connection behaves.</param>
    /// <param name="cancellation">Calls the attempt off.</param>
    /// <exception cref="LinuxException">Nobody listens there, or another failure.</exception>
    public static Task<IntrospectedVm> ConnectAsync(
        string endpoint, IntrospectionOptions? options = null, CancellationToken cancellation = default) =>
        ConnectAsync(Endpoint.Parse(endpoint), options, cancellation);

    /// <inheritdoc cref="ConnectAsync(string, IntrospectionOptions?, CancellationToken)"/>
    public static async Task<IntrospectedVm> ConnectAsync(
        Endpoint endpoint, IntrospectionOptions? options = null, CancellationToken cancellation = default)
    {
        StreamSocket socket = await BlockingCall.RunAsync(wake => StreamSocket.Connect(endpoint, wake), cancellation).ConfigureAwait(false);
        return await StartAsync(socket, endpoint, options, cancellation).ConfigureAwait(false);
    }

    /// <summary>Takes over a connected socket and greets the VM.</summary>
    /// <exception cref="ProtocolException">The peer speaks another protocol.</exception>
    public static async Task<IntrospectedVm> StartAsync(
        StreamSocket socket, Endpoint? endpoint = null, IntrospectionOptions? options = null, CancellationToken cancellation = default)
    {
        VmGreeting? greeting = null;
        if (options?.Handshake is { } handshake)
        {
            try
            {
                greeting = await BlockingCall.RunAsync(wake => handshake.Run(socket, wake), cancellation).ConfigureAwait(false);
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }

        var vm = new IntrospectedVm(socket, endpoint, options ?? new IntrospectionOptions()) { Greeting = greeting };
        vm._connection.Start();
        try
        {
            await vm.GreetAsync(cancellation).ConfigureAwait(false);
            return vm;
        }
        catch
        {
            await vm.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>A vCPU by index, whether or not the VM said how many there are. A wrong index is refused by the VM.</summary>
    public IntrospectedVcpu GetVcpu(int index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, _vcpuCount);
        return _vcpus.GetOrAdd(new VcpuIndex((ushort)index), _createVcpu);
    }

    /// <summary>Ends the connection and waits until its thread has ended (unless called from a handler on that thread).</summary>
    public async ValueTask DisposeAsync()
    {
        _connection.Close(null);
        await _connection.WaitForReaderAsync().ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <summary>Ends the connection without waiting.</summary>
    public void Dispose() => _connection.Close(null);

    /// <inheritdoc/>
    public override string ToString() => $"VM at {Endpoint?.ToString() ?? "a socket"}";

    private async Task GreetAsync(CancellationToken cancellation)
    {
        Version = await GetVersionAsync(cancellation).ConfigureAwait(false);
        if (Version.Version != KvmiConstants.Version)
            throw new ProtocolException($"the VM speaks protocol version {Version.Version}, version {KvmiConstants.Version} is needed");
        try
        {
            await GetInfoAsync(cancellation).ConfigureAwait(false);
        }
        catch (KvmiException refused) when (refused.Error == KvmError.NotPermitted)
        {
            // The owner of the VM keeps the number to itself.
        }
    }

    private void SetVcpuCount(uint count)
    {
        if (count > ushort.MaxValue + 1)
            throw new ProtocolException($"the VM claims {count} vCPUs, {ushort.MaxValue + 1} can be addressed");
        if (count == Vcpus.Count)
            return;
        _vcpuCount = (int)count;
        var vcpus = new IntrospectedVcpu[count];
        for (int i = 0; i < vcpus.Length; i++)
            vcpus[i] = GetVcpu(i);
        Vcpus = vcpus;
    }

    private IntrospectedVcpu VcpuOfEvent(VcpuIndex index) => index.Value < _vcpuCount
        ? _vcpus.GetOrAdd(index, _createVcpu)
        : throw new ProtocolException($"an event names vCPU {index}, the VM has {_vcpuCount}");
}
