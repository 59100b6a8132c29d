using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux dmesg</c>.</summary>
internal sealed class LinuxDmesgCommand() : LinuxListCommand<KernelLogLine, LinuxLogRecord>(
    "dmesg",
    "Show the kernel log of a Linux guest.",
    "",
    LinuxJson.Default.LinuxListRecordLinuxLogRecord,
    new Example("hyperscope linux dmesg --kvmi unix:/run/vm.sock", "What did the kernel say?"))
{
    /// <inheritdoc/>
    protected override async Task<IReadOnlyList<KernelLogLine>> ReadAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation) =>
        await guest.KernelLogAsync(cancellation).ConfigureAwait(false);

    /// <inheritdoc/>
    protected override LinuxLogRecord Record(KernelLogLine line) => new(line.Sequence, line.Time.TotalSeconds, line.Level, line.Facility, line.Text);

    /// <inheritdoc/>
    protected override string[] Cells(KernelLogLine line) => [string.Create(CultureInfo.InvariantCulture, $"[{line.Time.TotalSeconds,12:f6}] {line.Text}")];
}
