using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux isf</c>.</summary>
internal sealed class LinuxIsfCommand : LinuxCommand
{
    private readonly Argument<FileInfo> _file = new("file") { Description = "File to write" };

    /// <summary>Adds its arguments.</summary>
    public LinuxIsfCommand()
        : base(
            "isf",
            "Write the types and symbols of a Linux kernel as a symbol file (ISF) for Volatility 3 and LibVMI.",
            new Example("hyperscope linux isf --kvmi unix:/run/vm.sock guest.json", "Then: vmi-process-list -n guest -j guest.json -s SOCKET")) =>
        Arguments.Add(_file);

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation)
    {
        FileInfo file = parsed.GetValue(_file)!;
        IsfSummary summary;
        await using (FileStream target = file.Create())
            summary = await guest.WriteSymbolFileAsync(target, cancellation).ConfigureAwait(false);
        if (IsJson(parsed))
        {
            Console.WriteJson(new LinuxIsfRecord(file.FullName, summary.Types, summary.Enums, summary.Symbols), LinuxEventJson.Default.LinuxIsfRecord);
            return ExitCode.Done;
        }

        await Console.Error.WriteLineAsync(
            $"{summary.Types} structures and unions, {summary.Enums} enums and {summary.Symbols} symbols written to {file.FullName}").ConfigureAwait(false);
        return ExitCode.Done;
    }
}
