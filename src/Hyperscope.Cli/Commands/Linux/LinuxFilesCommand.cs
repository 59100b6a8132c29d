using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux files</c>.</summary>
internal sealed class LinuxFilesCommand : LinuxCommand
{
    private readonly Argument<int> _pid = new("pid") { Description = "Which process", CustomParser = Values.Count };

    /// <summary>Adds its arguments.</summary>
    public LinuxFilesCommand()
        : base(
            "files",
            "Show the open files of a process.",
            new Example("hyperscope linux files --kvmi unix:/run/vm.sock 1", "What has init open?"))
    {
        Arguments.Add(_pid);
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation)
    {
        LinuxProcess process = await ProcessAsync(guest, parsed.GetValue(_pid), cancellation).ConfigureAwait(false);
        GuestList<LinuxFile> files = await guest.FilesAsync(process, cancellation).ConfigureAwait(false);
        return Write(
            parsed, files,
            static file => new LinuxFileRecord(file.Descriptor, file.Path, $"0x{file.Flags:x}", file.Position, file.Inode, Hex(file.File)),
            LinuxJson.Default.LinuxListRecordLinuxFileRecord, "FD MODE POSITION INODE PATH",
            static file =>
            [
                $"{file.Descriptor}", (file.Flags & 3) switch { 0 => "r", 1 => "w", _ => "rw" }, $"{file.Position}", $"{file.Inode}", file.Path,
            ]);
    }
}
