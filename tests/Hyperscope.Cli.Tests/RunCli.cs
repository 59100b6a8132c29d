namespace Hyperscope.Cli.Tests;

/// <summary>Runs a command line in this process.</summary>
internal static class RunCli
{
    public static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public static async Task<CliResult> RunAsync(string commandLine, CancellationToken? interrupt = null)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        using var binary = new MemoryStream();
        int exitCode = await CommandTree.RunAsync(
            commandLine.Split(' '), new CliConsole(output, error, binary), interrupt ?? Cancel);
        return new CliResult(exitCode, output.ToString(), error.ToString(), binary.ToArray());
    }
}

/// <summary>What a command line did.</summary>
internal sealed record CliResult(int ExitCode, string Output, string Error, byte[] Binary);
