using System.Text.Json;
using Hyperscope.Conformance;

namespace Hyperscope.Kvm.Tests;

/// <summary>The conformance suite on the KVM back end of a real SVM host, which eng/nested-kvm boots under an emulator. Each row is a test of
/// its own; rows that this host cannot serve are skipped with what the server said. userfaultfd protects memory; the rows of restricted pages
/// are run with mprotect too.</summary>
[Collection(NestedHost.OneAtATime)]
public sealed class NestedKvmTests(NestedKvmTests.Nested run) : IClassFixture<NestedKvmTests.Nested>
{
    private const string Userfaultfd = "userfaultfd", Mprotect = "mprotect";

    public static TheoryData<string> Rows() => [.. ConformanceSuite.Rows.Select(Text)];

    public static TheoryData<string> RowsOfRestrictedPages() => [.. RestrictedPages().Select(Text)];

    [Theory]
    [MemberData(nameof(Rows))]
    public void Row_holds(string row) => Check(Userfaultfd, row);

    [Theory]
    [MemberData(nameof(RowsOfRestrictedPages))]
    public void Row_of_restricted_pages_holds_with_mprotect(string row) => Check(Mprotect, row);

    [Fact]
    public void Userfaultfd_is_what_that_host_takes_by_itself()
    {
        Assert.SkipWhen(run.Missing is not null, run.Missing ?? "");
        Assert.SkipWhen(run.Unfinished is not null && run.Results.Count == 0, run.Unfinished ?? "");
        Assert.Contains("Pages that may not be written are protected with userfaultfd", run.Talk, StringComparison.Ordinal);
    }

    private static IEnumerable<ConformanceRow> RestrictedPages() => ConformanceSuite.Rows.Where(static row => row.Area is "PF event" or "VM_SET_PAGE_ACCESS");

    private static string Text(ConformanceRow row) => $"{row.Id} {row.Area}: {row.Claim}";

    private void Check(string method, string row)
    {
        Assert.SkipWhen(run.Missing is not null, run.Missing ?? "");
        bool hasRun = run.Results.TryGetValue((method, row.Split(' ')[0]), out (string Outcome, string Detail) result);
        Assert.SkipWhen(!hasRun && run.Unfinished is not null, $"{run.Unfinished} after {run.Results.Count} rows");
        Assert.True(hasRun, $"row did not run: {run.Talk}");
        if (result.Outcome == nameof(RowOutcome.Skipped))
            Assert.Skip(result.Detail);
        Assert.Equal(("Passed", ""), (result.Outcome, result.Detail));
    }

    [Fact]
    public void Probe_finds_nothing_against_that_host()
    {
        Assert.SkipWhen(run.Missing is not null, run.Missing ?? "");
        Assert.SkipWhen(run.Unfinished is not null && run.Results.Count == 0, run.Unfinished ?? "");
        Assert.Contains("the VM ended: the guest exited with status 7", run.Talk, StringComparison.Ordinal);
        Assert.DoesNotContain("the software CPU runs the guest", run.Talk, StringComparison.Ordinal);
    }

    /// <summary>The boot for these rows.</summary>
    public sealed class Nested
    {
        private static readonly string Commands = $"""
            hyperscope vm run --image builtin:demo --backend auto --verbose
            echo {Userfaultfd}
            hyperscope selftest --backend kvm --vcpus 1 --kvm-protect {Userfaultfd} --json
            echo {Mprotect}
            hyperscope selftest --backend kvm --vcpus 1 --kvm-protect {Mprotect} --rows {string.Join(',', RestrictedPages().Select(static row => row.Id))} --json

            """;

        public Nested()
        {
            var host = NestedHost.Run(Commands);
            string method = "";
            (Missing, Unfinished, Talk) = (host.Missing, host.Unfinished, host.Talk);
            foreach (string line in Talk.Split('\n'))
            {
                if (line is Userfaultfd or Mprotect)
                    method = line;
                if (!line.StartsWith("{\"id\"", StringComparison.Ordinal))
                    continue;
                JsonElement row = JsonDocument.Parse(line).RootElement;
                Results[(method, row.GetProperty("id").GetString()!)] = (row.GetProperty("outcome").GetString()!, row.GetProperty("detail").GetString()!);
            }
        }

        /// <summary>By how memory was protected and the row's id.</summary>
        public Dictionary<(string Method, string Id), (string Outcome, string Detail)> Results { get; } = [];

        /// <summary>Why it cannot be had here; null: it can.</summary>
        public string? Missing { get; }

        public string? Unfinished { get; }

        public string Talk { get; } = "";
    }
}
