namespace Hyperscope.Client.Tests;

/// <summary>Whatever a hostile VM says, the tool's commands end, its connection ends in an orderly way, and nothing hangs.</summary>
public sealed class FuzzTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public async Task Random_replies_and_events_end_in_a_result_or_a_closed_connection(int seed)
    {
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        for (int round = 0; round < 150; round++)
        {
            await using Hooked hooked = await Hooked.StartAsync();
            hooked.Vm.On<PageFaultEvent>(static e => e.Retry());
            hooked.Vm.OnAsync<CrEvent>(static async e =>
            {
                await Task.Yield();
                e.Block();
            });
            Task[] calls =
            [
                hooked.Vm.GetMaxGfnAsync(Hooked.Cancel).AsTask(),
                hooked.Vm.ReadPhysicalAsync(default, 5000, Hooked.Cancel).AsTask(),
                hooked.Vm.Vcpus[0].GetRegistersAsync(new uint[] { 1, 2 }, Hooked.Cancel).AsTask(),
                hooked.Vm.Vcpus[1].GetXsaveAsync(Hooked.Cancel).AsTask(),
            ];
            uint firstSeq = hooked.Hypervisor.Receive().Seq;
            try
            {
                for (int i = 0; i < 20; i++)
                    hooked.Hypervisor.SendRaw(Mutated(random, firstSeq, i));
            }
            catch (InvalidOperationException)
            {
                // It has had enough of this.
            }

            hooked.Hypervisor.Socket.Shutdown();
            foreach (Task call in calls)
                await Ended(call);
            await Ended(hooked.Vm.Completion);
        }
    }

    private static async Task Ended(Task task)
    {
        Exception? ending = await Record.ExceptionAsync(() => task.WaitAsync(Hooked.Cancel));
        Assert.True(
            ending is null or ProtocolException or ConnectionClosedException or KvmiException, $"unexpected {ending}");
    }

    // A message that is nearly right: right id and seq most of the time, sizes and contents less so.
    private static byte[] Mutated(Random random, uint firstSeq, int turn)
    {
        byte[] message = new byte[8192];
        random.NextBytes(message);
        bool isEvent = random.Next(3) == 0;
        int size;
        if (isEvent)
        {
            var header = new EventHeader(new VcpuIndex((ushort)random.Next(3)), (EventId)random.Next(12));
            size = Message.WriteEvent(message, (uint)(turn + random.Next(2)), header, default(CrEvent));
        }
        else
        {
            MessageId[] ids =
                [MessageId.VmGetMaxGfn, MessageId.VmReadPhysical, MessageId.VmReadPhysical, MessageId.VcpuGetRegisters, MessageId.VcpuGetXsave];
            int which = random.Next(ids.Length);
            size = Message.WriteReply(message, ids[which], firstSeq + (uint)which, message.AsSpan(100, random.Next(4200)));
        }

        for (int flips = random.Next(3); flips > 0; flips--)
            message[random.Next(Math.Min(size, 40))] ^= (byte)(1 << random.Next(8));
        return message[..(random.Next(20) == 0 ? random.Next(size) : size)];
    }
}
