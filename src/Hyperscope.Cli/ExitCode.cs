namespace Hyperscope.Cli;

/// <summary>What the command tells its caller.</summary>
internal static class ExitCode
{
    /// <summary>Done; also a command that runs until Ctrl-C and got it.</summary>
    public const int Done = 0;

    /// <summary>It did not work out.</summary>
    public const int Failed = 1;

    /// <summary>The command line makes no sense.</summary>
    public const int BadUsage = 2;

    /// <summary>The VM refused.</summary>
    public const int Refused = 3;
}

/// <summary>A failure in words for people: what is wrong, and what to try.</summary>
/// <param name="message">One or two sentences.</param>
/// <param name="exitCode">One of <see cref="ExitCode"/>.</param>
internal sealed class CliException(string message, int exitCode = ExitCode.Failed) : Exception(message)
{
    /// <summary>What the process exits with.</summary>
    public int ExitCode { get; } = exitCode;
}
