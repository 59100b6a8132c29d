using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux ps</c>.</summary>
internal sealed class LinuxPsCommand : LinuxListCommand<LinuxProcess, LinuxProcessRecord>
{
    private readonly Option<int?> _threads = new("--threads") { Description = "Show the threads of this process instead", HelpName = "pid" };

    /// <summary>Adds its options.</summary>
    public LinuxPsCommand()
        : base(
            "ps",
            "List the processes of a Linux guest, hidden ones included.",
            "PID PPID UID EUID S THREADS START NOTE NAME",
            LinuxJson.Default.LinuxListRecordLinuxProcessRecord,
            new("hyperscope linux ps --kvmi unix:/run/vm.sock", "Who runs there?"),
            new("hyperscope linux ps --kvmi unix:/run/vm.sock --json", "With namespaces, capabilities and addresses, for a program"))
    {
        Options.Add(_threads);
    }

    /// <inheritdoc/>
    protected override async Task<IReadOnlyList<LinuxProcess>> ReadAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation) =>
        parsed.GetValue(_threads) is { } pid
            ? await guest.ThreadsAsync(await ProcessAsync(guest, pid, cancellation).ConfigureAwait(false), cancellation).ConfigureAwait(false)
            : await guest.ProcessesAsync(cancellation).ConfigureAwait(false);

    /// <inheritdoc/>
    protected override string[] Cells(LinuxProcess process) =>
    [
        $"{process.Pid}", $"{process.ParentPid}", $"{process.Credentials.Uid}", $"{process.Credentials.EffectiveUid}", $"{process.State}",
        $"{process.Threads}", string.Create(CultureInfo.InvariantCulture, $"{process.StartTime.TotalSeconds:f1}"),
        process.Found switch { FoundIn.Index => "HIDDEN:no-task-list", FoundIn.List => "HIDDEN:no-pid", _ => "-" },
        process.IsKernelThread ? $"[{process.Comm}]" : process.Comm,
    ];

    /// <inheritdoc/>
    protected override LinuxProcessRecord Record(LinuxProcess process) => new(
        process.Pid, process.Tgid, process.ParentPid, process.Credentials.Uid, process.Credentials.EffectiveUid, process.Credentials.Gid,
        process.Credentials.EffectiveGid, $"0x{process.Credentials.Capabilities:x}", $"{process.State}", process.Threads, process.IsKernelThread, process.Comm,
        Hex(process.Task), Hex(process.Mm), process.StartTime.TotalSeconds,
        new Dictionary<string, uint>
        {
            ["mnt"] = process.Namespaces.Mount,
            ["pid"] = process.Namespaces.Pid,
            ["net"] = process.Namespaces.Net,
            ["uts"] = process.Namespaces.Uts,
            ["ipc"] = process.Namespaces.Ipc,
            ["user"] = process.Namespaces.User,
            ["cgroup"] = process.Namespaces.Cgroup,
        },
        process.IsHidden, $"{process.Found}");
}
