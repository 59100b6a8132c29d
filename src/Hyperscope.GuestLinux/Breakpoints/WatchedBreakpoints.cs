namespace Hyperscope.GuestLinux;

/// <summary>Breakpoints that are watches on the first byte of instructions: nothing in the guest is changed.</summary>
internal sealed class WatchedBreakpoints(LinuxGuest guest, BreakpointHandler handler) : IBreakpoints
{
    private readonly HashSet<ulong> _places = [];
    private WatchEntry[] _watches = [];
    private IDisposable? _registration;

    public string Mechanism => "watched instructions";

    /// <summary>Whether a VM has them.</summary>
    public static async ValueTask<bool> IsKnownAsync(IntrospectedVm vm, CancellationToken cancellation) =>
        await vm.CheckCommandAsync(MessageId.VmSetWatches, cancellation).ConfigureAwait(false) == KvmError.None
        && await vm.CheckEventAsync(EventId.Access, cancellation).ConfigureAwait(false) == KvmError.None;

    public async Task ArmAsync(IReadOnlyCollection<Gva> places, CancellationToken cancellation)
    {
        var watches = new List<WatchEntry>();
        foreach (Gva place in places)
        {
            Gpa gpa = guest.Layout.PhysicalOf(place) ?? throw new LinuxGuestException($"{place} is not in the kernel's image");
            watches.Add(new WatchEntry(gpa, 1, PageAccess.Execute));
            _places.Add(place.Value);
        }

        _registration = guest.Vm.OnAsync<AccessEvent>(HandleAsync);
        _watches = [.. watches];
        await guest.Vm.EnableAsync(EventId.Access, cancellation).ConfigureAwait(false);
        await guest.Vm.SetWatchesAsync(_watches, 0, cancellation).ConfigureAwait(false);
    }

    public async ValueTask DisposeAsync()
    {
        if (_registration is null)
            return;
        try
        {
            await guest.Vm.SetWatchesAsync(_watches.Select(static watch => new WatchEntry(watch.Gpa, 1, PageAccess.None)).ToArray())
                .ConfigureAwait(false);
            await guest.Vm.DisableAsync(EventId.Access).ConfigureAwait(false);
        }
        catch (Exception over) when (over is KvmiException or IOException or TimeoutException)
        {
            // The connection is over, and with it the watches.
        }

        _registration.Dispose();
    }

    private async ValueTask HandleAsync(VmEvent<AccessEvent> access)
    {
        try
        {
            if (access.Access == PageAccess.Execute && _places.Contains(access.Registers.Rip))
                await handler(new BreakpointHit(access.Vcpu, access.State)).ConfigureAwait(false);
        }
        finally
        {
            Answers.IfPending(access.Untyped, EventAction.Continue);
        }
    }
}

/// <summary>Answers to events of a connection that may end meanwhile.</summary>
internal static class Answers
{
    public static void IfPending(VmEvent pending, EventAction action)
    {
        try
        {
            pending.Answer(action);
        }
        catch (EventAnswerException over) when (over.Problem == EventAnswerProblem.TooLate)
        {
            // Nobody waits for it.
        }
    }
}
