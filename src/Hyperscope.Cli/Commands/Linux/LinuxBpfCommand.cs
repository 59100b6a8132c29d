using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux bpf</c>.</summary>
internal sealed class LinuxBpfCommand() : LinuxCommand(
    "bpf",
    "List the BPF programs that a Linux kernel has loaded.",
    new Example("hyperscope linux bpf --kvmi unix:/run/vm.sock", "What runs inside the kernel besides modules?"))
{
    /// <inheritdoc/>
    protected override async Task<int> RunAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation) => Write(
        parsed, await guest.BpfProgramsAsync(cancellation).ConfigureAwait(false),
        static program => new LinuxBpfRecord(
            program.Id, program.Type, program.Name, program.Tag, Hex(program.Code), program.CodeLength, program.Uid),
        LinuxJson.Default.LinuxListRecordLinuxBpfRecord, "ID TYPE TAG UID CODE LENGTH NAME",
        static program =>
        [
            $"{program.Id}", program.Type, program.Tag, $"{program.Uid}", Hex(program.Code), $"{program.CodeLength}", program.Name,
        ]);
}
