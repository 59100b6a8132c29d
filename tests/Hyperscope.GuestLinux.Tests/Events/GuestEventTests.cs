using System.Diagnostics;
using Hyperscope.Vm;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>Events of a booted guest, against what was typed into its shell.</summary>
public abstract class GuestEventTests(EventGuest live, bool patchText)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_program_is_created_executed_and_exits()
    {
        List<GuestEvent> events = await SeenAsync(
            new GuestEventOptions { Kinds = GuestEventKinds.Created | GuestEventKinds.Executed | GuestEventKinds.Exited },
            "/bin/sh -c 'exit 7'");
        ProgramExecuted executed = Assert.Single(events.OfType<ProgramExecuted>());
        Assert.Equal(("/bin/sh", "/bin/sh", "sh"), (executed.Path, executed.Interpreter, executed.Origin.By.Comm));
        Assert.Equal(["/bin/sh", "-c", "exit 7"], executed.Arguments);
        int pid = executed.Origin.By.Pid;
        TaskCreated created = Assert.Single(events.OfType<TaskCreated>(), created => created.Child.Pid == pid);
        Assert.False(created.Child.IsThread);
        TaskExited exited = Assert.Single(events.OfType<TaskExited>(), exited => exited.Origin.By.Pid == pid);
        Assert.Equal((7, 0), (exited.Status, exited.Signal));
        Assert.True(events.IndexOf(created) < events.IndexOf(executed) && events.IndexOf(executed) < events.IndexOf(exited));
    }

    [Fact]
    public async Task A_killed_process_exits_by_its_signal()
    {
        List<GuestEvent> events = await SeenAsync(new GuestEventOptions { Kinds = GuestEventKinds.Exited }, "/bin/sh -c 'kill -9 $$'");
        Assert.Contains(events.OfType<TaskExited>(), static exited => exited is { Status: 0, Signal: 9 });
    }

    [Fact]
    public async Task System_calls_come_with_the_names_types_and_strings_of_their_arguments()
    {
        List<GuestEvent> events = await SeenAsync(
            new GuestEventOptions { Kinds = GuestEventKinds.SyscallEntered, Syscalls = ["mkdir", "rmdir", "84", "kill"] },
            "mkdir -m 750 /tmp-events; rmdir /tmp-events; kill -0 1");
        SyscallEntered made = Assert.Single(events.OfType<SyscallEntered>(), static call => call.Name == "mkdir");
        Assert.Equal(83, made.Number);
        Assert.Equal(("pathname", "const char *", "\"/tmp-events\""), (made.Arguments[0].Name, made.Arguments[0].Type, made.Arguments[0].Text));
        Assert.Equal("umode_t", made.Arguments[1].Type);
        Assert.StartsWith("0", made.Arguments[1].Text, StringComparison.Ordinal);
        SyscallEntered removed = Assert.Single(events.OfType<SyscallEntered>(), static call => call.Name == "rmdir");
        Assert.Equal((84, "rmdir(pathname=\"/tmp-events\")"), (removed.Number, removed.Summary));
        SyscallEntered killed = Assert.Single(events.OfType<SyscallEntered>(), static call => call.Name == "kill");
        Assert.Equal("kill(pid=1, sig=0)", killed.Summary);
    }

    [Fact]
    public async Task System_calls_by_the_door_of_32_bit_programs_are_seen_as_such()
    {
        List<GuestEvent> events = await SeenAsync(
            new GuestEventOptions { Kinds = GuestEventKinds.SyscallEntered, Syscalls = ["mkdir", "getpid"], Comm = "calls32" }, "/calls32; rmdir /tiny32");
        Assert.Equal(["mkdir(pathname=\"/tiny32\", mode=0750) 32-bit", "getpid() 32-bit"], events.Select(static seen => seen.Summary));
        Assert.Equal([39, 20], events.Cast<SyscallEntered>().Select(static call => call.Number));
        events = await SeenAsync(
            new GuestEventOptions { Kinds = GuestEventKinds.SyscallEntered, Syscalls = ["all"], Comm = "calls32" }, "/calls32; rmdir /tiny32");
        Assert.Equal([39, 20, 1], events.Cast<SyscallEntered>().Where(static call => call.Is32Bit).Select(static call => call.Number));
        Assert.DoesNotContain(
            await SeenAsync(new GuestEventOptions { Kinds = GuestEventKinds.SyscallEntered, Syscalls = ["getpid"], Comm = "sh" }, "/bin/sh -c 'echo $$'"),
            static seen => ((SyscallEntered)seen).Is32Bit);
    }

    [Fact]
    public async Task All_system_calls_of_a_process_are_seen_by_its_name()
    {
        List<GuestEvent> events = await SeenAsync(
            new GuestEventOptions { Kinds = GuestEventKinds.SyscallEntered, Syscalls = ["all"], Comm = "rmdir" }, "rmdir /not-there");
        Assert.All(events, static seen => Assert.Equal("rmdir", seen.Origin.By.Comm));
        Assert.Contains(events, static seen => seen.Summary == "rmdir(pathname=\"/not-there\")");
        Assert.Contains(events, static seen => seen.Summary.StartsWith("exit_group(error_code=1", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Opened_files_are_told_by_where_they_really_are()
    {
        List<GuestEvent> events = await SeenAsync(
            new GuestEventOptions { Kinds = GuestEventKinds.FileOpened, OpenPrefixes = ["/events-dir/"] },
            "mkdir -p /events-dir; ln -sf /events-dir /events-link; cd /events-dir; echo 1 >plain; cd /; cat /events-link/plain; echo 2 >>/events-link/../events-dir/plain");
        Assert.Equal(
            ["/events-dir/plain w+create+truncate", "/events-dir/plain r", "/events-dir/plain w+create+append"],
            events.OfType<FileOpened>().Select(static opened => opened.Summary));
    }

    [Fact]
    public async Task Modules_come_and_go()
    {
        Assert.SkipUnless(EventGuest.HasLab, "needs the attack lab; run: eng/build-attacks");
        GuestWatch watch = await live.Linux.WatchAsync(
            Patched(new GuestEventOptions { Kinds = GuestEventKinds.ModuleLoaded | GuestEventKinds.ModuleUnloaded }), Cancel);
        await using (watch)
        {
            await live.LoadModuleAsync();
            LinuxModule module = Assert.Single(await live.Linux.ModulesAsync(Cancel), static module => module.Name == "attack");
            await live.RunAsync("rmmod attack");
            await watch.DisposeAsync();
            List<GuestEvent> events = await AllAsync(watch);
            Assert.Equal(["insmod: attack loaded", "rmmod: attack unloaded"], events.Select(static seen => $"{seen.Origin.By.Comm}: {seen.Summary}"));
            Assert.Equal(module.Address, Assert.IsType<ModuleLoaded>(events[0]).Module);
        }
    }

    [Fact]
    public async Task Nothing_is_lost_on_two_vCPUs_at_once()
    {
        // Each turn opens the file once; both loops run at the same time.
        const string Loop = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); read x </events-busy; done";
        await live.RunAsync("echo 1 >/events-busy");
        List<GuestEvent> events = await SeenAsync(
            new GuestEventOptions { Kinds = GuestEventKinds.FileOpened, OpenPrefixes = ["/events-busy"] }, $"( {Loop} ) & ( {Loop} ) & wait");
        Assert.Equal(80, events.Count);
    }

    [Fact]
    public async Task Only_what_a_process_does_passes_its_filter()
    {
        string shell = (await live.RunAsync("echo $$"))[0];
        int pid = int.Parse(shell, CultureInfo.InvariantCulture);
        List<GuestEvent> events = await SeenAsync(
            new GuestEventOptions { Kinds = GuestEventKinds.Created | GuestEventKinds.Exited, Pid = pid }, "/bin/sh -c '/bin/sh -c true'");
        Assert.All(events, seen => Assert.Equal(pid, seen.Origin.By.Pid));
        Assert.Single(events.OfType<TaskCreated>());
    }

    [Fact]
    public async Task A_reader_that_does_not_read_loses_events_that_are_counted()
    {
        await using GuestWatch watch = await live.Linux.WatchAsync(Patched(new GuestEventOptions { Kinds = GuestEventKinds.Created, Capacity = 1 }), Cancel);
        await live.RunAsync("/bin/true; /bin/true; /bin/true");
        await watch.DisposeAsync();
        Assert.Equal(1, watch.Delivered);
        Assert.InRange(watch.Dropped, 2, 100);
        Assert.Equal(watch.Hits, watch.Delivered + watch.Dropped + watch.Undecoded);
    }

    [Fact]
    public async Task The_guest_reads_its_text_as_it_was_and_the_tool_leaves_it_so()
    {
        // /proc/kcore has the kernel's text at an offset that its program headers tell; dd reads 64 bytes of the watched function.
        Gva function = live.Linux.Symbols.AddressOf("vfs_open");
        string command = await KcoreCommandAsync(function);
        byte[] before = await CodeAsync(function);
        string[] undisturbed = await live.RunAsync(command);
        string[] watched;
        await using (GuestWatch watch = await live.Linux.WatchAsync(
            Patched(new GuestEventOptions { Kinds = GuestEventKinds.FileOpened, OpenPrefixes = ["/"] }), Cancel))
        {
            watched = await live.RunAsync(command);
            Assert.NotEqual(0, watch.Hits);
            Assert.Equal(0, watch.Undecoded);
            if (!patchText)
                Assert.Equal(before, await CodeAsync(function));
        }

        Assert.Equal(Convert.ToHexStringLower(before), Assert.Single(undisturbed));
        Assert.Equal(undisturbed, watched);
        Assert.Equal(before, await CodeAsync(function));
    }

    [Fact]
    public async Task A_watch_that_patches_and_one_that_does_not_exclude_each_other()
    {
        var options = new GuestEventOptions { Kinds = GuestEventKinds.Executed };
        await using (GuestWatch watch = await live.Linux.WatchAsync(Patched(options), Cancel))
        {
            await Assert.ThrowsAsync<InvalidOperationException>(() => live.Linux.WatchAsync(options with { PatchText = !patchText }, Cancel));
            await live.RunAsync("/bin/true");
            Assert.NotEqual(0, watch.Delivered);
        }

        await using GuestWatch other = await live.Linux.WatchAsync(options with { PatchText = !patchText }, Cancel);
        await live.RunAsync("/bin/true");
        Assert.NotEqual(0, other.Delivered);
    }

    [Fact]
    public async Task Watched_text_can_be_read_by_all_vCPUs_at_once()
    {
        // Each read is a step that the other vCPU stands still for, and it has asked for one itself.
        string command = await KcoreCommandAsync(live.Linux.Symbols.AddressOf("vfs_open"));
        string loop = $"i=0; while [ $i -lt 20 ]; do i=$((i+1)); {command.Replace("; echo", "", StringComparison.Ordinal)}; done >/dev/null";
        await using GuestWatch watch = await live.Linux.WatchAsync(
            Patched(new GuestEventOptions { Kinds = GuestEventKinds.FileOpened, OpenPrefixes = ["/proc/kcore"] }), Cancel);
        await live.RunAsync($"( {loop} ) & ( {loop} ) & wait");
        Assert.Equal(40, watch.Delivered);
    }

    [Fact]
    public async Task What_does_not_exist_is_refused_by_name()
    {
        LinuxGuestException refused = await Assert.ThrowsAsync<LinuxGuestException>(
            () => live.Linux.WatchAsync(Patched(new GuestEventOptions { Syscalls = ["no_such_call"] }), Cancel));
        Assert.Contains("no_such_call", refused.Message, StringComparison.Ordinal);
    }

    private protected async Task<List<GuestEvent>> SeenAsync(GuestEventOptions options, string command)
    {
        GuestWatch watch = await live.Linux.WatchAsync(Patched(options), Cancel);
        await using (watch)
            await live.RunAsync(command);
        List<GuestEvent> events = await AllAsync(watch);
        Assert.True(watch.Undecoded == 0, watch.LastFailure);
        Assert.Equal((0L, 0L, (long)events.Count), (watch.Dropped, watch.Gaps, watch.Delivered));
        return events;
    }

    private static async Task<List<GuestEvent>> AllAsync(GuestWatch watch)
    {
        var events = new List<GuestEvent>();
        await foreach (GuestEvent seen in watch.WithCancellation(Cancel))
            events.Add(seen);
        return events;
    }

    private GuestEventOptions Patched(GuestEventOptions options) => options with { PatchText = patchText };

    private async Task<byte[]> CodeAsync(Gva function) =>
        await live.Vm.ReadPhysicalAsync(live.Linux.Layout.PhysicalOf(function)!.Value, 64, Cancel);

    private async Task<string> KcoreCommandAsync(Gva function)
    {
        string[] lines = await live.RunAsync("hexdump -v -n 4096 -e '1/1 \"%02x\"' /proc/kcore; echo");
        byte[] header = Convert.FromHexString(lines[0]);
        int count = BitConverter.ToUInt16(header, 56), at = (int)BitConverter.ToUInt64(header, 32);
        for (int i = 0; i < count; i++, at += 56)
        {
            ulong offset = BitConverter.ToUInt64(header, at + 8), start = BitConverter.ToUInt64(header, at + 16), size = BitConverter.ToUInt64(header, at + 40);
            if (BitConverter.ToUInt32(header, at) == 1 && function.Value - start < size)
                return $"hexdump -v -s {function.Value - start + offset} -n 64 -e '1/1 \"%02x\"' /proc/kcore; echo";
        }

        throw new UnreachableException("/proc/kcore has no kernel text");
    }
}

/// <summary>By watched instructions.</summary>
[Collection(EventGuestTests.Name)]
public sealed class WatchedEventTests(EventGuest live) : GuestEventTests(live, patchText: false)
{
}

/// <summary>By INT3.</summary>
[Collection(EventGuestTests.Name)]
public sealed class PatchedEventTests(EventGuest live) : GuestEventTests(live, patchText: true)
{
}
