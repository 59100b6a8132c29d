using System.Diagnostics;
using System.Text.Json;

namespace Hyperscope.Conformance.Tests;

/// <summary>The whole catalogue against the software machine in a process of its own, over real sockets: what
/// <c>hyperscope selftest</c> does. Each row is a test of its own.</summary>
public abstract class ConformanceTests(ConformanceTests.Run run)
{
    public static TheoryData<string> Rows()
    {
        var data = new TheoryData<string>();
        foreach (ConformanceRow row in ConformanceSuite.Rows)
            data.Add($"{row.Id} {row.Area}: {row.Claim}");
        return data;
    }

    [Theory]
    [MemberData(nameof(Rows))]
    public void Row_holds(string row)
    {
        Assert.True(run.Results.TryGetValue(row.Split(' ')[0], out (string Outcome, string Detail) result), $"row did not run: {run.Talk}");
        if (result.Outcome == nameof(RowOutcome.Skipped))
            Assert.Skip(result.Detail);
        Assert.Equal(("Passed", ""), (result.Outcome, result.Detail));
    }

    /// <summary>One run of the suite.</summary>
    public abstract class Run
    {
        private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

        protected Run(int vcpus)
        {
            var start = new ProcessStartInfo("dotnet") { RedirectStandardOutput = true, RedirectStandardError = true };
            foreach (string argument in (string[])[Path.Combine(AppContext.BaseDirectory, "hyperscope.dll"), "selftest", "--json", "--vcpus", $"{vcpus}"])
                start.ArgumentList.Add(argument);
            using Process process = Process.Start(start)!;
            Task<string> talk = process.StandardError.ReadToEndAsync();
            using var limit = new CancellationTokenSource(Patience);
            using CancellationTokenRegistration kill = limit.Token.Register(() => process.Kill(entireProcessTree: true));
            while (process.StandardOutput.ReadLine() is { } line)
            {
                JsonElement row = JsonDocument.Parse(line).RootElement;
                Results[Text(row, "id")] = (Text(row, "outcome"), Text(row, "detail"));
            }

            process.WaitForExit();
            Talk = talk.Result;
        }

        public Dictionary<string, (string Outcome, string Detail)> Results { get; } = [];

        public string Talk { get; }

        private static string Text(JsonElement element, string name) =>
            element.EnumerateObject().First(property => property.Name.Equals(name, StringComparison.OrdinalIgnoreCase)).Value.GetString()!;
    }
}

/// <summary>With one vCPU, as the v9 self-test has it.</summary>
public sealed class OneVcpuTests(OneVcpuTests.OneVcpu run) : ConformanceTests(run), IClassFixture<OneVcpuTests.OneVcpu>
{
    public sealed class OneVcpu() : Run(1);
}

/// <summary>With four vCPUs.</summary>
public sealed class FourVcpuTests(FourVcpuTests.FourVcpus run) : ConformanceTests(run), IClassFixture<FourVcpuTests.FourVcpus>
{
    public sealed class FourVcpus() : Run(4);
}
