using Hyperscope.Conformance;
using Hyperscope.Kvmi;
using Hyperscope.LinuxHost;
using Hyperscope.TestKit.Libkvmi;

namespace Hyperscope.Machine.Tests.Control;

/// <summary>The v9 self-test against a server that speaks libkvmi's dialect: what both have must behave alike.</summary>
public sealed class LibkvmiConformanceTests
{
    private const string Lenient = "padding and flags above 1 are accepted", Numbers = "an unknown id is EINVAL";

    // Rows whose claim is not one of this dialect: kvmi-dialect-libkvmi.md 9.
    private static readonly Dictionary<string, string> Differences = new()
    {
        ["12"] = Lenient,
        ["13"] = Numbers,
        ["15"] = Numbers,
        ["16"] = Lenient,
        ["21"] = Lenient,
        ["31"] = Lenient,
        ["34"] = Lenient,
        ["37"] = Lenient,
        ["45"] = "there is no VM_CONTROL_CLEANUP",
        ["47"] = Lenient,
        ["51"] = "the XSETBV event brings no values",
        ["52"] = Lenient,
        ["57"] = Lenient,
        ["61"] = Lenient,
        ["x7"] = Lenient,
        ["x9"] = Lenient,
        ["x14"] = "a refused event reply is not answered",
        ["x32"] = "bit 3 of the rights is about #VE",
        ["x33"] = "a page without memory is ENOENT",
    };

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public async Task Rows_of_the_self_test_hold_in_this_dialect_too(int vcpus)
    {
        await using var bench = new LibkvmiBench(vcpus, Dialect.Libkvmi);
        List<V9OverLibkvmi> bridges = [];
        using var context = new ConformanceContext(null, Connect, hasGuest: true) { VcpuCount = vcpus };
        IReadOnlyList<RowResult> results = ConformanceSuite.Run(
            context, filter: static row => !row.Needs.HasFlag(RowNeeds.Manager) && !Differences.ContainsKey(row.Id),
            cancellation: TestContext.Current.CancellationToken);
        context.Abandon();
        foreach (V9OverLibkvmi bridge in bridges)
            bridge.Dispose();
        Assert.Empty(results.Where(static one => one.Outcome == RowOutcome.Failed).Select(static one => $"{one.Row.Id} {one.Row.Claim}: {one.Detail}"));
        Assert.InRange(results.Count(static one => one.Outcome == RowOutcome.Passed), 60, results.Count);

        RawPeer Connect()
        {
            var tool = new LibkvmiClient(bench.Accept());
            tool.Handshake();
            bridges.Add(new V9OverLibkvmi(tool.Socket, out StreamSocket v9));
            return new RawPeer(v9);
        }
    }

    [Fact]
    public void Each_difference_is_a_row() =>
        Assert.Empty(Differences.Keys.Except(ConformanceSuite.Rows.Select(static row => row.Id)));
}
