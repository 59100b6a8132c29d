using System.Diagnostics;
using System.Text;
using Hyperscope.Guard;
using Hyperscope.GuestLinux;
using Hyperscope.Guests;

namespace Hyperscope.Cli.Running;

/// <summary>The demonstration: Debian boots, its kernel is guarded from another process, and what is in samples/attacks attacks it.</summary>
internal sealed class DebianDemo(CliConsole console, DirectoryInfo attacks, FileInfo policyFile, FileInfo? evidenceFile)
{
    private const string Ready = "/ # ";

    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    private readonly List<Violation> _violations = [];
    private readonly Stopwatch _clock = Stopwatch.StartNew();

    /// <summary>Runs it.</summary>
    public async Task<int> RunAsync(bool isGuarded, CancellationToken cancellation)
    {
        foreach (string name in AttackLab.FileNames)
        {
            if (!File.Exists(Path.Combine(attacks.FullName, name)))
                throw new CliException($"no {name} in {attacks.FullName}; try: eng/build-attacks, or the small guest: --small");
        }

        GuardPolicy policy = Load();
        DirectoryInfo folder = ChildVm.CreateFolder();
        Endpoint endpoint = ChildVm.Socket(folder, "kvmi");
        using ChildVm child = ChildVm.Start(folder, "--boot", "debian", "--memory", "512M", "--add", $"{attacks.FullName}:{AttackLab.GuestFolder}",
            "--append", "console=ttyS0 panic=-1 cryptomgr.notests", "--kvmi-listen", $"{endpoint}");
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(Patience);
        var shell = new GuestShell(child);
        try
        {
            return await console.WithStatusAsync(
                "booting Debian on a software CPU",
                status => RunAsync(shell, endpoint, policy, isGuarded, status, limit.Token)).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            throw new CliException($"the guest did not get through in {Patience.TotalMinutes:F0} minutes; its last words: {shell.LastLine}");
        }
    }

    private GuardPolicy Load()
    {
        try
        {
            return GuardPolicy.Load(policyFile.FullName);
        }
        catch (PolicyException wrong)
        {
            throw new CliException(wrong.Message, ExitCode.BadUsage);
        }
    }

    private async Task<int> RunAsync(
        GuestShell shell, Endpoint endpoint, GuardPolicy policy, bool isGuarded, Action<string> status, CancellationToken cancellation)
    {
        await shell.WaitForAsync(Ready, line => status($"booting: {line}"), cancellation).ConfigureAwait(false);
        Say($"Debian is up after {_clock.Elapsed.TotalSeconds:F0} s, in a VM on a software CPU");
        if (!isGuarded)
            return await AttackAsync(shell, null, status, cancellation).ConfigureAwait(false);

        status("looking for the kernel");
        await using IntrospectedVm vm = await IntrospectedVm.ConnectAsync(endpoint, null, cancellation).ConfigureAwait(false);
        LinuxGuest guest = await LinuxGuest.AttachAsync(vm, cancellation: cancellation).ConfigureAwait(false);
        Say($"found Linux {guest.Release}: {guest.Symbols.Count} symbols, {guest.Btf.Count} types, in {guest.AttachTime.TotalMilliseconds:F0} ms");
        StreamWriter? evidence = evidenceFile?.CreateText();
        await using (evidence)
        {
            var options = new GuardOptions
            {
                VmName = "demo",
                Report = violation =>
                {
                    evidence?.WriteLine(ViolationJson.ToLine(violation));
                    lock (_violations)
                        _violations.Add(violation);
                },
            };
            GuardSession guard = await GuardSession.CreateAsync(vm, guest, policy, options, cancellation).ConfigureAwait(false);
            await using (guard)
            {
                status("arming");
                GuardArming arming = await guard.ArmAsync(cancellation).ConfigureAwait(false);
                Say($"guarding {arming.Pages} pages, {arming.WatchedBytes} bytes and {arming.Registers} registers, "
                    + $"armed in {arming.ArmTime.TotalMilliseconds:F0} ms");
                return await AttackAsync(shell, guard, status, cancellation).ConfigureAwait(false);
            }
        }
    }

