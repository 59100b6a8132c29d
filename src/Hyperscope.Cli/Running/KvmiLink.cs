using Hyperscope.Introspection;

namespace Hyperscope.Cli.Running;

/// <summary>Brings tools to a VM: connects to one that listens, trying until it is there, or listens for them. When a tool leaves, the VM
/// is unhooked and the next one may come.</summary>
internal sealed class KvmiLink(Introspector introspector, VmRunRequest request, TextWriter log)
{
    private static readonly TimeSpan RetryAfter = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan LeaveTime = TimeSpan.FromSeconds(2);

    /// <summary>Serves tool after tool until cancelled, then asks the last one to leave and unhooks.</summary>
    public async Task RunAsync(CancellationToken cancellation)
    {
        try
        {
            if (request.ListenAt is { } here)
                await ListenAsync(here, cancellation).ConfigureAwait(false);
            else if (request.ConnectTo is { } there)
                await ConnectAsync(there, cancellation).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            // The VM is about to end.
        }
    }

    private static Task<T> BlockAsync<T>(Func<EventFd, T> call, CancellationToken cancellation)
    {
        return Task.Factory.StartNew(
            () =>
            {
                using var wake = new EventFd();
                using CancellationTokenRegistration registration = cancellation.Register(wake.Signal);
                return call(wake);
            },
            cancellation,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default);
    }

    private async Task ListenAsync(Endpoint endpoint, CancellationToken cancellation)
    {
        using SocketListener listener = SocketListener.Listen(endpoint);
        await log.WriteLineAsync($"waiting for tools at {listener.Endpoint}").ConfigureAwait(false);
        while (await BlockAsync(wake => listener.Accept(wake), cancellation).ConfigureAwait(false) is { } socket)
            await ServeAsync(socket, $"{endpoint}", cancellation).ConfigureAwait(false);
    }

    private async Task ConnectAsync(Endpoint endpoint, CancellationToken cancellation)
    {
        bool isQuiet = false;
        while (!cancellation.IsCancellationRequested)
        {
            try
            {
                StreamSocket socket = await BlockAsync(wake => StreamSocket.Connect(endpoint, wake), cancellation).ConfigureAwait(false);
                await ServeAsync(socket, $"{endpoint}", cancellation).ConfigureAwait(false);
                isQuiet = false;
            }
            catch (LinuxException absent) when (absent.Errno is Errno.NoEntry or Errno.ConnectionRefused or Errno.Again)
            {
                if (!isQuiet)
                    await log.WriteLineAsync($"no tool listens at {endpoint} yet; trying until one does").ConfigureAwait(false);
                isQuiet = true;
            }

            await Task.Delay(RetryAfter, cancellation).ConfigureAwait(false); // another process's socket: nothing to wait on
        }
    }

    private async Task ServeAsync(StreamSocket socket, string name, CancellationToken cancellation)
    {
        var gone = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        void OnDisconnected(IntrospectionSession session) => gone.TrySetResult();
        introspector.Disconnected += OnDisconnected;
        try
        {
            ControlError error;
            while ((error = introspector.Hook(socket, new HookOptions { ToolName = name })) == ControlError.AlreadyHooked)
                await Task.Delay(RetryAfter, cancellation).ConfigureAwait(false); // a vCPU still cleans up after the last tool
            if (error != ControlError.None)
            {
                await log.WriteLineAsync($"the tool at {name} was turned away: {error}").ConfigureAwait(false);
                socket.Dispose();
                return;
            }

            foreach (Permission permission in request.Permissions)
                Apply(permission);
            await log.WriteLineAsync($"a tool is attached ({name})").ConfigureAwait(false);
            await gone.Task.WaitAsync(cancellation).ConfigureAwait(false);
            await log.WriteLineAsync("the tool has left").ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            if (introspector.PreUnhook() == ControlError.None)
                await Task.WhenAny(gone.Task, Task.Delay(LeaveTime, CancellationToken.None)).ConfigureAwait(false);
            throw;
        }
        finally
        {
            introspector.Disconnected -= OnDisconnected;
            introspector.Unhook();
        }
    }

    private void Apply(Permission permission)
    {
        uint allow = permission.Allow ? 1u : 0;
        _ = permission.IsCommand
            ? introspector.SetCommandPermission(permission.Id, allow)
            : introspector.SetEventPermission(permission.Id, allow);
    }
}
