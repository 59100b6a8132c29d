using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux maps</c>.</summary>
internal sealed class LinuxMapsCommand() : LinuxProcessCommand<LinuxMapping, LinuxMappingRecord>(
    "maps",
    "Show the memory maps of a process, as /proc/PID/maps does.",
    "",
    LinuxJson.Default.LinuxListRecordLinuxMappingRecord,
    new Example("hyperscope linux maps --kvmi unix:/run/vm.sock 1", "What has init mapped?"))
{
    /// <inheritdoc/>
    protected override Task<GuestList<LinuxMapping>> ReadAsync(LinuxGuest guest, LinuxProcess process, CancellationToken cancellation) =>
        guest.MapsAsync(process, cancellation);

    /// <inheritdoc/>
    protected override LinuxMappingRecord Record(LinuxMapping map) =>
        new(Hex(map.Start), Hex(map.End), Rights(map.Access), map.IsShared, $"0x{map.Offset:x}", map.Device, map.Inode, map.Name);

    /// <inheritdoc/>
    protected override string[] Cells(LinuxMapping map) =>
    [
        $"{map.Start.Value:x8}-{map.End.Value:x8}", $"{Rights(map.Access)}{(map.IsShared ? 's' : 'p')}", $"{map.Offset:x8}", map.Device, $"{map.Inode}", map.Name,
    ];
}
