using System.Text.Json;
using Hyperscope.Cli.Running;

namespace Hyperscope.Cli.Commands;

/// <summary><c>exec</c>.</summary>
internal sealed class ExecCommand : CliCommand
{
    private readonly Argument<string> _file = new("file") { Description = "A case, an array of cases, or with --lines a case a line; - for standard input" };

    private readonly Option<bool> _lines = new("--lines") { Description = "One case a line; assumed for a name that ends in .jsonl" };

    private readonly Option<ulong?> _memory = new("--memory")
    {
        Description = "Memory from address 0 on, up to 1G; 64K unless given. All of it is cleared before each case",
        HelpName = "size",
        CustomParser = static result => Values.Size(result),
    };

    /// <summary>Adds its options.</summary>
    public ExecCommand()
        : base(
            "exec",
            "Run snippets of machine code from JSON and print the final state as JSON, a line a case. The format is in docs/exec.md.",
            new("hyperscope exec case.json", "One case, or an array of cases"),
            new("hyperscope exec cases.jsonl --memory 1M", "Many cases, one a line"))
    {
        Arguments.Add(_file);
        Options.Add(_lines);
        Options.Add(_memory);
    }

    /// <inheritdoc/>
    protected override IEnumerable<string> Misuse(ParseResult parsed)
    {
        ulong memory = MemoryOf(parsed);
        if (memory is < 0x1_0000 || memory > ExecMachine.MaxMemoryBytes || memory % Gfn.PageSize != 0)
            yield return $"--memory {memory} is not a multiple of {Gfn.PageSize} from 65536 to {ExecMachine.MaxMemoryBytes}";
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        string file = parsed.GetValue(_file)!;
        if (file != "-" && !File.Exists(file))
            throw new CliException($"there is no file {file}");
        using TextReader reader = file == "-" ? new StreamReader(System.Console.OpenStandardInput()) : new StreamReader(file);
        using var runner = new ExecRunner(MemoryOf(parsed));
        bool allOk = parsed.GetValue(_lines) || file.EndsWith(".jsonl", StringComparison.OrdinalIgnoreCase)
            ? await RunLinesAsync(runner, reader, cancellation).ConfigureAwait(false)
            : RunDocument(runner, await reader.ReadToEndAsync(cancellation).ConfigureAwait(false), cancellation);
        await Console.Out.FlushAsync(cancellation).ConfigureAwait(false);
        return allOk ? ExitCode.Done : ExitCode.Failed;
    }

    private async Task<bool> RunLinesAsync(ExecRunner runner, TextReader reader, CancellationToken cancellation)
    {
        bool allOk = true;
        while (await reader.ReadLineAsync(cancellation).ConfigureAwait(false) is { } line)
        {
            if (string.IsNullOrWhiteSpace(line))
                continue;
            await Console.Out.WriteLineAsync(runner.Run(line.AsMemory(), out bool isOk)).ConfigureAwait(false);
            allOk &= isOk;
        }

        return allOk;
    }

    private bool RunDocument(ExecRunner runner, string text, CancellationToken cancellation)
    {
        JsonDocument document;
        try
        {
            document = JsonDocument.Parse(text);
        }
        catch (JsonException wrong)
        {
            throw new CliException($"this is not JSON: {wrong.Message}");
        }

        using (document)
        {
            bool allOk = true;
            JsonElement root = document.RootElement;
            foreach (JsonElement test in root.ValueKind == JsonValueKind.Array ? root.EnumerateArray().AsEnumerable() : [root])
            {
                cancellation.ThrowIfCancellationRequested();
                Console.Out.WriteLine(runner.Run(test, out bool isOk));
                allOk &= isOk;
            }

            return allOk;
        }
    }

    private ulong MemoryOf(ParseResult parsed) => parsed.GetValue(_memory) ?? 1 << 16;
}
