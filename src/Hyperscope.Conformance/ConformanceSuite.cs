using System.Diagnostics;
using Hyperscope.Conformance.Rows;

namespace Hyperscope.Conformance;

/// <summary>The catalogue of claims about a KVMI v9 server, and how to go through it.</summary>
public static class ConformanceSuite
{
    /// <summary>Every row in the order of execution: the v9 self-test's order where it has one.</summary>
    public static IReadOnlyList<ConformanceRow> Rows { get; } = Order(
        [.. ManagementRows.All, .. CommandRows.All, .. EventRows.All], [.. ProtocolRows.All, .. PageAccessRows.All]);

    /// <summary>Runs rows one after the other; a failure does not keep the next row from running.</summary>
    /// <param name="context">The server.</param>
    /// <param name="progress">Told of each row as it ends.</param>
    /// <param name="filter">Rows to run; null: all.</param>
    /// <param name="cancellation">Ends the run between two rows.</param>
    public static IReadOnlyList<RowResult> Run(
        ConformanceContext context, Action<RowResult>? progress = null, Func<ConformanceRow, bool>? filter = null, CancellationToken cancellation = default)
    {
        var results = new List<RowResult>();
        foreach (ConformanceRow row in Rows)
        {
            if (filter is not null && !filter(row))
                continue;
            cancellation.ThrowIfCancellationRequested();
            RowResult result = RunOne(context, row);
            results.Add(result);
            progress?.Invoke(result);
        }

        return results;
    }

    private static RowResult RunOne(ConformanceContext context, ConformanceRow row)
    {
        long start = Stopwatch.GetTimestamp();
        RowResult Result(RowOutcome outcome, string detail) => new(row, outcome, detail, Stopwatch.GetElapsedTime(start));
        if (Missing(context, row.Needs) is { } missing)
            return Result(RowOutcome.Skipped, missing);
        try
        {
            if (NeedsConnection(row))
                context.EnsureHooked();
            row.Check(context);
            return context.StreamFault is { } fault ? Result(RowOutcome.Failed, fault) : Result(RowOutcome.Passed, "");
        }
        catch (NotApplicableException reason)
        {
            return Result(RowOutcome.Skipped, reason.Message);
        }
        catch (ConformanceException failure)
        {
            context.Abandon();
            return Result(RowOutcome.Failed, failure.Message);
        }
    }

    private static string? Missing(ConformanceContext context, RowNeeds needs)
    {
        if (needs.HasFlag(RowNeeds.Manager) && !context.HasManager)
            return "needs the device manager's control calls (--control)";
        if (needs.HasFlag(RowNeeds.Guest) && !context.HasGuest)
            return "needs the self-test guest (--image builtin:selftest)";
        if (needs.HasFlag(RowNeeds.SeveralVcpus) && context.VcpuCount < 2)
            return "needs several vCPUs";
        return null;
    }

    // Rows 1 to 4 are about the hook itself.
    private static bool NeedsConnection(ConformanceRow row) => row.Id is not ("1" or "2" or "3" or "4" or "x38");

    private static List<ConformanceRow> Order(List<ConformanceRow> numbered, List<ConformanceRow> more)
    {
        var rows = numbered.OrderBy(static row => int.Parse(row.Id, System.Globalization.CultureInfo.InvariantCulture)).ToList();
        rows.AddRange(more);
        return rows;
    }
}
