using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux files</c>.</summary>
internal sealed class LinuxFilesCommand() : LinuxProcessCommand<LinuxFile, LinuxFileRecord>(
    "files",
    "Show the open files of a process.",
    "FD MODE POSITION INODE PATH",
    LinuxJson.Default.LinuxListRecordLinuxFileRecord,
    new Example("hyperscope linux files --kvmi unix:/run/vm.sock 1", "What has init open?"))
{
    /// <inheritdoc/>
    protected override Task<GuestList<LinuxFile>> ReadAsync(LinuxGuest guest, LinuxProcess process, CancellationToken cancellation) =>
        guest.FilesAsync(process, cancellation);

    /// <inheritdoc/>
    protected override LinuxFileRecord Record(LinuxFile file) =>
        new(file.Descriptor, file.Path, $"0x{file.Flags:x}", file.Position, file.Inode, Hex(file.File));

    /// <inheritdoc/>
    protected override string[] Cells(LinuxFile file) =>
        [$"{file.Descriptor}", (file.Flags & 3) switch { 0 => "r", 1 => "w", _ => "rw" }, $"{file.Position}", $"{file.Inode}", file.Path];
}
