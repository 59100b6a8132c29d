namespace Hyperscope.Cli.Tests;

public sealed class SelftestTests
{
    [Fact]
    public async Task Selection_of_rows_passes_without_those_before_it()
    {
        CliResult result = await RunCli.RunAsync("selftest --vcpus 1 --rows 59,x26");
        Assert.Equal(0, result.ExitCode);
        Assert.Equal(2, result.Output.Split('\n').Count(static line => line.StartsWith("ok ", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Unknown_protection_is_refused_with_the_known_ones()
    {
        CliResult result = await RunCli.RunAsync("selftest --kvm-protect none");
        Assert.NotEqual(0, result.ExitCode);
        Assert.Contains("--kvm-protect none is none of auto, mprotect, userfaultfd", result.Error, StringComparison.Ordinal);
    }
}
