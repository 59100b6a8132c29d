using System.Text.Json;
using Hyperscope.LinuxHost;

namespace Hyperscope.Machine.Control;

/// <summary>Talks to a <see cref="ControlServer"/>. Calls block; one thread at a time.</summary>
public sealed class ControlClient : IDisposable
{
    private readonly LineChannel _channel;

    private ControlClient(StreamSocket socket) => _channel = new LineChannel(socket);

    /// <summary>Connects.</summary>
    /// <exception cref="LinuxException">Nobody listens there.</exception>
    public static ControlClient Connect(Endpoint endpoint, EventFd? cancel = null) => new(StreamSocket.Connect(endpoint, cancel));

    /// <summary>Sends a request and waits for the answer.</summary>
    /// <exception cref="IOException">The VM's process has gone.</exception>
    public ControlResponse Send(ControlRequest request)
    {
        if (!_channel.WriteLine(JsonSerializer.Serialize(request, ControlJson.Default.ControlRequest)) || _channel.ReadLine() is not { } line)
            throw new IOException($"the VM has gone; '{request.Command}' was not answered");
        return JsonSerializer.Deserialize(line, ControlJson.Default.ControlResponse)
            ?? throw new IOException($"the answer to '{request.Command}' is empty");
    }

    /// <inheritdoc/>
    public void Dispose() => _channel.Dispose();
}
