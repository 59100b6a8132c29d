using Hyperscope.Cli.Output;

namespace Hyperscope.Cli.Commands;

/// <summary><c>mem dump</c>.</summary>
internal sealed class MemDumpCommand : MemCommand
{
    private const int ChunkSize = 1 << 20;

    private readonly Argument<ulong> _length = new("length") { Description = "Bytes", CustomParser = Values.Size };

    private readonly Option<FileInfo?> _output = new("--output")
    {
        Description = "File to write; standard output otherwise",
        HelpName = "file",
    };

    /// <summary>Adds its arguments.</summary>
    public MemDumpCommand()
        : base(
            "dump",
            "Copy guest memory to a file as it is.",
            new("hyperscope mem dump --kvmi unix:/run/vm.sock 0 64M --output ram.bin", "The first 64 MiB of the guest"),
            new("hyperscope mem dump --kvmi unix:/run/vm.sock 0x1000 4K | xxd | head", "A page, through a pipe"))
    {
        Arguments.Add(_length);
        Options.Add(_output);
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(IntrospectedVm vm, ParseResult parsed, CancellationToken cancellation)
    {
        FileInfo? file = parsed.GetValue(_output);
        ulong length = parsed.GetValue(_length);
        Stream target = file is null ? Console.Binary : file.Create();
        try
        {
            for (ulong done = 0; done < length;)
            {
                int size = (int)Math.Min(ChunkSize, length - done);
                byte[] bytes = await ReadAsync(vm, parsed, done, size, cancellation).ConfigureAwait(false);
                await target.WriteAsync(bytes, cancellation).ConfigureAwait(false);
                done += (ulong)size;
            }

            await target.FlushAsync(cancellation).ConfigureAwait(false);
        }
        finally
        {
            if (file is not null)
                await target.DisposeAsync().ConfigureAwait(false);
        }

        if (file is not null && IsJson(parsed))
            Console.WriteJson(new WrittenRecord($"0x{AddressOf(parsed):x}", (long)length), CliJson.Default.WrittenRecord);
        else if (file is not null)
            await Console.Error.WriteLineAsync($"{length} bytes written to {file.FullName}").ConfigureAwait(false);
        return ExitCode.Done;
    }
}