    private async Task<int> AttackAsync(GuestShell shell, GuardSession? guard, Action<string> status, CancellationToken cancellation)
    {
        var rows = new List<string[]>();
        int worked = 0, unnoticed = 0;
        foreach (LabAttack attack in AttackLab.All)
        {
            status($"{attack.Name}: {attack.What}");
            Violation[] before = Seen();
            TimeSpan stoodStill = guard?.Statistics.StoodStill ?? default;

            // What is found by comparing has to be there still when it is compared.
            bool stays = guard is not null && attack.CaughtBy == LabRule.HiddenProcess;
            string[] lines = await shell.RunAsync(stays ? attack.LastingCommandLine : attack.CommandLine, cancellation).ConfigureAwait(false);
            if (stays)
            {
                await guard!.CheckAsync(cancellation).ConfigureAwait(false);
                await shell.RunAsync("killall -9 attack 2>/dev/null", cancellation).ConfigureAwait(false);
            }

            bool isSuccess = lines.Any(line => line.StartsWith(attack.SuccessLine, StringComparison.Ordinal));
            Violation[] seen = [.. Seen()[before.Length..].Where(violation => stays || violation.Kind != "hidden-process")];
            worked += isSuccess ? 1 : 0;
            unnoticed += seen.Length == 0 ? 1 : 0;
            string verdict = string.Join(", ", seen.Select(static violation => violation.Verdict.ToText()).Distinct());
            string waited = guard is null ? "" : $"{(guard.Statistics.StoodStill - stoodStill).TotalMilliseconds:F0} ms";
            string outcome = isSuccess ? seen.Length == 0 ? "worked" : "seen" : "stopped";
            Say(Line(isSuccess ? seen.Length == 0 ? '!' : '~' : '+', attack, seen));
            rows.Add([attack.Name, seen.Length == 0 ? "-" : seen[0].Rule, $"{seen.Length}", verdict.Length == 0 ? "-" : verdict, outcome, waited]);
        }

        status("done");
        console.WriteTable(["attack", "rule", "no.", "verdict", "result", "waited"], rows);
        int all = AttackLab.All.Count;
        if (guard is null)
        {
            Say($"{worked} of {all} attacks worked: nobody was watching. {_clock.Elapsed.TotalSeconds:F0} s in all.");
            return ExitCode.Done;
        }

        GuardStatistics statistics = guard.Statistics;
        Say($"{all - worked} of {all} attacks stopped, {all - unnoticed} seen; {statistics.Events} events reached the guard, "
            + $"for which the guest stood still {statistics.StoodStill.TotalMilliseconds:F0} ms; {_clock.Elapsed.TotalSeconds:F0} s in all.");
        return unnoticed == 0 ? ExitCode.Done : ExitCode.Failed;
    }

    // What fits into a line; all of it is in the evidence.
    private static string Line(char mark, LabAttack attack, Violation[] seen)
    {
        string what = seen.Length == 0 ? attack.What : $"{seen[0].Outcome}: {seen[0].What}";
        string line = $"{mark} {attack.Name,-17}{what}";
        return line.Length < CliConsole.DefaultWidth ? line : $"{line[..(CliConsole.DefaultWidth - 4)]}...";
    }

    private Violation[] Seen()
    {
        lock (_violations)
            return [.. _violations];
    }

    private void Say(string line) => console.WriteLine(line);

    /// <summary>The shell on the guest's serial console.</summary>
    private sealed class GuestShell(ChildVm child)
    {
        private readonly char[] _buffer = new char[4096];
        private readonly StringBuilder _text = new();
        private int _commands = 1000;

        /// <summary>What the guest wrote last.</summary>
        public string LastLine => Lines(_text.ToString()).LastOrDefault() ?? "";

        /// <summary>Waits until the guest has written something.</summary>
        /// <returns>What it wrote up to that, which is then forgotten.</returns>
        public async Task<string> WaitForAsync(string wanted, Action<string> progress, CancellationToken cancellation)
        {
            int from = 0;
            while (true)
            {
                string text = _text.ToString();
                int at = text.IndexOf(wanted, from, StringComparison.Ordinal);
                if (at >= 0)
                {
                    _text.Remove(0, at + wanted.Length);
                    return text[..at];
                }

                from = Math.Max(0, text.Length - wanted.Length);
                int read = await child.Serial.ReadAsync(_buffer, cancellation).ConfigureAwait(false);
                if (read == 0)
                    throw new CliException($"the VM ended: {child.Talk.Trim()} {LastLine}");
                _text.Append(_buffer, 0, read);
                progress(LastLine);
            }
        }

        /// <summary>Runs a command.</summary>
        /// <returns>The lines it printed.</returns>
        public async Task<string[]> RunAsync(string command, CancellationToken cancellation)
        {
            // The shell computes the markers, so that the echo of what is typed does not look like them.
            int number = _commands++;
            await child.TypeAsync($"echo \"<$(({number}))\"; {command}; echo \"$(({number}))>\"\r", cancellation).ConfigureAwait(false);
            await WaitForAsync($"<{number}", static _ => { }, cancellation).ConfigureAwait(false);
            return Lines(await WaitForAsync($"{number}>", static _ => { }, cancellation).ConfigureAwait(false));
        }

        private static string[] Lines(string text) => text.Split(['\r', '\n'], StringSplitOptions.RemoveEmptyEntries);
    }
}
