namespace Hyperscope.Guard;

/// <summary>What a guard has seen of one rule.</summary>
/// <param name="Rule">Its name.</param>
/// <param name="Events">Events that concerned it.</param>
/// <param name="Legitimate">Those that the rule let through, among them those by which it follows what the kernel makes and ends.</param>
/// <param name="Violations">Those that it did not.</param>
public readonly record struct RuleStatistics(string Rule, long Events, long Legitimate, long Violations);

/// <summary>What a guard has seen.</summary>
/// <param name="Events">Events that reached this tool.</param>
/// <param name="Unconcerned">Those that concerned no rule: neighbours of guarded bytes, pages that have been given up.</param>
/// <param name="StoodStill">How long vCPUs waited for verdicts, all together.</param>
/// <param name="Unfollowed">Times that a rule could not follow what the kernel makes or ends: what that was is not guarded, or still is.</param>
/// <param name="LastFailure">Why the last of those was; empty if there is none.</param>
/// <param name="Rules">By rule, in the order of the policy.</param>
public sealed record GuardStatistics(
    long Events, long Unconcerned, TimeSpan StoodStill, long Unfollowed, string LastFailure, IReadOnlyList<RuleStatistics> Rules);

/// <summary>What arming came to.</summary>
/// <param name="Pages">Pages with fewer rights than before.</param>
/// <param name="WatchedBytes">Bytes that are watched.</param>
/// <param name="WatchedPages">Pages they lie on.</param>
/// <param name="Registers">Registers that are pinned, on one vCPU.</param>
/// <param name="PlanTime">How long looking up what to guard took.</param>
/// <param name="PrepareTime">How long asking for events and a rehearsal took, in which nothing is guarded yet.</param>
/// <param name="ArmTime">How long restricting it took: the first page was guarded that long before the last register.</param>
/// <param name="HasExtensions">The VM knows watches and discarding.</param>
/// <param name="Notes">What could not be done, and why.</param>
public sealed record GuardArming(
    int Pages, long WatchedBytes, int WatchedPages, int Registers, TimeSpan PlanTime, TimeSpan PrepareTime, TimeSpan ArmTime, bool HasExtensions, IReadOnlyList<string> Notes);
