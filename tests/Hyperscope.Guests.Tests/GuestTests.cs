using Hyperscope.Machine;
using Hyperscope.Vm;

namespace Hyperscope.Guests.Tests;

public sealed class GuestTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    [Fact]
    public async Task Demo_guest_without_a_guard_succeeds_with_all_three_attacks()
    {
        GuestProgram program = DemoGuest.Build();
        await using var vm = new VirtualMachine(new VirtualMachineOptions { MemoryBytes = program.MinimumMemory });
        vm.Load(program.Pieces, program.InitialState);
        vm.Start();
        VmExit exit = await vm.Completion.WaitAsync(Patience, TestContext.Current.CancellationToken);
        Assert.Equal(new VmExit(VmExitKind.GuestExit, (3 << 1) | 1, exit.Reason), exit);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(SelftestGuest.MaxVcpus)]
    public async Task Selftest_guest_ends_with_the_status_it_is_told(int vcpus)
    {
        GuestProgram program = SelftestGuest.Build(vcpus);
        await using var vm = new VirtualMachine(new VirtualMachineOptions { MemoryBytes = program.MinimumMemory, VcpuCount = vcpus });
        vm.Load(program.Pieces, program.InitialState);
        Gpa last = SelftestGuest.Mailboxes + (ulong)((vcpus - 1) * SelftestGuest.MailboxStride);
        Assert.True(vm.Memory.TryWrite(last + SelftestGuest.Mailbox.Argument0, BitConverter.GetBytes(21UL)));
        Assert.True(vm.Memory.TryWrite(last + SelftestGuest.Mailbox.Action, BitConverter.GetBytes((ulong)SelftestAction.Exit)));
        vm.Start();
        VmExit exit = await vm.Completion.WaitAsync(Patience, TestContext.Current.CancellationToken);
        Assert.Equal((VmExitKind.GuestExit, (21 << 1) | 1), (exit.Kind, exit.Code));
    }

    [Fact]
    public void Demo_regions_do_not_overlap()
    {
        ulong[] frames = [.. DemoGuest.Regions.SelectMany(static region =>
            Enumerable.Range(0, region.Pages).Select(page => region.Start.Frame.Value + (ulong)page))];
        Assert.Equal(frames.Length, frames.Distinct().Count());
    }
}
