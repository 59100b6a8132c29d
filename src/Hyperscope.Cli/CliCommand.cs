namespace Hyperscope.Cli;

/// <summary>One use of a command, as its help shows it.</summary>
/// <param name="CommandLine">What to type.</param>
/// <param name="Does">What it does.</param>
internal sealed record Example(string CommandLine, string Does);

/// <summary>A command of the tree: options, help, examples and body in one file.</summary>
internal abstract class CliCommand : Command
{
    /// <summary>Names and describes the command.</summary>
    protected CliCommand(string name, string description, params Example[] examples)
        : base(name, description)
    {
        Examples = examples;
        SetAction((parsed, cancellation) => RunGuardedAsync(parsed, cancellation));
    }

    /// <summary>Uses that the help shows.</summary>
    public IReadOnlyList<Example> Examples { get; }

    /// <summary>Set by the tree before anything runs.</summary>
    internal CliConsole Console { get; set; } = null!;

    /// <summary>What makes no sense in a command line whose values are all well-formed: options that exclude each other, or
    /// bounds.</summary>
    protected virtual IEnumerable<string> Misuse(ParseResult parsed) => [];

    /// <summary>Does it.</summary>
    /// <returns>One of <see cref="ExitCode"/>.</returns>
    protected abstract Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation);

    // Every expected failure becomes one line for people and an exit code; what is left is our bug and surfaces.
    private async Task<int> RunGuardedAsync(ParseResult parsed, CancellationToken cancellation)
    {
        string[] misuse = [.. Misuse(parsed)];
        if (misuse.Length != 0)
            return CommandTree.Misused(Console, this, misuse);
        try
        {
            return await RunAsync(parsed, cancellation).ConfigureAwait(false);
        }
        catch (CliException failure)
        {
            return Fail(failure.Message, failure.ExitCode);
        }
        catch (KvmiException refused)
        {
            return Fail(refused.Message, ExitCode.Refused);
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            return Fail("interrupted", ExitCode.Failed);
        }
        catch (Exception failure) when (failure is IOException or TimeoutException or UnauthorizedAccessException)
        {
            return Fail(failure.Message, ExitCode.Failed);
        }
    }

    private int Fail(string message, int exitCode)
    {
        Console.Error.WriteLine($"hyperscope: {message}");
        return exitCode;
    }
}
