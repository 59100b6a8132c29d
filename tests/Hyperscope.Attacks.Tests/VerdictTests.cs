using Hyperscope.Client;
using Hyperscope.Guard;
using Hyperscope.GuestLinux;
using Hyperscope.Kvmi;
using Hyperscope.Vm;

namespace Hyperscope.Attacks.Tests;

/// <summary>What verdicts do to a guest, with one rule each; and what a server without extensions makes of them.</summary>
public sealed class VerdictTests(LabGuest lab)
{
    private readonly List<Violation> _seen = [];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("allow", true, 0)]
    [InlineData("log", true, 1)]
    [InlineData("discard", false, 1)]
    [InlineData("exception", false, 1)]
    public async Task Verdict_holds(string verdict, bool succeeds, int least)
    {
        string line = await StrikeAsync($"rules: [{{kind: kernel-text, verdict: {verdict}}}]", "kernel-text", new GuardOptions());
        LabAttack attack = AttackLab.Find("kernel-text");
        Assert.StartsWith(succeeds ? attack.SuccessLine : attack.BlockedLine, line, StringComparison.Ordinal);
        Assert.True(_seen.Count >= least && (least != 0 || _seen.Count == 0), $"{_seen.Count} violations");
        Assert.All(_seen, violation => Assert.Equal(verdict, violation.Verdict.ToText()));
    }

    [Fact]
    public async Task Paused_vcpu_waits_for_the_inspector_and_memory_can_be_saved_before()
    {
        var order = new List<string>();
        var options = new GuardOptions
        {
            BeforeVerdict = async (vm, violation, cancellation) =>
            {
                byte[] page = await vm.ReadPhysicalAsync(new Gpa(Convert.ToUInt64(violation.Gpa, 16)), 8, cancellation);
                order.Add($"saved {Convert.ToHexStringLower(page)}");
            },
            Inspect = (violation, _) =>
            {
                order.Add("inspected");
                return new ValueTask<Verdict>(Verdict.Discard);
            },
        };
        string line = await StrikeAsync("rules: [{kind: kernel-text, verdict: pause}]", "kernel-text", options);
        Assert.StartsWith(AttackLab.Find("kernel-text").BlockedLine, line, StringComparison.Ordinal);
        Assert.Equal([$"saved {_seen[0].Before}", "inspected"], order);
        Assert.Equal(["", "discarded"], _seen.Select(static violation => violation.Outcome));
    }

    [Fact]
    public async Task The_kernels_own_patching_goes_through_and_is_logged_as_such()
    {
        await using ArmedTool armed = await ArmAsync("rules: [{kind: kernel-text, verdict: crash, patching: log}]", new GuardOptions());
        string[] lines = await lab.RunAsync("for i in 1 0; do echo $i >/proc/sys/kernel/sched_schedstats && echo flipped; done");
        Assert.Equal(["flipped", "flipped"], lines);
        Assert.NotEmpty(_seen);
        Assert.All(_seen, static violation => Assert.Equal(("the kernel patches itself", "went through"), (violation.Note, violation.Outcome)));
    }

    [Theory]
    [InlineData("kernel-text")]
    [InlineData("modprobe-path")]
    [InlineData("idt-gate")]
    [InlineData("idt-base")]
    [InlineData("cr0-wp")]
    [InlineData("lstar")]
    public async Task Server_without_extensions_stops_it_too(string name)
    {
        const string Policy = "rules: [{kind: kernel-text}, {kind: idt}, {kind: control-registers}, {kind: entry-points}, "
            + "{kind: bytes, symbol: modprobe_path, length: 256}]";
        string line = await StrikeAsync(Policy, name, new GuardOptions { OnlyV9 = true });
        Assert.StartsWith(AttackLab.Find(name).BlockedLine, line, StringComparison.Ordinal);
        Assert.NotEmpty(_seen);
    }

    [Fact]
    public async Task Redirect_goes_on_elsewhere_and_crash_ends_the_vm()
    {
        // Nothing is left of this guest for others. To be sent to do_exit ends the task that tried it, in the middle of its system call.
        await using var own = new LabGuest();
        LabAttack attack = AttackLab.Find("kernel-text");
        await using (await ArmAsync("rules: [{kind: kernel-text, verdict: redirect, target: do_exit}]", new GuardOptions(), own))
        {
            string[] lines = await own.RunAsync($"{attack.CommandLine}; echo status $?; /bin/busybox true && echo alive");
            Assert.Equal("redirected", Assert.Single(_seen).Outcome);
            Assert.DoesNotContain(lines, line => line.StartsWith("attack ", StringComparison.Ordinal));
            Assert.DoesNotContain("status 0", lines);
            Assert.Contains("alive", lines);
            Assert.Empty(await own.ComplaintsAsync());
        }

        _seen.Clear();
        await using (await ArmAsync("rules: [{kind: kernel-text, verdict: crash}]", new GuardOptions(), own))
        {
            VmExit exit = await own.RunToTheEndAsync(attack.CommandLine);
            Assert.Equal(VmExitKind.Terminated, exit.Kind);
            Assert.Equal("VM ended", Assert.Single(_seen).Outcome);
        }
    }

    [Theory]
    [InlineData(LabFiles.WriterOfItself)]
    [InlineData(LabFiles.UnpackerOfMuch)]
    public async Task What_a_program_wrote_it_does_not_execute_however_it_was_written(string program)
    {
        await lab.RunAsync("echo never >/sys/kernel/mm/transparent_hugepage/enabled");
        Assert.Equal("status 42", (await lab.RunAsync($"{program}; echo status $?"))[^1]);
        await using ArmedTool armed = await ArmAsync($"rules: [{{kind: w-xor-x, images: [{program}]}}]", new GuardOptions());
        Assert.Equal("status 139", (await lab.RunAsync($"{program}; echo status $?"))[^1]);
        Assert.NotEmpty(_seen);
        Assert.Equal((0, ""), (armed.Guard.Statistics.Unfollowed, armed.Guard.Statistics.LastFailure));
    }

    [Theory]
    [InlineData("images: [/patient/*]", LabFiles.PatientUnpacker)] // it runs already
    [InlineData("processes: [attack]", LabFiles.PatientUnpacker)]
    [InlineData("processes: [sleeper]", LabFiles.WriterOfItself)] // a process executes it that was another program
    public async Task Process_that_runs_when_the_guard_arms_is_guarded(string selection, string program)
    {
        // The shell's job waits for a line on its input, and then is the program, or lets the program have the line.
        string job = program == LabFiles.PatientUnpacker ? $"exec {program}" : $"echo -n sleeper >/proc/self/comm; read line; exec {program}";
        string start = $"rm -f /tmp/go; mkfifo /tmp/go; ({job}) </tmp/go >/tmp/said 2>&1 & pid=$!; exec 9>/tmp/go; "
            + "until grep -qE '^(0|7) ' /proc/$pid/syscall && grep -qE '^(attack|sleeper)' /proc/$pid/comm; do :; done";
        const string Finish = "echo >&9; exec 9>&-; wait $pid; echo status $?";
        Assert.Equal("status 42", (await lab.RunAsync($"{start}; {Finish}"))[^1]);
        await lab.RunAsync(start);
        await using ArmedTool armed = await ArmAsync($"rules: [{{kind: w-xor-x, {selection}}}]", new GuardOptions());
        Assert.Empty(armed.Guard.Arming!.Notes);
        Assert.Equal("status 139", (await lab.RunAsync(Finish))[^1]);
        Assert.NotEmpty(_seen);
        Assert.Equal((0, ""), (armed.Guard.Statistics.Unfollowed, armed.Guard.Statistics.LastFailure));
    }

    [Fact]
    public async Task Process_that_is_not_there_is_noted_and_no_other_is_guarded()
    {
        await using ArmedTool armed = await ArmAsync("rules: [{kind: w-xor-x, processes: [no-such, 4194303]}]", new GuardOptions());
        Assert.Equal(
            ["rule w-xor-x: there is no process 4194303", "rule w-xor-x: there is no process no-such"],
            armed.Guard.Arming!.Notes.Order(StringComparer.Ordinal));
        Assert.Equal("status 42", (await lab.RunAsync($"cd {Path.GetDirectoryName(LabFiles.WriterOfItself)}; ./attack; echo status $?; cd /"))[^1]);
        Assert.Empty(_seen);
    }

    [Fact]
    public async Task What_a_rule_could_not_follow_is_counted()
    {
        // A byte on each page leaves no room for another watch.
        await using ArmedTool armed = await ArmAsync("rules: [{kind: credentials}]", new GuardOptions());
        await Assert.ThrowsAsync<KvmiException>(async () =>
        {
            for (ulong gpa = 1 << 20; ; gpa += 1 << 20)
            {
                var entries = Enumerable.Range(0, 256).Select(page => new WatchEntry(new Gpa(gpa + ((ulong)page * 4096) + 4095), 1, PageAccess.Execute));
                await armed.Vm.SetWatchesAsync(entries.ToArray(), 0, Cancel);
            }
        });
        Assert.Equal((0, ""), (armed.Guard.Statistics.Unfollowed, armed.Guard.Statistics.LastFailure));
        await lab.RunAsync($"{LabFiles.ThreadedProgram} & pid=$!; until grep -q '^34 ' /proc/$pid/syscall; do :; done; kill -9 $pid; wait $pid");
        Assert.NotEqual(0, armed.Guard.Statistics.Unfollowed);
        Assert.Contains("rule credentials: ", armed.Guard.Statistics.LastFailure, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Crash_by_what_a_check_finds_ends_the_vm()
    {
        await using var own = new LabGuest();
        await own.RunAsync("/attacks/attack -k hidden-process");
        await using ArmedTool armed = await ArmAsync("rules: [{kind: hidden-process, verdict: crash}]", new GuardOptions(), own);
        await armed.Guard.CheckAsync(Cancel);
        Assert.Equal(VmExitKind.Terminated, (await own.RunToTheEndAsync("")).Kind);
        Assert.Equal("VM ended", Assert.Single(_seen).Outcome);
    }

    [Fact]
    public async Task Rule_that_leads_to_what_the_kernel_has_not_is_noted_and_leaves_the_others()
    {
        const string Policy = "rules: [{kind: syscall-table}, {kind: kernel-text, verdict: redirect, target: no_such_function}]";
        await using ArmedTool armed = await ArmAsync(Policy, new GuardOptions());
        Assert.Contains("no_such_function", Assert.Single(armed.Arming.Notes), StringComparison.Ordinal);
        Assert.StartsWith(AttackLab.Find("syscall-table").BlockedLine, await lab.StrikeAsync(AttackLab.Find("syscall-table")), StringComparison.Ordinal);
        await armed.Guard.DisposeAsync(); // and once more when it goes out of scope
        Assert.StartsWith(AttackLab.Find("syscall-table").SuccessLine, await lab.StrikeAsync(AttackLab.Find("syscall-table")), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Credentials_that_threads_share_are_guarded_as_long_as_one_of_them_lives()
    {
        await using ArmedTool armed = await ArmAsync("rules: [{kind: credentials}]", new GuardOptions());
        Assert.StartsWith(AttackLab.Find("credentials").BlockedLine, await lab.StrikeAsync(AttackLab.Find("credentials")), StringComparison.Ordinal); // loads the module
        _seen.Clear();

        // The program waits, its thread is gone, and the kernel has let go of it.
        string[] lines = await lab.RunAsync(
            $"{LabFiles.ThreadedProgram} & pid=$!; until grep -q '^34 ' /proc/$pid/syscall && [ $(ls /proc/$pid/task | wc -l) = 1 ]; do :; done; sleep 1; "
            + "printf \"credentials $pid\" >/proc/attack; grep ^Uid: /proc/$pid/status; printf 'undo credentials' >/proc/attack; kill -9 $pid; wait $pid");
        Assert.Contains("Uid:\t1000\t1000\t1000\t1000", lines);
        Assert.NotEmpty(_seen);
        Assert.All(_seen, static violation => Assert.Equal("discarded", violation.Outcome));
    }

    [Fact]
    public async Task Core_holds_the_guest_as_it_was_before_the_verdict_and_is_written_once()
    {
        string path = Path.Combine(Path.GetTempPath(), $"hyperscope-{Guid.NewGuid():n}.core");
        try
        {
            LabAttack attack = AttackLab.Find("kernel-text");
            await using ArmedTool armed = await ArmAsync($"rules: [{{kind: kernel-text, verdict: log, core: {path}}}]", new GuardOptions());
            Assert.StartsWith(attack.SuccessLine, await lab.StrikeAsync(attack), StringComparison.Ordinal);
            Assert.Equal(path, _seen[0].Core);
            Assert.All(_seen.Skip(1), static violation => Assert.Null(violation.Core));
            Assert.False(File.Exists($"{path}.part"));

            await using FileStream core = File.OpenRead(path);
            ulong gpa = Convert.ToUInt64(_seen[0].Gpa, 16);
            Assert.Equal(_seen[0].Before, Convert.ToHexStringLower(CoreBytes(core, gpa, _seen[0].Before!.Length / 2)));
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public async Task Core_that_cannot_be_written_is_said_and_the_verdict_holds()
    {
        string line = await StrikeAsync("rules: [{kind: kernel-text, core: /no/such/folder/x}]", "kernel-text", new GuardOptions());
        Assert.StartsWith(AttackLab.Find("kernel-text").BlockedLine, line, StringComparison.Ordinal);
        Assert.Contains("no core: ", _seen[0].Note, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Guard_and_watch_work_side_by_side_on_one_connection()
    {
        LabAttack attack = AttackLab.Find("credentials");
        await using ArmedTool armed = await ArmAsync("rules: [{kind: credentials}, {kind: w-xor-x, images: [/attacks/*]}]", new GuardOptions());
        GuestWatch watch = await armed.Guard.Guest.WatchAsync(
            new GuestEventOptions { Kinds = GuestEventKinds.Created | GuestEventKinds.Executed }, Cancel); // two of the guard's own places
        await using (watch)
            Assert.StartsWith(attack.BlockedLine, await lab.StrikeAsync(attack), StringComparison.Ordinal);
        Assert.NotEmpty(_seen);
        List<GuestEvent> events = await watch.ToListAsync(Cancel);
        Assert.Contains(events, static happened => happened is ProgramExecuted { Path: "/attacks/attack" });
        Assert.Contains(events, static happened => happened is TaskCreated);

        _seen.Clear();
        Assert.StartsWith(attack.BlockedLine, await lab.StrikeAsync(attack), StringComparison.Ordinal);
        Assert.NotEmpty(_seen);
    }

    [Fact]
    public async Task Neighbours_of_watched_bytes_cost_no_round_trip()
    {
        const string Policy = "rules: [{kind: idt}, {kind: gdt}, {kind: syscall-table}, {kind: bytes, symbol: modprobe_path, length: 256}]";
        const string Work = "for i in 1 2 3 4 5 6 7 8; do echo $i | /bin/busybox cat >/tmp/f; done; rm /tmp/f";
        long passed, events;
        await using (ArmedTool armed = await ArmAsync(Policy, new GuardOptions()))
        {
            long before = (long)(await armed.Vm.GetWatchInfoAsync(Cancel)).Passed;
            await lab.RunAsync(Work);
            passed = (long)(await armed.Vm.GetWatchInfoAsync(Cancel)).Passed - before;
            events = armed.Guard.Statistics.Events;
        }

        await using ArmedTool pages = await ArmAsync(Policy, new GuardOptions { OnlyV9 = true });
        await lab.RunAsync(Work);
        TestContext.Current.TestOutputHelper?.WriteLine($"eight pipes: {events} events of watched bytes, {passed} writes beside them passed inside the VM; "
            + $"{pages.Guard.Statistics.Events} events of pages without watches");
        Assert.Equal(0, events);
        Assert.InRange(passed, 1, long.MaxValue);
        Assert.InRange(pages.Guard.Statistics.Events, 8, long.MaxValue);
        Assert.Empty(_seen);
    }

    // What a core has at a guest-physical address, by its program headers.
    private static byte[] CoreBytes(FileStream core, ulong gpa, int length)
    {
        byte[] header = new byte[64], segment = new byte[56], bytes = new byte[length];
        core.ReadExactly(header);
        Assert.Equal("\u007fELF"u8.ToArray(), header[..4]);
        int count = BitConverter.ToUInt16(header, 56);
        for (int i = 0; i < count; i++)
        {
            core.Position = BitConverter.ToInt64(header, 32) + (i * segment.Length);
            core.ReadExactly(segment);
            ulong distance = gpa - BitConverter.ToUInt64(segment, 24);
            if (BitConverter.ToUInt32(segment) != 1 || distance >= BitConverter.ToUInt64(segment, 32))
                continue;
            core.Position = BitConverter.ToInt64(segment, 8) + (long)distance;
            core.ReadExactly(bytes);
            return bytes;
        }

        Assert.Fail($"no segment of the core has gpa 0x{gpa:x}");
        return [];
    }

    private async Task<string> StrikeAsync(string policy, string name, GuardOptions options)
    {
        await using ArmedTool armed = await ArmAsync(policy, options);
        return await lab.StrikeAsync(AttackLab.Find(name));
    }

    private Task<ArmedTool> ArmAsync(string policy, GuardOptions options, LabGuest? other = null) =>
        ArmedTool.ArmAsync(other ?? lab, GuardPolicy.Parse(policy), options with { Report = _seen.Add }, Cancel);
}
