using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux bpf</c>.</summary>
internal sealed class LinuxBpfCommand() : LinuxListCommand<BpfProgram, LinuxBpfRecord>(
    "bpf",
    "List the BPF programs that a Linux kernel has loaded.",
    "ID TYPE TAG UID CODE LENGTH NAME",
    LinuxJson.Default.LinuxListRecordLinuxBpfRecord,
    new Example("hyperscope linux bpf --kvmi unix:/run/vm.sock", "What runs inside the kernel besides modules?"))
{
    /// <inheritdoc/>
    protected override async Task<IReadOnlyList<BpfProgram>> ReadAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation) =>
        await guest.BpfProgramsAsync(cancellation).ConfigureAwait(false);

    /// <inheritdoc/>
    protected override LinuxBpfRecord Record(BpfProgram program) =>
        new(program.Id, program.Type, program.Name, program.Tag, Hex(program.Code), program.CodeLength, program.Uid);

    /// <inheritdoc/>
    protected override string[] Cells(BpfProgram program) =>
        [$"{program.Id}", program.Type, program.Tag, $"{program.Uid}", Hex(program.Code), $"{program.CodeLength}", program.Name];
}
