namespace Hyperscope.Client.Tests;

/// <summary>Counts what the whole process allocates, so nothing else may run beside it.</summary>
[CollectionDefinition(nameof(AllocationTests), DisableParallelization = true)]
[Collection(nameof(AllocationTests))]
public sealed class AllocationTests
{
    [Fact]
    public async Task Commands_allocate_nothing_once_warm()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        Task serving = Task.Factory.StartNew(
            () =>
            {
                byte[] buffer = new byte[64], reply = new byte[64];
                while (hooked.Hypervisor.Socket.Receive(buffer) is > 0)
                {
                    Message.TryReadHeader(buffer, out MessageHeader header);
                    int size = Message.WriteReply(reply, header.MessageId, header.Seq, new GetVersionReply(1, default));
                    hooked.Hypervisor.Socket.Send(reply.AsSpan(0, size));
                }
            },
            Hooked.Cancel,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default);
        for (int i = 0; i < 2000; i++)
            await hooked.Vm.GetVersionAsync(Hooked.Cancel);

        long before = GC.GetTotalAllocatedBytes(precise: true);
        for (int i = 0; i < 2000; i++)
            await hooked.Vm.GetVersionAsync(Hooked.Cancel);
        long each = (GC.GetTotalAllocatedBytes(precise: true) - before) / 2000;

        // A thread pool that grows may allocate a little; a buffer, task or table for each command would show.
        Assert.InRange(each, 0, 10);
        await hooked.Vm.DisposeAsync();
        await serving.WaitAsync(Hooked.Cancel);
    }
}
