namespace Hyperscope.Conformance;

/// <summary>What a row cannot do without.</summary>
[Flags]
public enum RowNeeds
{
    /// <summary>Only the connection.</summary>
    None = 0,

    /// <summary>The device manager's control calls: hook, unhook, permissions, suspend.</summary>
    Manager = 1,

    /// <summary>The self-test guest.</summary>
    Guest = 2,

    /// <summary>More than one vCPU.</summary>
    SeveralVcpus = 4,
}

/// <summary>One claim about a KVMI server and how to check it.</summary>
/// <param name="Id">Position in the catalogue: a number of the v9 self-test, or x and a number for what v9 does not cover.</param>
/// <param name="Area">The command, event or topic.</param>
/// <param name="Claim">What must be seen.</param>
/// <param name="Needs">What it takes.</param>
/// <param name="Check">Throws <see cref="ConformanceException"/> if the claim does not hold, <see cref="NotApplicableException"/> if this
/// server cannot serve it and says so in the way the protocol provides.</param>
public sealed record ConformanceRow(string Id, string Area, string Claim, RowNeeds Needs, Action<ConformanceContext> Check);

/// <summary>How a row ended.</summary>
public enum RowOutcome
{
    /// <summary>The claim holds.</summary>
    Passed,

    /// <summary>It does not.</summary>
    Failed,

    /// <summary>It could not be checked; the detail says why.</summary>
    Skipped,
}

/// <summary>The result of one row.</summary>
/// <param name="Row">The row.</param>
/// <param name="Outcome">How it ended.</param>
/// <param name="Detail">Why it failed or was skipped; otherwise empty.</param>
/// <param name="Duration">How long it took.</param>
public sealed record RowResult(ConformanceRow Row, RowOutcome Outcome, string Detail, TimeSpan Duration);

/// <summary>A claim that does not hold: what was expected, and what was seen.</summary>
public sealed class ConformanceException(string message) : Exception(message);

/// <summary>A row that this server cannot serve, for a reason the protocol allows.</summary>
public sealed class NotApplicableException(string reason) : Exception(reason);
