using System.Diagnostics.CodeAnalysis;

namespace Hyperscope.Guard;

/// <summary>Saves the memory of a guest whose rule has the key <c>core</c>, at its first violation, while no vCPU moves.</summary>
[SuppressMessage("Design", "CA1001", Justification = "a semaphore whose wait handle nobody asks for holds nothing to dispose of")]
internal sealed class CoreSaver(LinuxGuest guest)
{
    private readonly SemaphoreSlim _gate = new(1);
    private readonly HashSet<string> _saved = []; // rules

    /// <summary>Saves it if this rule has not had its core yet.</summary>
    /// <returns>The violation with what became of it.</returns>
    public async ValueTask<Violation> SaveAsync(GuardRule rule, GuardEvent e, Violation violation, CancellationToken cancellation)
    {
        string path = rule.Settings.Text("core");
        if (path.Length == 0)
            return violation;
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            if (!_saved.Add(rule.Name))
                return violation;
            IntrospectedVcpu[] others = [.. guest.Vm.Vcpus.Where(vcpu => vcpu != e.Vcpu)];
            StoppedVcpus stopped = await StoppedVcpus.StopAsync(guest.Vm, others, cancellation).ConfigureAwait(false);
            await using (stopped.ConfigureAwait(false))
                await WriteAsync(path, cancellation).ConfigureAwait(false);
            return violation with { Core = path };
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or InvalidOperationException or KvmiException
            or LinuxGuestException)
        {
            // What it is evidence of is more important than the evidence.
            return violation.WithNote($"no core: {failure.Message}");
        }
        finally
        {
            _gate.Release();
        }
    }

    // A core that was begun and not finished is none.
    private async Task WriteAsync(string path, CancellationToken cancellation)
    {
        string unfinished = $"{path}.part";
        try
        {
            var file = new FileStream(unfinished, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 20, FileOptions.Asynchronous);
            await using (file.ConfigureAwait(false))
                await guest.WriteCoreAsync(file, cancellation: cancellation).ConfigureAwait(false);
            File.Move(unfinished, path, overwrite: true);
        }
        finally
        {
            File.Delete(unfinished);
        }
    }
}
