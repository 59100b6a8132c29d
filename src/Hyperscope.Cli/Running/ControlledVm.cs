using Hyperscope.Conformance;
using Hyperscope.Machine.Control;

namespace Hyperscope.Cli.Running;

/// <summary>The conformance suite's device manager, over a VM's control socket. The VM connects back to a socket of this process.</summary>
internal sealed class ControlledVm : IDeviceManager, IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly ControlClient _client;
    private readonly SocketListener _listener;

    public ControlledVm(ControlClient client, Endpoint tool)
    {
        _client = client;
        _listener = SocketListener.Listen(tool);
    }

    public int Hook(out RawPeer? peer)
    {
        peer = null;
        int error = Call(new ControlRequest { Command = "hook", Endpoint = $"{_listener.Endpoint}" });
        if (error == 0)
            peer = new RawPeer(_listener.Accept(timeoutMilliseconds: (int)Patience.TotalMilliseconds) ?? throw new IOException("the VM did not connect"));
        return error;
    }

    public int HookWrongly(bool setPadding, bool badDescriptor) => Call(new ControlRequest
    {
        Command = "hook",
        Endpoint = $"{_listener.Endpoint}",
        Padding = setPadding ? 1u : 0u,
        Descriptor = badDescriptor ? -1 : null,
    });

    public int Unhook() => Call("unhook");

    public int PreUnhook() => Call("pre-unhook");

    public int SetCommandPermission(int id, uint allow) => Call(new ControlRequest { Command = "allow-command", Id = id, Allow = allow });

    public int SetEventPermission(int id, uint allow) => Call(new ControlRequest { Command = "allow-event", Id = id, Allow = allow });

    public void Resume() => Call("resume");

    public void Suspend() => Call("suspend");

    public int AddMemory(Gpa gpa, ulong bytes) => Call(new ControlRequest { Command = "add-memory", Gpa = gpa.Value, Bytes = bytes });

    public int RemoveMemory(Gpa gpa) => Call(new ControlRequest { Command = "remove-memory", Gpa = gpa.Value });

    public void Dispose()
    {
        _client.Dispose();
        _listener.Dispose();
    }

    private int Call(string command) => Call(new ControlRequest { Command = command });

    private int Call(ControlRequest request) => _client.Send(request).Error;
}
