using Hyperscope.Fuzz;

namespace Hyperscope.Stress.Tests;

/// <summary>Every fuzz target, seeded and short: whatever the bytes, an orderly end.</summary>
public sealed class FuzzTests(ITestOutputHelper output)
{
    public static TheoryData<string> Targets => [.. FuzzTarget.All.Select(static target => target.Name)];

    [Theory]
    [MemberData(nameof(Targets))]
    public void Any_bytes_end_in_an_orderly_way(string name)
    {
        FuzzTarget target = FuzzTarget.All.Single(one => one.Name == name);
        int units = Effort.Times(few: 4000, many: 2_000_000);
        FuzzRun run = target.Feed(units, seed: 51);
        output.WriteLine($"seed 51: {run.Units} {target.Unit}; {target.Summary()}");
        Assert.InRange(run.Units, units, long.MaxValue);
    }
}
