using System.Diagnostics;
using Hyperscope.Kvmi;
using Hyperscope.Vm;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>What watching costs the guest. Measures only: <c>-explicit only -class ...EventCost</c>.</summary>
[Collection(EventGuestTests.Name)]
public sealed class EventCost(EventGuest live)
{
    private const int Blocks = 4000; // two system calls each

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact(Explicit = true)]
    public async Task Of_system_calls()
    {
        await TimeAsync("warm-up");
        await TimeAsync("unwatched");
        Gva entry = live.Linux.Symbols.AddressOf("do_syscall_64");
        Gpa gpa = live.Linux.Layout.PhysicalOf(entry)!.Value;

        // The page of the entry is watched where nothing is executed: in front of the function.
        await live.Vm.EnableAsync(EventId.Access, Cancel);
        long events = 0;
        using (live.Vm.On<AccessEvent>(access =>
        {
            events++;
            access.Continue();
        }))
        {
            var idle = new Gpa(gpa.Value - 1);
            await live.Vm.SetWatchAsync(idle, 1, PageAccess.Execute, Cancel);
            await TimeAsync("a watch on the same page that is never hit", () => events);
            await live.Vm.SetWatchAsync(idle, 1, PageAccess.None, Cancel);
            await live.Vm.SetWatchAsync(gpa, 1, PageAccess.Execute, Cancel);
            await TimeAsync("a watch on do_syscall_64, answered at once", () => events);
            await live.Vm.SetWatchAsync(gpa, 1, PageAccess.None, Cancel);
        }

        await live.Vm.DisableAsync(EventId.Access, Cancel);
        foreach ((string text, GuestEventOptions options) in new[]
        {
            ("all system calls of another name", Calls("all") with { Comm = "nobody" }),
            ("all system calls, decoded", Calls("all")),
            ("mkdir only", Calls("mkdir")),
            ("all system calls of another name, by INT3", Calls("all") with { Comm = "nobody", PatchText = true }),
        })
        {
            await using GuestWatch watch = await live.Linux.WatchAsync(options, Cancel);
            await TimeAsync(text, () => watch.Hits);
        }

        await TimeAsync("unwatched");
    }

    private static GuestEventOptions Calls(string names) =>
        new() { Kinds = GuestEventKinds.SyscallEntered, Syscalls = [names], Capacity = 1 << 20 };

    private async Task TimeAsync(string what, Func<long>? events = null)
    {
        long before = events?.Invoke() ?? 0;
        long started = Stopwatch.GetTimestamp();
        await live.RunAsync($"dd if=/dev/zero of=/dev/null bs=1 count={Blocks} 2>/dev/null");
        double seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        long count = (events?.Invoke() ?? 0) - before;
        await Console.Error.WriteLineAsync(string.Create(
            CultureInfo.InvariantCulture, $"{what}: {seconds:f2} s, {count} events, {count / seconds:f0} a second"));
    }
}
