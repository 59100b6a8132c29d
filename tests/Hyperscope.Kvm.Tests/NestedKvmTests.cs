using System.Text.Json;
using Hyperscope.Conformance;

namespace Hyperscope.Kvm.Tests;

/// <summary>The conformance suite on the KVM back end of a real SVM host, which eng/nested-kvm boots under an emulator. Each row is a test of
/// its own; rows that this host cannot serve are skipped with what the server said.</summary>
[Collection(NestedHost.OneAtATime)]
public sealed class NestedKvmTests(NestedKvmTests.Nested run) : IClassFixture<NestedKvmTests.Nested>
{
    public static TheoryData<string> Rows() => [.. ConformanceSuite.Rows.Select(static row => $"{row.Id} {row.Area}: {row.Claim}")];

    [Theory]
    [MemberData(nameof(Rows))]
    public void Row_holds(string row)
    {
        Assert.SkipWhen(run.Missing is not null, run.Missing ?? "");
        bool hasRun = run.Results.TryGetValue(row.Split(' ')[0], out (string Outcome, string Detail) result);
        Assert.SkipWhen(!hasRun && run.IsOutOfTime, $"the emulated host ran out of time after {run.Results.Count} rows");
        Assert.True(hasRun, $"row did not run: {run.Talk}");
        if (result.Outcome == nameof(RowOutcome.Skipped))
            Assert.Skip(result.Detail);
        Assert.Equal(("Passed", ""), (result.Outcome, result.Detail));
    }

    [Fact]
    public void Probe_finds_nothing_against_that_host()
    {
        Assert.SkipWhen(run.Missing is not null, run.Missing ?? "");
        Assert.SkipWhen(run.IsOutOfTime && run.Results.Count == 0, "the emulated host ran out of time");
        Assert.Contains("the VM ended: the guest exited with status 7", run.Talk, StringComparison.Ordinal);
        Assert.DoesNotContain("the software CPU runs the guest", run.Talk, StringComparison.Ordinal);
    }

    /// <summary>The boot for these rows.</summary>
    public sealed class Nested
    {
        private const string Commands = "hyperscope vm run --image builtin:demo --backend auto; hyperscope selftest --backend kvm --vcpus 1 --json";

        public Nested()
        {
            var host = NestedHost.Run(Commands);
            (Missing, IsOutOfTime, Talk) = (host.Missing, host.IsOutOfTime, host.Talk);
            foreach (string line in Talk.Split('\n'))
            {
                if (!line.StartsWith("{\"id\"", StringComparison.Ordinal))
                    continue;
                JsonElement row = JsonDocument.Parse(line).RootElement;
                Results[row.GetProperty("id").GetString()!] = (row.GetProperty("outcome").GetString()!, row.GetProperty("detail").GetString()!);
            }
        }

        public Dictionary<string, (string Outcome, string Detail)> Results { get; } = [];

        /// <summary>Why it cannot be had here; null: it can.</summary>
        public string? Missing { get; }

        public bool IsOutOfTime { get; }

        public string Talk { get; } = "";
    }
}
