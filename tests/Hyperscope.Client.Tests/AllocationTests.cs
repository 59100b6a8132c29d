namespace Hyperscope.Client.Tests;

/// <summary>Counts what the whole process allocates, so nothing else may run beside it.</summary>
[CollectionDefinition(nameof(AllocationTests), DisableParallelization = true)]
[Collection(nameof(AllocationTests))]
public sealed class AllocationTests(ITestOutputHelper output)
{
    private const int Commands = 2000;

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
        await SendAsync(hooked.Vm);

        // What a command allocates is there in every round; what the rest of the process allocates now and then (a thread pool that grows, code
        // that is compiled again) is not.
        long least = long.MaxValue;
        for (int round = 0; round < 10; round++)
        {
            long before = GC.GetTotalAllocatedBytes(precise: true);
            await SendAsync(hooked.Vm);
            least = Math.Min(least, GC.GetTotalAllocatedBytes(precise: true) - before);
        }
        output.WriteLine($"{least} bytes for {Commands} commands");
        Assert.InRange(least, 0, Commands);
        await hooked.Vm.DisposeAsync();
        await serving.WaitAsync(Hooked.Cancel);
    }

    private static async Task SendAsync(IntrospectedVm vm)
    {
        for (int i = 0; i < Commands; i++)
            await vm.GetVersionAsync(Hooked.Cancel);
    }
}
