namespace Hyperscope.Introspection.Tests;

public sealed class AllocationTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task An_event_allocates_nothing_on_the_vcpu_thread(bool hasDeadline)
    {
        using var bench = new Bench(options: new HookOptions { ReplyDeadline = hasDeadline ? TimeSpan.FromMinutes(1) : null });
        bench.Enable(EventId.PageFault);
        bench.Restrict(0x3000, PageAccess.None);
        var tool = new Thread(() => AnswerAll(bench.Tool.Socket)) { IsBackground = true };
        tool.Start();
        Task<long> run = bench.Vcpu.Execute(vcpu =>
        {
            Fault(bench, vcpu, 2000);
            long before = GC.GetAllocatedBytesForCurrentThread();
            Fault(bench, vcpu, 2000);
            return GC.GetAllocatedBytesForCurrentThread() - before;
        });
        Assert.Equal(0, await run.Soon());
        bench.Introspector.Unhook();
        Assert.True(tool.Join(TimeSpan.FromSeconds(30)));
    }

    [Fact]
    public async Task Commands_during_an_event_allocate_nothing_on_the_vcpu_thread()
    {
        using var bench = new Bench();
        bench.Enable(EventId.PageFault);
        bench.Restrict(0x3000, PageAccess.None);
        Task<long> run = bench.Vcpu.Execute(vcpu =>
        {
            Fault(bench, vcpu, 1);
            long before = GC.GetAllocatedBytesForCurrentThread();
            Fault(bench, vcpu, 1);
            return GC.GetAllocatedBytesForCurrentThread() - before;
        });
        for (int round = 0; round < 2; round++)
        {
            Event fault = bench.Tool.ReceiveEvent(EventId.PageFault);
            for (int i = 0; i < 500; i++)
            {
                bench.Restrict(0x3000, PageAccess.None);
                bench.Tool.Call(new VcpuGetRegisters(Bench.V0));
                bench.Tool.Call(new VmReadPhysical(new Gpa(0x3000), 4096));
                Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuSetRegisters(Bench.V0, default)));
            }

            bench.Tool.Answer(fault, EventAction.Continue);
        }

        Assert.Equal(0, await run.Soon());
    }

    private static void Fault(Bench bench, FakeVcpu vcpu, int count)
    {
        for (int i = 0; i < count; i++)
        {
            PageTrackVerdict verdict = bench.Vm.Memory.PageTracker.BeforeAccess(
                vcpu, new PageTrackAccess(Gva.Unknown, new Gpa(0x3000), PageAccess.Write, 8, []));
            Assert.True(verdict == PageTrackVerdict.Allow);
        }
    }

    private static void AnswerAll(StreamSocket socket)
    {
        byte[] buffer = new byte[KvmiConstants.MaxMessageSize];
        byte[] reply = new byte[24];
        int end = 0;
        while (true)
        {
            int received = socket.Receive(buffer.AsSpan(end));
            if (received == 0)
                return;
            end += received;
            Message.TryReadHeader(buffer, out MessageHeader header);
            if (end < 8 || end < header.MessageSize)
                continue;
            ref readonly EventHeader common = ref Message.EventHeaderIn(buffer.AsSpan(8));
            Message.WriteEventReply(reply, header.Seq, common.Vcpu, common.Event, EventAction.Continue);
            end = 0;
            if (!socket.Send(reply))
                return;
        }
    }
}
