namespace Hyperscope.Machine;

/// <summary>How a VM came to its end.</summary>
public enum VmExitKind
{
    /// <summary><see cref="VirtualMachine.StopAsync"/> was called.</summary>
    Stopped,

    /// <summary>The guest asked for it (debug-exit port, power-off).</summary>
    GuestExit,

    /// <summary>A vCPU met a triple fault.</summary>
    Shutdown,

    /// <summary>A tool answered an event with CRASH, or the VM was ended without ceremony for another reason.</summary>
    Terminated,

    /// <summary>The guest asked for a reset.</summary>
    Reset,
}

/// <summary>How a VM came to its end.</summary>
/// <param name="Kind">The way.</param>
/// <param name="Code">Exit code: the guest's own for <see cref="VmExitKind.GuestExit"/>, else 0.</param>
/// <param name="Reason">For people.</param>
public sealed record VmExit(VmExitKind Kind, int Code, string Reason);
