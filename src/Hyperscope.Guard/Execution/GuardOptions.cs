namespace Hyperscope.Guard;

/// <summary>How a guard works, besides its policy.</summary>
public sealed record GuardOptions
{
    /// <summary>Takes each violation; called while the vCPU still waits, one at a time. Violations that go through by
    /// <see cref="Verdict.Allow"/> are only counted.</summary>
    public Action<Violation>? Report { get; init; }

    /// <summary>Called with each violation before its verdict is carried out, while the vCPU waits: the place to look at the guest. A rule
    /// with the key <c>core</c> has saved its memory by then.</summary>
    public Func<IntrospectedVm, Violation, CancellationToken, ValueTask>? BeforeVerdict { get; init; }

    /// <summary>Decides on what <see cref="Verdict.Pause"/> holds. Without it the vCPU stands still until the guard ends.</summary>
    public Func<Violation, CancellationToken, ValueTask<Verdict>>? Inspect { get; init; }

    /// <summary>What the VM is called in evidence.</summary>
    public string VmName { get; init; } = "vm";

    /// <summary>Evidence in full for one rule and one instruction; of what follows only the first lines of it are collected, so that a guest
    /// that repeats itself cannot buy itself time.</summary>
    public int FullEvidence { get; init; } = 32;

    /// <summary>Do not use extensions of v9 even if the VM has them.</summary>
    public bool OnlyV9 { get; init; }

    /// <summary>The clock of evidence.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;
}
