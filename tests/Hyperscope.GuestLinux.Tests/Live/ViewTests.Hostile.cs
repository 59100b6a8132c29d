using Hyperscope.Vm;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>Each view of memory that somebody tampered with: a real guest's, with words of every page replaced.</summary>
public sealed partial class ViewTests
{
    private static readonly TimeSpan ForEver = TimeSpan.FromMinutes(2); // a view takes some milliseconds

    private delegate Task<(int Count, Truncation? Truncation)> View(LinuxGuest guest, LinuxProcess process, CancellationToken cancellation);

    /// <summary>Every method of <see cref="LinuxGuest"/> that reads lists, tables or a stack.</summary>
    public static TheoryData<string> Views => [.. Looks.Keys];

    private static Dictionary<string, View> Looks { get; } = new(StringComparer.Ordinal)
    {
        ["processes"] = static async (guest, _, token) => Of(await guest.ProcessesAsync(token)),
        ["threads"] = static async (guest, process, token) => Of(await guest.ThreadsAsync(process, token)),
        ["maps"] = static async (guest, process, token) => Of(await guest.MapsAsync(process, token)),
        ["files"] = static async (guest, process, token) => Of(await guest.FilesAsync(process, token)),
        ["modules"] = static async (guest, _, token) => Of(await guest.ModulesAsync(token)),
        ["module symbols"] = static async (guest, _, token) => await SymbolsAsync(guest, token),
        ["sockets"] = static async (guest, _, token) => Of(await guest.SocketsAsync(token)),
        ["syscalls"] = static async (guest, _, token) => ((await guest.SyscallsAsync(token)).Count, null),
        ["idt"] = static async (guest, _, token) => ((await guest.IdtAsync(token)).Count, null),
        ["bpf"] = static async (guest, _, token) => Of(await guest.BpfProgramsAsync(token)),
        ["log"] = static async (guest, _, token) => Of(await guest.KernelLogAsync(token)),
        ["stack"] = static async (guest, process, token) => ((await guest.StackAsync(StandingIn(guest, process), 0x10, token)).Frames.Count, null),
    };

    [Theory]
    [MemberData(nameof(Views))]
    public async Task A_view_of_corrupt_memory_ends_without_an_exception(string name)
    {
        if (live.HasModule)
            await live.RunAsync("[ -d /sys/module/dummy ] || insmod /dummy.ko");
        var memory = new CorruptMemory(new VmPhysicalMemory(live.Vm));
        var options = new LinuxGuestOptions { MaxEntries = 2000 };
        LinuxGuest guest = await LinuxGuest.AttachAsync(memory, await VcpuStart.ReadAsync(live.Vm, Cancel), options, Cancel);
        LinuxProcess process = (await guest.ProcessesAsync(Cancel)).First(static process => process.Pid == 1);
        View view = Looks[name];
        Truncation? atFirst = (await view(guest, process, Cancel)).Truncation;
        Assert.True(atFirst is null, $"{atFirst}");
        int seed = Environment.TickCount, truncated = 0, most = 0;
        for (int round = 0; round < 60; round++)
        {
            memory.Corrupt(seed + round, words: 1 << round % 9, guest.Layout.DirectMap, 512 << 20);
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
            limit.CancelAfter(ForEver);
            try
            {
                (int count, Truncation? truncation) = await view(guest, process, limit.Token);
                Assert.InRange(count, 0, 70000);
                truncated += truncation is null ? 0 : 1;
            }
            catch (Exception failure)
            {
                throw new InvalidOperationException($"{name}: seed {seed}, round {round}, {memory.Reads} pages read", failure);
            }

            most = Math.Max(most, memory.Reads);
        }

        TestContext.Current.SendDiagnosticMessage($"{name}: of 60, {truncated} truncated; {most} pages read at most; seed {seed}");
    }

    private static (int, Truncation?) Of<T>(GuestList<T> list) => (list.Count, list.Truncation);

    private static async Task<(int, Truncation?)> SymbolsAsync(LinuxGuest guest, CancellationToken cancellation)
    {
        SymbolMap map = guest.OpenSymbols();
        int count = 0;
        Truncation? truncation = null;
        foreach (LinuxModule module in await map.ModulesAsync(cancellation))
        {
            ModuleSymbols symbols = await map.SymbolsOfAsync(module, cancellation);
            count += symbols.All.Count;
            truncation ??= symbols.Truncation;
            _ = await map.DescribeAsync(module.Base + 0x123, cancellation);
        }

        return (Math.Min(count, 70000), truncation);
    }

    // As if it had just been entered: its stack is that of a task, for want of one that stands still.
    private static KvmRegs StandingIn(LinuxGuest guest, LinuxProcess process) =>
        new() { Rip = guest.Symbols.AddressOf("vfs_open").Value + 16, Rsp = process.Task.Value, Rbp = process.Task.Value + 64 };
}
