namespace Hyperscope.Cli;

/// <summary>vCPUs that stand still until this is disposed.</summary>
internal sealed class StoppedVcpus : IAsyncDisposable
{
    private readonly TaskCompletionSource _release = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _allStopped = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly SortedDictionary<int, EventArch> _states = [];
    private readonly int _wanted;
    private IDisposable? _handling;

    private StoppedVcpus(int wanted) => _wanted = wanted;

    /// <summary>Where they stand, by their positions.</summary>
    public IReadOnlyDictionary<int, EventArch> States => _states;

    /// <summary>Stops them. A vCPU that was never started cannot be, and is left out.</summary>
    public static async Task<StoppedVcpus> StopAsync(IntrospectedVm vm, IReadOnlyList<IntrospectedVcpu> vcpus, CancellationToken cancellation)
    {
        var stopped = new StoppedVcpus(vcpus.Count);
        stopped._handling = vm.OnAsync<PauseVcpuEvent>(stopped.HandleAsync);
        try
        {
            foreach (IntrospectedVcpu vcpu in vcpus)
                await vcpu.PauseAsync(wait: true, cancellation).ConfigureAwait(false);
            await (await Task.WhenAny(stopped._allStopped.Task, vm.Completion).ConfigureAwait(false)).WaitAsync(cancellation).ConfigureAwait(false);
            return stopped;
        }
        catch
        {
            await stopped.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Lets them run again.</summary>
    public ValueTask DisposeAsync()
    {
        _release.TrySetResult();
        _handling?.Dispose();
        return ValueTask.CompletedTask;
    }

    private async ValueTask HandleAsync(VmEvent<PauseVcpuEvent> pause)
    {
        lock (_states)
        {
            _states[pause.Vcpu.Index.Value] = pause.State;
            if (_states.Count == _wanted)
                _allStopped.TrySetResult();
        }

        await _release.Task.ConfigureAwait(false);
        pause.Continue();
    }
}
