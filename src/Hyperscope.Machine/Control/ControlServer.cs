using System.Text.Json;
using Hyperscope.Introspection;
using Hyperscope.LinuxHost;
using Hyperscope.Vm;

namespace Hyperscope.Machine.Control;

/// <summary>The device manager's interface of a VM over a socket: one JSON object a line, one answer each, in order.</summary>
/// <remarks>This is what <c>hyperscope vm ctl</c> and the conformance suite talk to. It is for the VM's owner: the socket file is 0600.</remarks>
public sealed class ControlServer : IAsyncDisposable
{
    private const int NoSuchFile = 2, InvalidArgument = 22;

    private readonly VirtualMachine _vm;
    private readonly Introspector _introspector;
    private readonly SocketListener _listener;
    private readonly EventFd _cancel = new();
    private readonly Lock _gate = new();
    private readonly List<LineChannel> _connections = [];
    private readonly List<Task> _tasks = [];
    private readonly Task _loop;
    private bool _isDisposed;

    /// <summary>Starts to listen.</summary>
    /// <exception cref="LinuxException">Listening is not possible there.</exception>
    public ControlServer(VirtualMachine vm, Introspector introspector, Endpoint endpoint)
    {
        _vm = vm;
        _introspector = introspector;
        _listener = SocketListener.Listen(endpoint);
        _loop = Task.Factory.StartNew(Accept, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    /// <summary>Where it listens.</summary>
    public Endpoint Endpoint => _listener.Endpoint;

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        lock (_gate)
        {
            if (_isDisposed)
                return;
            _isDisposed = true;
            foreach (LineChannel connection in _connections)
                connection.Shutdown();
        }

        _cancel.Signal();
        _listener.Dispose();
        await _loop.ConfigureAwait(false);
        await Task.WhenAll(_tasks).ConfigureAwait(false);
        _cancel.Dispose();
    }

    private void Accept()
    {
        while (_listener.Accept(_cancel) is { } socket)
        {
            var connection = new LineChannel(socket);
            lock (_gate)
            {
                if (_isDisposed)
                {
                    connection.Dispose();
                    return;
                }

                _connections.Add(connection);
                _tasks.RemoveAll(static task => task.IsCompletedSuccessfully);
                _tasks.Add(Task.Factory.StartNew(() => Serve(connection), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default));
            }
        }
    }

    private void Serve(LineChannel connection)
    {
        while (connection.ReadLine() is { } line)
        {
            if (!connection.WriteLine(JsonSerializer.Serialize(Answer(line), ControlJson.Default.ControlResponse)))
                break;
        }

        lock (_gate)
            _connections.Remove(connection);
        connection.Dispose();
    }

    private ControlResponse Answer(string line)
    {
        ControlRequest? request;
        try
        {
            request = JsonSerializer.Deserialize(line, ControlJson.Default.ControlRequest);
        }
        catch (JsonException problem)
        {
            return new ControlResponse { Error = InvalidArgument, Message = problem.Message };
        }

        return request is null ? new ControlResponse { Error = InvalidArgument, Message = "an object is expected" } : Execute(request);
    }

    private ControlResponse Execute(ControlRequest request)
    {
        switch (request.Command)
        {
            case "status":
                return new ControlResponse { Status = Status() };
            case "resume":
                _vm.Resume();
                return new ControlResponse();
            case "suspend":
                _vm.Suspend();
                return new ControlResponse();
            case "stop":
                _vm.End(new VmExit(VmExitKind.Stopped, 0, "stopped by its control socket"));
                return new ControlResponse();
            case "hook":
                return Hook(request);
            case "unhook":
                return From(_introspector.Unhook());
            case "pre-unhook":
                return From(_introspector.PreUnhook());
            case "allow-command":
                return From(_introspector.SetCommandPermission(request.Id, request.Allow));
            case "allow-event":
                return From(_introspector.SetEventPermission(request.Id, request.Allow));
            case "add-memory":
                return AddMemory(request);
            case "remove-memory":
                return RemoveMemory(request);
            default:
                return new ControlResponse
                {
                    Error = InvalidArgument,
                    Message = $"unknown command '{request.Command}'; known: status, resume, suspend, stop, hook, unhook, pre-unhook, allow-command, "
                        + "allow-event, add-memory, remove-memory",
                };
        }
    }

    private ControlResponse Hook(ControlRequest request)
    {
        if (request.Padding != 0 || request.Descriptor is not null)
            return new ControlResponse { Error = InvalidArgument, Message = "padding is not zero, or the descriptor is no socket of this process" };
        if (_introspector.Session is not null)
            return From(ControlError.AlreadyHooked);
        try
        {
            StreamSocket socket = StreamSocket.Connect(Endpoint.Parse(request.Endpoint ?? ""), _cancel);
            ControlError error = HookWhenCleanedUp(socket);
            if (error != ControlError.None)
                socket.Dispose();
            return From(error);
        }
        catch (FormatException problem)
        {
            return new ControlResponse { Error = InvalidArgument, Message = problem.Message };
        }
        catch (LinuxException problem)
        {
            return new ControlResponse { Error = problem.Errno, Message = problem.Message };
        }
    }

    // A vCPU that still owes clean-up from the last hook passes it within moments if it is run at all.
    private ControlError HookWhenCleanedUp(StreamSocket socket)
    {
        using var passed = new SemaphoreSlim(0);
        void OnCleanedUp() => passed.Release();
        _introspector.CleanedUp += OnCleanedUp;
        try
        {
            while (true)
            {
                ControlError error = _introspector.Hook(socket);
                if (error != ControlError.AlreadyHooked || _introspector.Session is not null || !passed.Wait(TimeSpan.FromSeconds(5)))
                    return error;
            }
        }
        finally
        {
            _introspector.CleanedUp -= OnCleanedUp;
        }
    }

    private ControlResponse AddMemory(ControlRequest request)
    {
        try
        {
            _vm.Memory.AddSlot(new Gpa(request.Gpa), request.Bytes);
            return new ControlResponse();
        }
        catch (ArgumentException problem)
        {
            return new ControlResponse { Error = InvalidArgument, Message = problem.Message };
        }
        catch (LinuxException problem)
        {
            return new ControlResponse { Error = problem.Errno, Message = problem.Message };
        }
    }

    private ControlResponse RemoveMemory(ControlRequest request)
    {
        MemorySlot? slot = null;
        foreach (MemorySlot candidate in _vm.Memory.Slots)
        {
            if (candidate.First.Address.Value == request.Gpa)
                slot = candidate;
        }

        if (slot is null)
            return new ControlResponse { Error = NoSuchFile, Message = $"no memory slot starts at {new Gpa(request.Gpa)}" };
        _vm.Memory.RemoveSlot(slot);
        return new ControlResponse();
    }

    private VmStatus Status()
    {
        ulong bytes = 0;
        foreach (MemorySlot slot in _vm.Memory.Slots)
            bytes += slot.Frames << Gfn.PageShift;
        return new VmStatus
        {
            Name = _vm.Name,
            Id = _vm.Id,
            Vcpus = _vm.Vcpus.Count,
            MemoryBytes = bytes,
            Instructions = _vm.InstructionsRetired,
            IsSuspended = _vm.IsSuspended,
            IsHooked = _introspector.Session is { IsClosed: false },
            RestrictedFrames = _vm.AccessMap.RestrictedFrames,
        };
    }

    private static ControlResponse From(ControlError error) =>
        new() { Error = (int)error, Message = error == ControlError.None ? null : error.ToString() };
}
