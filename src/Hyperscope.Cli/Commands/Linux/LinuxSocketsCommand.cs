using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux sockets</c>.</summary>
internal sealed class LinuxSocketsCommand() : LinuxListCommand<LinuxSocket, LinuxSocketRecord>(
    "sockets",
    "List the sockets that processes of a Linux guest have open.",
    "PROTO TYPE STATE PID FD INODE LOCAL REMOTE",
    LinuxJson.Default.LinuxListRecordLinuxSocketRecord,
    new Example("hyperscope linux sockets --kvmi unix:/run/vm.sock", "Who listens, who is connected?"))
{
    /// <inheritdoc/>
    protected override async Task<IReadOnlyList<LinuxSocket>> ReadAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation) =>
        await guest.SocketsAsync(cancellation).ConfigureAwait(false);

    /// <inheritdoc/>
    protected override LinuxSocketRecord Record(LinuxSocket socket) => new(
        socket.Protocol, socket.Type, socket.State, socket.Local, socket.Remote, socket.Inode, socket.Pid, socket.Descriptor, Hex(socket.Sock));

    /// <inheritdoc/>
    protected override string[] Cells(LinuxSocket socket) =>
    [
        socket.Protocol, socket.Type, socket.State, $"{socket.Pid}", $"{socket.Descriptor}", $"{socket.Inode}",
        socket.Local.Length == 0 ? "-" : socket.Local, socket.Remote,
    ];
}
