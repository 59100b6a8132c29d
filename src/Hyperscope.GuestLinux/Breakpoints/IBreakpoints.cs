namespace Hyperscope.GuestLinux;

/// <summary>A vCPU reached a place and waits there.</summary>
/// <param name="Vcpu">Which one.</param>
/// <param name="State">Its registers: rip is at the place.</param>
internal readonly record struct BreakpointHit(IntrospectedVcpu Vcpu, EventArch State);

/// <summary>Looks at a vCPU that waits; it goes on when the task completes. Whatever it throws is counted.</summary>
internal delegate ValueTask BreakpointHandler(BreakpointHit hit);

/// <summary>Stops vCPUs at kernel functions, unseen by the guest. Disposing lets everything be as before.</summary>
internal interface IBreakpoints : IAsyncDisposable
{
    /// <summary>Starts at once, at all places.</summary>
    Task ArmAsync(IReadOnlyCollection<Gva> places, CancellationToken cancellation);

    /// <summary>How it is done, for people.</summary>
    string Mechanism { get; }
}
