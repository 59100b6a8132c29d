using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux sockets</c>.</summary>
internal sealed class LinuxSocketsCommand() : LinuxCommand(
    "sockets",
    "List the sockets that processes of a Linux guest have open.",
    new Example("hyperscope linux sockets --kvmi unix:/run/vm.sock", "Who listens, who is connected?"))
{
    /// <inheritdoc/>
    protected override async Task<int> RunAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation) => Write(
        parsed, await guest.SocketsAsync(cancellation).ConfigureAwait(false),
        static socket => new LinuxSocketRecord(
            socket.Protocol, socket.Type, socket.State, socket.Local, socket.Remote, socket.Inode, socket.Pid, socket.Descriptor, Hex(socket.Sock)),
        LinuxJson.Default.LinuxListRecordLinuxSocketRecord, "PROTO TYPE STATE PID FD INODE LOCAL REMOTE",
        static socket =>
        [
            socket.Protocol, socket.Type, socket.State, $"{socket.Pid}", $"{socket.Descriptor}", $"{socket.Inode}",
            socket.Local.Length == 0 ? "-" : socket.Local, socket.Remote,
        ]);
}
