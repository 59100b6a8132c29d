using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux syscalls</c>.</summary>
internal sealed class LinuxSyscallsCommand : LinuxListCommand<SyscallEntry, LinuxSyscallRecord>
{
    private readonly Option<bool> _odd = new("--odd") { Description = "Show only entries that do not lead to a function of the kernel" };

    /// <summary>Adds its options.</summary>
    public LinuxSyscallsCommand()
        : base(
            "syscalls",
            "Show where the entries of the system call table lead.",
            "NUMBER TARGET NOTE SYMBOL",
            LinuxJson.Default.LinuxListRecordLinuxSyscallRecord,
            new("hyperscope linux syscalls --kvmi unix:/run/vm.sock", "All of them"),
            new("hyperscope linux syscalls --kvmi unix:/run/vm.sock --odd", "Has somebody hooked one?"))
    {
        Options.Add(_odd);
    }

    /// <inheritdoc/>
    protected override async Task<IReadOnlyList<SyscallEntry>> ReadAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation)
    {
        IReadOnlyList<SyscallEntry> entries = await guest.SyscallsAsync(cancellation).ConfigureAwait(false);
        return parsed.GetValue(_odd) ? [.. entries.Where(static entry => !entry.IsInKernelText)] : entries;
    }

    /// <inheritdoc/>
    protected override LinuxSyscallRecord Record(SyscallEntry entry) => new(entry.Number, entry.Name, Hex(entry.Target), entry.Symbol, entry.IsInKernelText);

    /// <inheritdoc/>
    protected override string[] Cells(SyscallEntry entry) => [$"{entry.Number}", Hex(entry.Target), entry.IsInKernelText ? "-" : "ODD", entry.Symbol];
}
