using System.CommandLine.Parsing;
using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux events</c>.</summary>
internal sealed class LinuxEventsCommand : LinuxCommand
{
    private readonly Option<bool> _process = new("--process") { Description = "Processes and threads that are created or exit" };

    private readonly Option<bool> _exec = new("--exec") { Description = "Programs that are executed, with their arguments" };

    private readonly Option<string[]> _syscalls = new("--syscall")
    {
        Description = "System calls by name or number, or all: openat,execve,42",
        HelpName = "list",
        CustomParser = static result => Texts(result),
    };

    private readonly Option<bool> _module = new("--module") { Description = "Modules that are loaded or unloaded" };

    private readonly Option<string[]> _open = new("--open")
    {
        Description = "Files that are opened and whose path starts so: /etc/,/root/",
        HelpName = "list",
        CustomParser = static result => Texts(result),
    };

    private readonly Option<int?> _pid = new("--pid")
    {
        Description = "Only what this process or thread does",
        HelpName = "pid",
        CustomParser = static result => Values.Count(result),
    };

    private readonly Option<string?> _name = new("--name") { Description = "Only what tasks of this name do", HelpName = "name" };

    private readonly Option<int?> _count = new("--count")
    {
        Description = "Leave after this many events",
        HelpName = "n",
        CustomParser = static result => Values.Count(result),
    };

    private readonly Option<bool> _patch = new("--patch")
    {
        Description = "Use INT3 in the guest's text, which it cannot read, even where the VM can watch instructions",
    };

    /// <summary>Adds its options.</summary>
    public LinuxEventsCommand()
        : base(
            "events",
            "Print what happens in a Linux guest: processes, programs and modules unless told otherwise. Until Ctrl-C.",
            new("hyperscope linux events --kvmi unix:/run/vm.sock", "Who starts what?"),
            new("hyperscope linux events --kvmi unix:/run/vm.sock --syscall mount,ptrace --open /etc/shadow", "System calls and files"),
            new("hyperscope linux events --kvmi unix:/run/vm.sock --syscall all --name sshd --json", "Everything a daemon does, for a program"))
    {
        Options.Add(_process);
        Options.Add(_exec);
        Options.Add(_syscalls);
        Options.Add(_module);
        Options.Add(_open);
        Options.Add(_pid);
        Options.Add(_name);
        Options.Add(_count);
        Options.Add(_patch);
    }

    /// <inheritdoc/>
    protected override bool RunsUntilInterrupted => true;

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation)
    {
        await using GuestWatch watch = await StartAsync(guest, parsed, cancellation).ConfigureAwait(false);
        await Console.Error.WriteLineAsync($"watching {string.Join(", ", watch.Functions)} by {watch.Mechanism}; Ctrl-C ends").ConfigureAwait(false);
        try
        {
            await PrintAsync(watch, parsed, cancellation).ConfigureAwait(false);
        }
        finally
        {
            if (watch.Dropped + watch.Undecoded + watch.Gaps != 0)
            {
                await Console.Error.WriteLineAsync(
                    $"hyperscope: not all of it: {watch.Dropped} dropped, {watch.Undecoded} not decoded ({watch.LastFailure}), {watch.Gaps} gaps")
                    .ConfigureAwait(false);
            }
        }

        return ExitCode.Done;
    }

    private static string[] Texts(ArgumentResult result) =>
        [.. result.Tokens.SelectMany(static token => token.Value.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))];

    private async Task<GuestWatch> StartAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation)
    {
        string[] syscalls = parsed.GetValue(_syscalls) ?? [], prefixes = parsed.GetValue(_open) ?? [];
        GuestEventKinds kinds = (parsed.GetValue(_process) ? GuestEventKinds.Created | GuestEventKinds.Exited : 0)
            | (parsed.GetValue(_exec) ? GuestEventKinds.Executed : 0)
            | (parsed.GetValue(_module) ? GuestEventKinds.ModuleLoaded | GuestEventKinds.ModuleUnloaded : 0)
            | (syscalls.Length != 0 ? GuestEventKinds.SyscallEntered : 0) | (prefixes.Length != 0 ? GuestEventKinds.FileOpened : 0);
        var options = new GuestEventOptions
        {
            Syscalls = syscalls,
            OpenPrefixes = prefixes,
            Pid = parsed.GetValue(_pid),
            Comm = parsed.GetValue(_name),
            PatchText = parsed.GetValue(_patch),
        };
        return await guest.WatchAsync(kinds == GuestEventKinds.None ? options : options with { Kinds = kinds }, cancellation).ConfigureAwait(false);
    }

    private async Task PrintAsync(GuestWatch watch, ParseResult parsed, CancellationToken cancellation)
    {
        int? limit = parsed.GetValue(_count);
        int count = 0;
        await foreach (GuestEvent seen in watch.WithCancellation(cancellation).ConfigureAwait(false))
        {
            if (IsJson(parsed))
                Console.WriteJson(LinuxEventRecord.Of(seen), LinuxEventJson.Default.LinuxEventRecord);
            else
                await Console.Out.WriteLineAsync(Line(seen)).ConfigureAwait(false);
            if (++count == limit)
                break;
        }
    }

    // The columns before the summary take 46 of a terminal's 80.
    private static string Line(GuestEvent seen) => string.Create(
        CultureInfo.InvariantCulture,
        $"{seen.Origin.Time.ToLocalTime():HH:mm:ss.fff} {seen.Origin.Vcpu.Value,2} {seen.Origin.By.Pid,6} {seen.Origin.By.Comm,-15} "
        + $"{LinuxEventRecord.NameOf(seen.Kind),-7} {seen.Summary}");
}
