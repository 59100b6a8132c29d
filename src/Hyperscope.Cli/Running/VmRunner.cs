using Hyperscope.Introspection;
using Hyperscope.Machine;

namespace Hyperscope.Cli.Running;

/// <summary>Runs one VM with tools attached, until it ends or Ctrl-C.</summary>
internal static class VmRunner
{
    public static async Task<int> RunAsync(VmRunRequest request, CliConsole console, CancellationToken cancellation)
    {
        await using VirtualMachine machine = MachineFactory.Create(request);
        using var introspector = new Introspector(machine);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        Task link = new KvmiLink(introspector, request, console.Error).RunAsync(stop.Token);
        machine.Start();
        try
        {
            if (await Task.WhenAny(machine.Completion, link).ConfigureAwait(false) == link && !cancellation.IsCancellationRequested)
                await link.ConfigureAwait(false); // cannot listen: the reason
            VmExit exit = await machine.Completion.WaitAsync(cancellation).ConfigureAwait(false);
            await console.Error.WriteLineAsync($"the VM ended: {exit.Reason}").ConfigureAwait(false);
            return exit.Kind is VmExitKind.Shutdown or VmExitKind.Terminated || exit.Code != 0 ? ExitCode.Failed : ExitCode.Done;
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            return ExitCode.Done;
        }
        finally
        {
            await stop.CancelAsync().ConfigureAwait(false);
            await link.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // unhooked first, then stopped
        }
    }
}
