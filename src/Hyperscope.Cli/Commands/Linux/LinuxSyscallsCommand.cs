using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux syscalls</c>.</summary>
internal sealed class LinuxSyscallsCommand : LinuxCommand
{
    private readonly Option<bool> _odd = new("--odd") { Description = "Show only entries that do not lead to a function of the kernel" };

    /// <summary>Adds its options.</summary>
    public LinuxSyscallsCommand()
        : base(
            "syscalls",
            "Show where the entries of the system call table lead.",
            new("hyperscope linux syscalls --kvmi unix:/run/vm.sock", "All of them"),
            new("hyperscope linux syscalls --kvmi unix:/run/vm.sock --odd", "Has somebody hooked one?"))
    {
        Options.Add(_odd);
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation)
    {
        IReadOnlyList<SyscallEntry> entries = await guest.SyscallsAsync(cancellation).ConfigureAwait(false);
        if (parsed.GetValue(_odd))
            entries = [.. entries.Where(static entry => !entry.IsInKernelText)];
        return Write(
            parsed, entries,
            static entry => new LinuxSyscallRecord(entry.Number, entry.Name, Hex(entry.Target), entry.Symbol, entry.IsInKernelText),
            LinuxJson.Default.LinuxListRecordLinuxSyscallRecord, "NUMBER TARGET NOTE SYMBOL",
            static entry => [$"{entry.Number}", Hex(entry.Target), entry.IsInKernelText ? "-" : "ODD", entry.Symbol]);
    }
}
