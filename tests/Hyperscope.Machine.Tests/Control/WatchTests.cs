using System.Collections.Concurrent;
using Hyperscope.Client;
using Hyperscope.Guests;
using Hyperscope.Kvmi;
using Hyperscope.Vm;
using static Hyperscope.Guests.SelftestGuest;

namespace Hyperscope.Machine.Tests.Control;

#pragma warning disable xUnit1051 // commands time out by themselves, and a token in each call hides what is tested

/// <summary>Watches and answers with data, from a C# tool to a running guest.</summary>
public sealed class WatchTests
{
    private static readonly Gpa Watched = TestPage + 0x100;

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public async Task Only_accesses_to_watched_bytes_reach_the_tool(int vcpus)
    {
        await using ExtensionBench bench = await ExtensionBench.StartAsync(vcpus);
        var seen = new ConcurrentQueue<(int Vcpu, Gpa Gpa, int Size, ulong Old, ulong New)>();
        using IDisposable _ = bench.Tool.On<AccessEvent>(access =>
        {
            seen.Enqueue((access.Vcpu.Index.Value, access.Gpa, access.Size, BitConverter.ToUInt64(access.CurrentBytes()),
                BitConverter.ToUInt64(access.NewBytes())));
            access.Continue();
        });
        await bench.Tool.EnableAsync(EventId.Access);
        await bench.Tool.SetWatchAsync(Watched, 8, PageAccess.Write);
        for (int vcpu = 0; vcpu < vcpus; vcpu++)
        {
            await bench.RunAsync(vcpu, SelftestAction.Hammer, TestPage.Value + 0x200, 0, 500);
            await bench.RunAsync(vcpu, SelftestAction.StoreQuad, Watched.Value, (ulong)vcpu + 1);
            await bench.RunAsync(vcpu, SelftestAction.LoadQuad, Watched.Value);
        }

        Assert.Equal(Enumerable.Range(0, vcpus).Select(vcpu => (vcpu, Watched, 8, (ulong)vcpu, (ulong)vcpu + 1)), seen);
        VmGetWatchInfoReply info = await bench.Tool.GetWatchInfoAsync();
        Assert.Equal((1UL, (ulong)vcpus), (info.Frames, info.Asked));
        Assert.InRange(info.Passed, 500UL * (ulong)vcpus, 2000UL * (ulong)vcpus);
        Assert.InRange(info.TableBytes, 1UL, 2048UL);
        Assert.Equal((ulong)WatchBudget.Limit, info.TableLimit);

        await bench.Tool.SetWatchAsync(Watched, 8, PageAccess.None);
        await bench.RunAsync(0, SelftestAction.StoreQuad, Watched.Value, 9);
        Assert.Equal(vcpus, seen.Count);
        Assert.Equal(0UL, (await bench.Tool.GetWatchInfoAsync()).Frames);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public async Task A_watched_instruction_is_reported_each_time_and_its_page_runs_on(int vcpus)
    {
        await using ExtensionBench bench = await ExtensionBench.StartAsync(vcpus);

        // mov rax, 5 ; nop ; ret
        Gpa function = TestPage + 0x40;
        await bench.Tool.WritePhysicalAsync(function, new byte[] { 0x48, 0xC7, 0xC0, 5, 0, 0, 0, 0x90, 0xC3 });
        int calls = 0;
        using IDisposable _ = bench.Tool.On<AccessEvent>(access =>
        {
            Assert.Equal((PageAccess.Execute, function + 7, 1, function.Value + 7), (access.Access, access.Gpa, access.Size, access.Registers.Rip));
            Assert.True(access.IsWatch);
            Interlocked.Increment(ref calls);
            access.Continue();
        });
        await bench.Tool.EnableAsync(EventId.Access);
        for (int vcpu = 0; vcpu < vcpus; vcpu++)
            await bench.RunAsync(vcpu, SelftestAction.Call, function.Value);
        await bench.Tool.SetWatchAsync(function + 7, 1, PageAccess.Execute);
        for (int round = 0; round < 5; round++)
        {
            for (int vcpu = 0; vcpu < vcpus; vcpu++)
                await bench.RunAsync(vcpu, SelftestAction.Call, function.Value);
        }

        Assert.Equal(5 * vcpus, calls);
        await bench.Tool.SetWatchAsync(function + 7, 1, PageAccess.None);
        for (int vcpu = 0; vcpu < vcpus; vcpu++)
            await bench.RunAsync(vcpu, SelftestAction.Call, function.Value);
        Assert.Equal(5 * vcpus, calls);
    }

    [Fact]
    public async Task A_plain_page_fault_comes_where_the_detailed_event_is_off()
    {
        await using ExtensionBench bench = await ExtensionBench.StartAsync(1);
        var seen = new ConcurrentQueue<(Gpa, PageAccess)>();
        using IDisposable _ = bench.Tool.On<PageFaultEvent>(fault =>
        {
            seen.Enqueue((fault.Gpa, fault.Access));
            fault.Continue();
        });
        await bench.Tool.EnableAsync(EventId.PageFault);
        await bench.Tool.SetWatchAsync(Watched, 8, PageAccess.Write);
        await bench.RunAsync(0, SelftestAction.StoreQuad, Watched.Value - 8, 1);
        await bench.RunAsync(0, SelftestAction.StoreQuad, Watched.Value - 7, 1);
        Assert.Equal([(Watched + unchecked((ulong)-7L), PageAccess.Write)], seen);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public async Task A_read_sees_the_tools_data_and_a_write_can_be_discarded_or_replaced(int vcpus)
    {
        await using ExtensionBench bench = await ExtensionBench.StartAsync(vcpus);
        await bench.Tool.WritePhysicalAsync(Watched, BitConverter.GetBytes(7UL));
        using IDisposable _ = bench.Tool.On<AccessEvent>(access =>
        {
            if (access.Access == PageAccess.Read)
                access.ContinueWith(BitConverter.GetBytes(0x1234UL));
            else if (BitConverter.ToUInt64(access.NewBytes()) == 5)
                access.Discard();
            else
                access.ContinueWith([0xEE], offset: 1);
        });
        await bench.Tool.EnableAsync(EventId.Access);
        await bench.Tool.SetWatchAsync(Watched, 8, PageAccess.Read | PageAccess.Write);
        for (int vcpu = 0; vcpu < vcpus; vcpu++)
        {
            Assert.Equal(0x1234UL, await bench.RunAsync(vcpu, SelftestAction.LoadQuad, Watched.Value));
            Assert.Equal(7UL, await bench.ReadAsync(Watched));
            await bench.RunAsync(vcpu, SelftestAction.StoreQuad, Watched.Value, 5);
            Assert.Equal(7UL, await bench.ReadAsync(Watched));
            await bench.RunAsync(vcpu, SelftestAction.StoreQuad, Watched.Value, 0x1111);
            Assert.Equal(0xEE11UL, await bench.ReadAsync(Watched));
            await bench.RunAsync(vcpu, SelftestAction.Increment, Watched.Value); // 0x1234 is what it reads
            Assert.Equal(0xEE35UL, await bench.ReadAsync(Watched));
            await bench.Tool.WritePhysicalAsync(Watched, BitConverter.GetBytes(7UL));
        }
    }

    [Fact]
    public async Task An_exception_injected_at_a_watched_write_takes_its_place()
    {
        await using ExtensionBench bench = await ExtensionBench.StartAsync(1);
        using IDisposable _ = bench.Tool.On<AccessEvent>(access =>
        {
            bench.Tool.Send(new VcpuInjectException(access.Vcpu.Index, 13, 0x18, 0));
            access.Retry();
        });
        using IDisposable traps = bench.Tool.On<TrapEvent>(static trap => trap.Continue());
        await bench.Tool.EnableAsync(EventId.Access);
        await bench.Tool.SetWatchAsync(Watched, 8, PageAccess.Write);
        await bench.RunAsync(0, SelftestAction.StoreQuad, Watched.Value, 5);
        Assert.Equal((13UL, 0x18UL), (await bench.FieldAsync(0, Mailbox.FaultVector), await bench.FieldAsync(0, Mailbox.FaultError)));
        Assert.Equal(0UL, await bench.ReadAsync(Watched));
    }

    [Fact]
    public async Task Watches_are_refused_where_there_is_no_memory_and_above_the_bound()
    {
        await using ExtensionBench bench = await ExtensionBench.StartAsync(1, 256 << 20);
        Gpa end = (await bench.Tool.GetMaxGfnAsync()).Address;
        Assert.Equal(KvmError.None, await bench.Tool.CheckCommandAsync(MessageId.VmSetWatches));
        Assert.Equal(KvmError.InvalidArgument, await ErrorOf(bench.Tool.SetWatchAsync(end + unchecked((ulong)-1L), 2, PageAccess.Write)));
        Assert.Equal(KvmError.InvalidArgument, await ErrorOf(bench.Tool.SetWatchesAsync(new WatchEntry[] { new(default, 0, PageAccess.Write) })));
        Assert.Equal(KvmError.InvalidArgument, await ErrorOf(bench.Tool.SetWatchesAsync(
            new WatchEntry[] { new(default, 1, (PageAccess)8), new(TestPage, 1, PageAccess.Write) })));
        Assert.Equal(1UL, (await bench.Tool.GetWatchInfoAsync()).Frames); // the good entry counts
        Assert.Equal(KvmError.InvalidArgument, await ErrorOf(bench.Tool.SetWatchesAsync(new WatchEntry[] { new(TestPage, 1, PageAccess.Write) }, 9)));

        // 192 MiB watched for three kinds would take some 80 MiB.
        Assert.Equal(KvmError.OutOfMemory, await ErrorOf(bench.Tool.SetWatchAsync(new Gpa(32 << 20), 192 << 20, PageAccess.All)));
        VmGetWatchInfoReply info = await bench.Tool.GetWatchInfoAsync();
        Assert.InRange(info.TableBytes, info.TableLimit - (4UL << 20), info.TableLimit);
        await bench.Tool.SetWatchAsync(new Gpa(32 << 20), 192 << 20, PageAccess.None);
        Assert.InRange((await bench.Tool.GetWatchInfoAsync()).TableBytes, 1UL, 2048UL);
    }

    [Fact]
    public async Task Watches_end_with_the_connection()
    {
        await using ExtensionBench bench = await ExtensionBench.StartAsync(1);
        await bench.Tool.SetWatchAsync(Watched, 8, PageAccess.Write);
        await bench.Tool.DisposeAsync();
        bench.Unhook();
        Assert.Equal((0, 0L), (bench.Machine.AccessMap.WatchedFrames, bench.Machine.AccessMap.WatchTableBytes));
    }

    private static async Task<KvmError> ErrorOf(ValueTask command)
    {
        try
        {
            await command;
            return KvmError.None;
        }
        catch (KvmiException refused)
        {
            return refused.Error;
        }
    }
}
