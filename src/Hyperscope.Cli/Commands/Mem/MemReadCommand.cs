using Hyperscope.Cli.Output;

namespace Hyperscope.Cli.Commands;

/// <summary><c>mem read</c>.</summary>
internal sealed class MemReadCommand : MemCommand
{
    private const int MaxLength = 16 << 20;

    private readonly Argument<ulong> _length = new("length")
    {
        Description = "Bytes, up to 16M",
        DefaultValueFactory = static _ => 64,
        CustomParser = Values.Size,
    };

    /// <summary>Adds its arguments.</summary>
    public MemReadCommand()
        : base(
            "read",
            "Show guest memory in hex.",
            new("hyperscope mem read --kvmi unix:/run/vm.sock 0x1000 64", "64 bytes of physical memory"),
            new("hyperscope mem read --kvmi unix:/run/vm.sock --virtual 0xffffffff81000000 4K", "A page of the kernel, seen by vCPU 0"))
    {
        Arguments.Add(_length);
    }

    /// <inheritdoc/>
    protected override IEnumerable<string> Misuse(ParseResult parsed)
    {
        if (parsed.GetValue(_length) > MaxLength)
            yield return $"length {parsed.GetValue(_length)} is above {MaxLength} bytes; use: hyperscope mem dump";
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(IntrospectedVm vm, ParseResult parsed, CancellationToken cancellation)
    {
        byte[] bytes = await ReadAsync(vm, parsed, 0, (int)parsed.GetValue(_length), cancellation).ConfigureAwait(false);
        ulong address = AddressOf(parsed);
        if (IsJson(parsed))
            Console.WriteJson(
                new MemoryRecord($"0x{address:x}", bytes.Length, Convert.ToHexStringLower(bytes)), CliJson.Default.MemoryRecord);
        else
            HexDump.Write(Console.Out, address, bytes);
        return ExitCode.Done;
    }
}
