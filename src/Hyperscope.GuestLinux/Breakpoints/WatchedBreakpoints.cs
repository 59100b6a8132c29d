namespace Hyperscope.GuestLinux;

/// <summary>Breakpoints that are watches on the first byte of instructions: nothing in the guest is changed.</summary>
internal sealed class WatchedBreakpoints(LinuxGuest guest, BreakpointHandler handler) : IBreakpoints
{
    private readonly GuestBreakpoint _breakpoint = new(access => handler(new BreakpointHit(access.Vcpu, access.State)));
    private Gpa[] _places = [];

    public string Mechanism => "watched instructions";

    public async Task ArmAsync(IReadOnlyCollection<Gva> places, CancellationToken cancellation)
    {
        _places = [.. places.Select(place => guest.Layout.PhysicalOf(place) ?? throw new LinuxGuestException($"{place} is not in the kernel's image"))];
        await guest.Accesses.AddBreakpointsAsync(_places, _breakpoint, cancellation).ConfigureAwait(false);
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            await guest.Accesses.RemoveBreakpointsAsync(_places, _breakpoint).ConfigureAwait(false);
        }
        catch (Exception over) when (over is KvmiException or IOException or TimeoutException)
        {
            // The connection is over, and with it the watches.
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
