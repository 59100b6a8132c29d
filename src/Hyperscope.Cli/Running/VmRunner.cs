using Hyperscope.Devices;
using Hyperscope.Introspection;
using Hyperscope.Machine;
using Hyperscope.Machine.Control;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;

namespace Hyperscope.Cli.Running;

/// <summary>Runs one VM with its console, its tools and its owner's control socket, until it ends or Ctrl-C.</summary>
internal static class VmRunner
{
    private static readonly TimeSpan LeaveTime = TimeSpan.FromSeconds(2);

    public static async Task<int> RunAsync(VmRunRequest request, CliConsole console, CancellationToken cancellation)
    {
        using var serial = new StreamSerialOutput(console.Binary);
        using ILoggerFactory logging = LoggerFactory.Create(builder => builder
            .AddSimpleConsole(static options =>
            {
                options.SingleLine = true;
                options.ColorBehavior = System.Console.IsErrorRedirected ? LoggerColorBehavior.Disabled : LoggerColorBehavior.Default;
            })
            .AddConsole(static options => options.LogToStandardErrorThreshold = LogLevel.Trace)
            .SetMinimumLevel(request.IsVerbose ? LogLevel.Debug : LogLevel.Warning));
        await using VirtualMachine vm = MachineFactory.Create(request, serial, logging.CreateLogger<VirtualMachine>());
        using var introspector = new Introspector(vm, logging.CreateLogger<Introspector>());
        await using IntrospectionHost? tools = StartTools(request, introspector, console);
        await using ControlServer? control = request.ControlAt is { } at ? new ControlServer(vm, introspector, at) : null;
        if (control is not null)
            await console.Error.WriteLineAsync($"control socket at {control.Endpoint}").ConfigureAwait(false);
        using var terminal = SerialTerminal.Attach(vm.Board.Serial, () => vm.End(new VmExit(VmExitKind.Stopped, 0, "left by Ctrl-A X")));
        if (request.IsPaused)
            vm.Suspend();
        vm.Start();
        try
        {
            VmExit exit = await vm.Completion.WaitAsync(cancellation).ConfigureAwait(false);
            serial.Dispose(); // what the guest wrote comes before the last word
            await console.Error.WriteLineAsync($"the VM ended: {exit.Reason}").ConfigureAwait(false);
            if (request.IsVerbose)
                await console.Error.WriteLineAsync(string.Create(CultureInfo.InvariantCulture, $"{vm.InstructionsRetired} guest instructions")).ConfigureAwait(false);
            return exit.Kind is VmExitKind.Shutdown or VmExitKind.Terminated || exit.Code != 0 ? ExitCode.Failed : ExitCode.Done;
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            await LetToolLeaveAsync(introspector).ConfigureAwait(false);
            return ExitCode.Done;
        }
        finally
        {
            introspector.Unhook(); // releases vCPUs that wait for a tool, so that they can stop
        }
    }

    private static IntrospectionHost? StartTools(VmRunRequest request, Introspector introspector, CliConsole console)
    {
        if ((request.ListenAt ?? request.ConnectTo) is not { } endpoint)
            return null;
        var options = new HookOptions
        {
            ToolName = $"{endpoint}",
            Dialect = request.Dialect,
            AllowedCommands = request.Permissions.Commands,
            AllowedEvents = request.Permissions.Events,
        };
        HandshakeOptions? handshake = request.HasHandshake ? new HandshakeOptions { Cookie = ReadCookie(request.SecretFile) } : null;
        var host = new IntrospectionHost(introspector, endpoint, request.ListenAt is not null, options, handshake);
        console.Error.WriteLine(request.ListenAt is not null ? $"waiting for tools at {host.Endpoint}" : $"connecting to the tool at {endpoint}");
        return host;
    }

    /// <summary>The file's bytes are the secret, less the line end that editors append.</summary>
    private static byte[] ReadCookie(FileInfo? file)
    {
        if (file is null)
            return [];
        try
        {
            ReadOnlySpan<byte> secret = File.ReadAllBytes(file.FullName);
            return ToolGreeting.CookieOf(secret.TrimEnd("\r\n"u8));
        }
        catch (Exception unreadable) when (unreadable is IOException or UnauthorizedAccessException)
        {
            throw new CliException($"the secret in {file} cannot be read: {unreadable.Message}");
        }
    }

    private static async Task LetToolLeaveAsync(Introspector introspector)
    {
        var gone = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        void OnDisconnected(IntrospectionSession session) => gone.TrySetResult();
        introspector.Disconnected += OnDisconnected;
        if (introspector.PreUnhook() == ControlError.None)
            await Task.WhenAny(gone.Task, Task.Delay(LeaveTime, CancellationToken.None)).ConfigureAwait(false);
        introspector.Disconnected -= OnDisconnected;
    }
}
