using Hyperscope.Vm;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>Process lists that somebody tampered with.</summary>
public sealed class ProcessListTests
{
    private readonly SyntheticGuest _synthetic = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task All_are_listed_with_what_they_are()
    {
        GuestList<LinuxProcess> processes = await ListAsync();
        Assert.Null(processes.Truncation);
        Assert.Equal(Enumerable.Range(1, SyntheticGuest.Pids - 1), processes.Select(static process => process.Pid));
        LinuxProcess one = processes[6];
        Assert.Equal(("task 7", 7, 0, 'S', 1, FoundIn.Both), (one.Comm, one.Tgid, one.ParentPid, one.State, one.Threads, one.Found));
        Assert.Equal(1007u, one.Credentials.Uid);
        Assert.Equal(new Gva(SyntheticGuest.Direct(SyntheticGuest.Task(7))), one.Task);
    }

    [Theory]
    [InlineData(0x0, 'R')]
    [InlineData(0x1, 'S')]
    [InlineData(0x102, 'D')] // killable
    [InlineData(0x402, 'I')]
    [InlineData(0x2402, 'I')] // and freezable, from 6.1
    [InlineData(0x8000, 'D')] // frozen
    [InlineData(0xa402, 'D')]
    [InlineData(0x1000, 'D')] // waits for a lock that sleeps
    [InlineData(0x4, 'T')]
    [InlineData(0x8, 't')]
    [InlineData(0x40, 'P')]
    public async Task A_state_is_what_ps_in_the_guest_calls_it(int state, char letter)
    {
        _synthetic.Memory.Write(SyntheticGuest.Task(7), (ulong)state);
        Assert.Equal(letter, (await ListAsync())[6].State);
    }

    [Fact]
    public async Task One_that_left_the_list_is_hidden()
    {
        Link(4, SyntheticGuest.Direct(SyntheticGuest.Task(6)) + 16);
        LinuxProcess hidden = Assert.Single(await ListAsync(), static process => process.IsHidden);
        Assert.Equal((5, FoundIn.Index), (hidden.Pid, hidden.Found));
    }

    [Fact]
    public async Task One_that_left_the_index_is_hidden()
    {
        _synthetic.Memory.Write(SyntheticGuest.Pid(5) + 16, 0);
        LinuxProcess hidden = Assert.Single(await ListAsync(), static process => process.IsHidden);
        Assert.Equal((5, FoundIn.List), (hidden.Pid, hidden.Found));
    }

    [Fact]
    public async Task A_circle_is_cut_off_and_the_index_knows_the_rest()
    {
        Link(9, SyntheticGuest.Direct(SyntheticGuest.Task(3)) + 16);
        GuestList<LinuxProcess> processes = await ListAsync();
        Assert.Contains("the list of tasks runs in a circle", processes.Truncation!.ToString(), StringComparison.Ordinal);
        Assert.Equal(SyntheticGuest.Pids - 1, processes.Count);
        Assert.Equal(SyntheticGuest.Pids - 1 - 9, processes.Count(static process => process.Found == FoundIn.Index));
    }

    [Theory]
    [InlineData(0UL, "wild pointer 0x0")]
    [InlineData(0x41414141UL, "wild pointer 0x41414141")]
    [InlineData(0xffff888000000001UL, "wild pointer")]
    [InlineData(0xffff898000000000UL, "leads to an address without memory")]
    public async Task A_wild_pointer_is_cut_off(ulong pointer, string reason)
    {
        Link(9, pointer);
        GuestList<LinuxProcess> processes = await ListAsync();
        Assert.Contains(reason, processes.Truncation!.Reason, StringComparison.Ordinal);
        Assert.Equal(SyntheticGuest.Pids - 1, processes.Count(static process => process.Pid is > 0 and < SyntheticGuest.Pids));
    }

    [Fact]
    public async Task A_list_without_end_is_cut_off()
    {
        // Every 32 bytes of two pages hold the link to the next 32.
        for (ulong at = 0; at < 0x8000; at += 32)
            _synthetic.Memory.Write(0x1800000 + at, SyntheticGuest.Direct(0x1800000 + at + 32));
        Link(9, SyntheticGuest.Direct(0x1800000));
        Assert.Contains("more than 500 entries", (await ListAsync()).Truncation!.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_index_whose_levels_do_not_fall_is_cut_off()
    {
        _synthetic.Memory.Bytes[0x1f00100] = 3; // a child of a node of shift 3
        GuestList<LinuxProcess> processes = await ListAsync();
        Assert.Contains("shift 3 below one of shift 3", processes.Truncation!.Reason, StringComparison.Ordinal);
        Assert.Equal(SyntheticGuest.Pids - 1, processes.Count);
    }

    [Fact]
    public async Task An_index_that_leads_to_itself_is_cut_off()
    {
        _synthetic.Memory.Write(0x1f00000 + 16, SyntheticGuest.Direct(0x1f00000) | 2);
        GuestList<LinuxProcess> processes = await ListAsync();
        Assert.Contains("circle", processes.Truncation!.Reason, StringComparison.Ordinal);
        Assert.Equal(SyntheticGuest.Pids - 1, processes.Count);
    }

    [Fact]
    public async Task Few_round_trips_are_enough()
    {
        LinuxGuest guest = await _synthetic.AttachAsync();
        int before = _synthetic.Memory.Reads;
        _ = await guest.ProcessesAsync(Cancel);
        Assert.InRange(_synthetic.Memory.Reads - before, SyntheticGuest.Pids, 2 * SyntheticGuest.Pids); // each task has a page of its own
    }

    private void Link(int pid, ulong next) => _synthetic.Memory.Write(SyntheticGuest.Task(pid) + 16, next);

    private async Task<GuestList<LinuxProcess>> ListAsync() => await (await _synthetic.AttachAsync()).ProcessesAsync(Cancel);
}
