using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>How one instruction ended.</summary>
public enum StepOutcome
{
    /// <summary>It was executed; of a repeated string instruction, at least one element.</summary>
    Completed,

    /// <summary>It raised an exception or a software interrupt, which was not delivered; rip is still at it.</summary>
    Fault,

    /// <summary>A restricted frame stopped it; nothing of it has happened.</summary>
    PageAccess,

    /// <summary>It was HLT; rip is behind it.</summary>
    Halted,
}

/// <summary>An exception that was raised and not delivered.</summary>
/// <param name="Vector">0 to 255.</param>
/// <param name="ErrorCode">The error code, where the vector has one.</param>
/// <param name="Address">For a page fault: what would be in CR2.</param>
public readonly record struct RaisedException(byte Vector, uint? ErrorCode, ulong? Address);

/// <summary>Stepping from outside, for emulators of single instructions.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    /// <summary>Executes the instruction at rip; exceptions are reported, not delivered, interrupts and EFLAGS.TF ignored.</summary>
    /// <param name="exception">What was raised, if the answer is <see cref="StepOutcome.Fault"/>.</param>
    /// <remarks>On the vCPU's thread, while no other vCPU of the group runs.</remarks>
    public StepOutcome Step(out RaisedException exception)
    {
        StopReason reason;
        FaultInfo fault;
        do
            reason = StepOnce(out fault);
        while (reason == StopReason.RunAlone);
        exception = reason == StopReason.Fault
            ? new RaisedException(fault.Vector, fault.HasErrorCode ? fault.ErrorCode : null, fault.Vector == Vector.PageFault ? fault.Address : null)
            : default;
        return reason switch
        {
            StopReason.Fault => StepOutcome.Fault,
            StopReason.PageAccess => StepOutcome.PageAccess,
            StopReason.Halt => StepOutcome.Halted,
            _ => StepOutcome.Completed,
        };
    }
}
