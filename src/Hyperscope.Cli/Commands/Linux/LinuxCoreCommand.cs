using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux core</c>.</summary>
internal sealed class LinuxCoreCommand : LinuxCommand
{
    private readonly Argument<FileInfo> _file = new("file") { Description = "File to write" };

    private readonly Option<bool> _running = new("--running") { Description = "Let the guest run meanwhile: no standstill, but memory changes as it is read" };

    /// <summary>Adds its arguments.</summary>
    public LinuxCoreCommand()
        : base(
            "core",
            "Write all memory and registers of a Linux guest as an ELF core for crash, drgn or gdb. The guest stands still meanwhile.",
            new Example("hyperscope linux core --kvmi unix:/run/vm.sock guest.core", "Then: crash vmlinux guest.core"))
    {
        Arguments.Add(_file);
        Options.Add(_running);
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation)
    {
        FileInfo file = parsed.GetValue(_file)!;
        CoreSummary summary;
        IReadOnlyList<IntrospectedVcpu> vcpus = parsed.GetValue(_running) ? [] : guest.Vm.Vcpus;
        await using (StoppedVcpus? stopped = vcpus.Count == 0 ? null : await StoppedVcpus.StopAsync(guest.Vm, vcpus, cancellation).ConfigureAwait(false))
        {
            await using FileStream target = file.Create();
            summary = await guest.WriteCoreAsync(target, cancellation: cancellation).ConfigureAwait(false);
        }

        if (IsJson(parsed))
        {
            Console.WriteJson(
                new LinuxCoreRecord(
                    file.FullName, summary.Bytes, summary.UnreadPages,
                    [.. summary.Blocks.Select(static block => new LinuxBlockRecord($"{block.Start}", block.Length))]),
                LinuxEventJson.Default.LinuxCoreRecord);
            return ExitCode.Done;
        }

        string unread = summary.UnreadPages == 0 ? "" : $"; {summary.UnreadPages} pages could not be read and are zero";
        await Console.Error.WriteLineAsync($"{summary.Bytes} bytes of {summary.Blocks.Count} block(s) of memory written to {file.FullName}{unread}")
            .ConfigureAwait(false);
        return ExitCode.Done;
    }
}
