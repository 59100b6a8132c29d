using System.Runtime.CompilerServices;

namespace Hyperscope.Client;

/// <summary>Waits for VMs to connect, which is what most do: the tool listens, the VM comes.</summary>
public sealed class KvmiListener : IDisposable
{
    private readonly SocketListener _listener;
    private readonly IntrospectionOptions _options;

    private KvmiListener(SocketListener listener, IntrospectionOptions options)
    {
        _listener = listener;
        _options = options;
    }

    /// <summary>Where it listens; for TCP port 0, with the port that the kernel chose.</summary>
    public Endpoint Endpoint => _listener.Endpoint;

    /// <summary>Starts to listen. A unix socket file is made for the owner only and removed on disposal.</summary>
    /// <param name="endpoint"><c>unix:PATH</c>, <c>vsock:CID:PORT</c> or <c>tcp:HOST:PORT</c>.</param>
    /// <param name="options">How accepted connections behave.</param>
    /// <exception cref="FormatException">The endpoint is malformed; the message says how.</exception>
    /// <exception cref="LinuxException">It cannot listen there.</exception>
    public static KvmiListener Listen(string endpoint, IntrospectionOptions? options = null) => Listen(Endpoint.Parse(endpoint), options);

    /// <inheritdoc cref="Listen(string, IntrospectionOptions?)"/>
    public static KvmiListener Listen(Endpoint endpoint, IntrospectionOptions? options = null) =>
        new(SocketListener.Listen(endpoint), options ?? new IntrospectionOptions());

    /// <summary>Waits for the next VM and greets it.</summary>
    /// <exception cref="ObjectDisposedException">The listener was disposed.</exception>
    /// <exception cref="OperationCanceledException">The wait was called off.</exception>
    /// <exception cref="ProtocolException">The peer speaks another protocol. The listener goes on.</exception>
    public async Task<IntrospectedVm> AcceptAsync(CancellationToken cancellation = default)
    {
        StreamSocket? socket = await BlockingCall.RunAsync(wake => _listener.Accept(wake), cancellation).ConfigureAwait(false);
        if (socket is null)
        {
            cancellation.ThrowIfCancellationRequested();
            throw new ObjectDisposedException(nameof(KvmiListener));
        }

        return await IntrospectedVm.StartAsync(socket, Endpoint, _options, cancellation).ConfigureAwait(false);
    }

    /// <summary>Accepts VM after VM. Peers that do not speak the protocol are turned away.</summary>
    public async IAsyncEnumerable<IntrospectedVm> AcceptAllAsync([EnumeratorCancellation] CancellationToken cancellation = default)
    {
        while (true)
        {
            IntrospectedVm? vm = null;
            try
            {
                vm = await AcceptAsync(cancellation).ConfigureAwait(false);
            }
            catch (Exception notUsable) when (notUsable is ProtocolException or ConnectionClosedException or TimeoutException)
            {
                continue;
            }

            yield return vm;
        }
    }

    /// <summary>Stops listening. Connections that were accepted stay.</summary>
    public void Dispose() => _listener.Dispose();
}
