using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux maps</c>.</summary>
internal sealed class LinuxMapsCommand : LinuxCommand
{
    private readonly Argument<int> _pid = new("pid") { Description = "Which process", CustomParser = Values.Count };

    /// <summary>Adds its arguments.</summary>
    public LinuxMapsCommand()
        : base(
            "maps",
            "Show the memory maps of a process, as /proc/PID/maps does.",
            new Example("hyperscope linux maps --kvmi unix:/run/vm.sock 1", "What has init mapped?"))
    {
        Arguments.Add(_pid);
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation)
    {
        LinuxProcess process = await ProcessAsync(guest, parsed.GetValue(_pid), cancellation).ConfigureAwait(false);
        GuestList<LinuxMapping> maps = await guest.MapsAsync(process, cancellation).ConfigureAwait(false);
        return Write(
            parsed, maps,
            static map => new LinuxMappingRecord(
                Hex(map.Start), Hex(map.End), Rights(map.Access), map.IsShared, $"0x{map.Offset:x}", map.Device, map.Inode, map.Name),
            LinuxJson.Default.LinuxListRecordLinuxMappingRecord, "",
            static map =>
            [
                $"{map.Start.Value:x8}-{map.End.Value:x8}", $"{Rights(map.Access)}{(map.IsShared ? 's' : 'p')}", $"{map.Offset:x8}", map.Device, $"{map.Inode}",
                map.Name,
            ]);
    }
}
