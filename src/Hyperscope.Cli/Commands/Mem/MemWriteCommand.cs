using Hyperscope.Cli.Output;

namespace Hyperscope.Cli.Commands;

/// <summary><c>mem write</c>.</summary>
internal sealed class MemWriteCommand : MemCommand
{
    private readonly Argument<byte[]> _bytes = new("bytes")
    {
        Description = "What to write, as hex digits: 90c3",
        Arity = ArgumentArity.ZeroOrOne,
        CustomParser = Values.HexBytes,
    };

    private readonly Option<FileInfo?> _input = new("--input") { Description = "Write the contents of a file instead", HelpName = "file" };

    /// <summary>Adds its arguments.</summary>
    public MemWriteCommand()
        : base(
            "write",
            "Write guest memory. Page restrictions do not apply.",
            new("hyperscope mem write --kvmi unix:/run/vm.sock 0x1000 cc", "Plant a breakpoint instruction"),
            new("hyperscope mem write --kvmi unix:/run/vm.sock 0x200000 --input patch.bin", "Load a file into the guest"))
    {
        Arguments.Add(_bytes);
        Options.Add(_input);
    }

    /// <inheritdoc/>
    protected override IEnumerable<string> Misuse(ParseResult parsed)
    {
        if ((parsed.GetValue(_input) is null) == (parsed.GetValue(_bytes) is not { Length: > 0 }))
            yield return "give either bytes or --input FILE";
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(IntrospectedVm vm, ParseResult parsed, CancellationToken cancellation)
    {
        byte[] bytes = parsed.GetValue(_input) is { } file
            ? await File.ReadAllBytesAsync(file.FullName, cancellation).ConfigureAwait(false)
            : parsed.GetValue(_bytes)!;
        await WriteAsync(vm, parsed, bytes, cancellation).ConfigureAwait(false);
        if (IsJson(parsed))
            Console.WriteJson(new WrittenRecord($"0x{AddressOf(parsed):x}", bytes.Length), CliJson.Default.WrittenRecord);
        else
            await Console.Error.WriteLineAsync($"{bytes.Length} bytes written at 0x{AddressOf(parsed):x}").ConfigureAwait(false);
        return ExitCode.Done;
    }
}
