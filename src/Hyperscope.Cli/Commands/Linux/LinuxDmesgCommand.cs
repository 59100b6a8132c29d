using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux dmesg</c>.</summary>
internal sealed class LinuxDmesgCommand() : LinuxCommand(
    "dmesg",
    "Show the kernel log of a Linux guest.",
    new Example("hyperscope linux dmesg --kvmi unix:/run/vm.sock", "What did the kernel say?"))
{
    /// <inheritdoc/>
    protected override async Task<int> RunAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation) => Write(
        parsed, await guest.KernelLogAsync(cancellation).ConfigureAwait(false),
        static line => new LinuxLogRecord(line.Sequence, line.Time.TotalSeconds, line.Level, line.Facility, line.Text),
        LinuxJson.Default.LinuxListRecordLinuxLogRecord, "",
        static line => [string.Create(CultureInfo.InvariantCulture, $"[{line.Time.TotalSeconds,12:f6}] {line.Text}")]);
}
