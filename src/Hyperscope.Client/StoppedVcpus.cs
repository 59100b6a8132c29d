namespace Hyperscope.Client;

/// <summary>vCPUs that stand still until this is disposed: <c>await using StoppedVcpus stopped = await StoppedVcpus.StopAsync(vm, vm.Vcpus);</c></summary>
/// <remarks>Takes the PAUSE_VCPU events of the VM meanwhile, unless there is none to stop.</remarks>
public sealed class StoppedVcpus : IAsyncDisposable
{
    private readonly TaskCompletionSource _release = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _allArrived = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly SortedDictionary<int, VmEvent<PauseVcpuEvent>> _events = [];
    private readonly IntrospectedVm _vm;
    private readonly int _wanted;
    private IDisposable? _handling;

    private StoppedVcpus(IntrospectedVm vm, int wanted) => (_vm, _wanted) = (vm, wanted);

    /// <summary>Stops vCPUs; returns when none of them executes guest code.</summary>
    /// <param name="vm">The VM.</param>
    /// <param name="vcpus">Which. One that waits for the answer to another event stands still already, and is held when that is answered.</param>
    /// <param name="cancellation">Ends the waiting, and lets go of those that stand.</param>
    /// <exception cref="InvalidOperationException">PAUSE_VCPU events have a handler or loop already.</exception>
    /// <exception cref="KvmiException">The VM refused or is gone.</exception>
    public static async Task<StoppedVcpus> StopAsync(IntrospectedVm vm, IReadOnlyCollection<IntrospectedVcpu> vcpus, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(vm);
        ArgumentNullException.ThrowIfNull(vcpus);
        var stopped = new StoppedVcpus(vm, vcpus.Count);
        if (vcpus.Count != 0)
            stopped._handling = vm.OnAsync<PauseVcpuEvent>(stopped.HandleAsync);
        try
        {
            await Task.WhenAll(vcpus.Select(vcpu => vcpu.PauseAsync(wait: true, cancellation).AsTask())).ConfigureAwait(false);
            return stopped;
        }
        catch
        {
            await stopped.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Where they stand, by position; fewer of them if the VM ended meanwhile.</summary>
    /// <remarks>The events are good until this is disposed, which answers them.</remarks>
    public async Task<IReadOnlyList<VmEvent<PauseVcpuEvent>>> EventsAsync(CancellationToken cancellation = default)
    {
        if (_wanted != 0)
            await (await Task.WhenAny(_allArrived.Task, _vm.Completion).ConfigureAwait(false)).WaitAsync(cancellation).ConfigureAwait(false);
        lock (_events)
            return [.. _events.Values];
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
        lock (_events)
        {
            _events[pause.Vcpu.Index.Value] = pause;
            if (_events.Count == _wanted)
                _allArrived.TrySetResult();
        }

        await Task.WhenAny(_release.Task, _vm.Completion).ConfigureAwait(false);
        if (!_vm.Completion.IsCompleted)
            pause.Continue();
    }
}
