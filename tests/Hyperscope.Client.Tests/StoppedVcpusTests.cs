namespace Hyperscope.Client.Tests;

public sealed class StoppedVcpusTests
{
    [Fact]
    public async Task Stopped_vcpus_stand_until_they_are_let_go()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        StoppedVcpus stopped = await StopBothAsync(hooked);
        hooked.Hypervisor.SendEvent(default(PauseVcpuEvent), vcpu: 1, rip: 0x1000);
        hooked.Hypervisor.SendEvent(default(PauseVcpuEvent), vcpu: 0, rip: 0x2000);

        IReadOnlyList<VmEvent<PauseVcpuEvent>> events = await stopped.EventsAsync(Hooked.Cancel);

        Assert.Equal([(0, 0x2000ul), (1, 0x1000ul)], events.Select(static e => ((int)e.Vcpu.Index.Value, e.Registers.Rip)));
        Assert.False(hooked.Hypervisor.HasMessage);
        await stopped.DisposeAsync();
        Assert.Equal([EventAction.Continue, EventAction.Continue], [hooked.Hypervisor.ExpectAnswer().Action, hooked.Hypervisor.ExpectAnswer().Action]);
    }

    [Fact]
    public async Task Vcpu_that_waits_for_another_answer_counts_as_stopped()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        await using StoppedVcpus stopped = await StopBothAsync(hooked);
        Assert.NotNull(stopped); // no PAUSE_VCPU event has come
    }

    [Fact]
    public async Task Refused_pause_lets_go_of_those_that_stand()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        Task<StoppedVcpus> stopping = StoppedVcpus.StopAsync(hooked.Vm, hooked.Vm.Vcpus, Hooked.Cancel);
        hooked.Hypervisor.Reply(hooked.Hypervisor.Expect(MessageId.VcpuPause));
        hooked.Hypervisor.SendEvent(default(PauseVcpuEvent));
        hooked.Hypervisor.Refuse(hooked.Hypervisor.Expect(MessageId.VcpuPause), KvmError.Busy);

        KvmiException refused = await Assert.ThrowsAsync<KvmiException>(() => stopping);

        Assert.Equal(KvmError.Busy, refused.Error);
        Assert.Equal(EventAction.Continue, hooked.Hypervisor.ExpectAnswer().Action);
    }

    [Fact]
    public async Task End_of_the_vm_ends_the_waiting()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        await using StoppedVcpus stopped = await StopBothAsync(hooked);
        hooked.Hypervisor.SendEvent(default(PauseVcpuEvent), vcpu: 1);
        hooked.Hypervisor.Dispose();

        Assert.InRange((await stopped.EventsAsync(Hooked.Cancel)).Count, 0, 1);
    }

    [Fact]
    public async Task To_stop_none_takes_no_events()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        using IDisposable taken = hooked.Vm.On<PauseVcpuEvent>(static e => e.Continue());
        await using StoppedVcpus stopped = await StoppedVcpus.StopAsync(hooked.Vm, [], Hooked.Cancel);
        Assert.Empty(await stopped.EventsAsync(Hooked.Cancel));
    }

    private static async Task<StoppedVcpus> StopBothAsync(Hooked hooked)
    {
        Task<StoppedVcpus> stopping = StoppedVcpus.StopAsync(hooked.Vm, hooked.Vm.Vcpus, Hooked.Cancel);
        for (int i = 0; i < 2; i++)
            hooked.Hypervisor.Reply(hooked.Hypervisor.Expect(MessageId.VcpuPause));
        return await stopping;
    }
}
