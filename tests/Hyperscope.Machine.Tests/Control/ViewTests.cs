using System.Collections.Concurrent;
using Hyperscope.Client;
using Hyperscope.Guests;
using Hyperscope.Kvmi;
using Hyperscope.Vm;
using static Hyperscope.Guests.SelftestGuest;

namespace Hyperscope.Machine.Tests.Control;

#pragma warning disable xUnit1051 // commands time out by themselves, and a token in each call hides what is tested

/// <summary>Views, frames and the memory file, from a C# tool to a running guest.</summary>
public sealed class ViewTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public async Task Each_vcpu_is_held_to_the_rights_of_its_own_view(int vcpus)
    {
        await using ExtensionBench bench = await ExtensionBench.StartAsync(vcpus);
        var seen = new ConcurrentQueue<(int Vcpu, ushort View)>();
        using IDisposable _ = bench.Tool.On<AccessEvent>(access =>
        {
            seen.Enqueue((access.Vcpu.Index.Value, access.Data.View));
            access.Continue();
        });
        await bench.Tool.EnableAsync(EventId.Access);
        ushort view = await bench.Tool.CreateViewAsync();
        await bench.Tool.SetPageAccessAsync(view, TestPage, PageAccess.Read | PageAccess.Execute);
        for (int round = 0; round < 5; round++)
        {
            int inside = round % vcpus;
            await bench.Tool.Vcpus[inside].SwitchViewAsync(view);
            Assert.Equal(view, await bench.Tool.Vcpus[inside].GetViewAsync());
            seen.Clear();
            for (int vcpu = 0; vcpu < vcpus; vcpu++)
                await bench.RunAsync(vcpu, SelftestAction.StoreByte, TestPage.Value, (ulong)vcpu);
            Assert.Equal((inside, view), Assert.Single(seen));
            Assert.Equal(KvmError.Busy, await ErrorOf(bench.Tool.DestroyViewAsync(view)));
            await bench.Tool.Vcpus[inside].SwitchViewAsync(0);
        }

        await bench.Tool.DestroyViewAsync(view);
        Assert.Equal(KvmError.InvalidArgument, await ErrorOf(bench.Tool.Vcpus[0].SwitchViewAsync(view)));
    }

    [Fact]
    public async Task A_view_shows_other_memory_at_a_frame_and_a_new_frame_is_memory()
    {
        await using ExtensionBench bench = await ExtensionBench.StartAsync(1);
        await bench.Tool.WritePhysicalAsync(TestPage, BitConverter.GetBytes(11UL));
        Gfn shadow = await bench.Tool.GetNextGfnAsync();
        Assert.Equal(await bench.Tool.GetMaxGfnAsync(), shadow);
        await bench.Tool.AllocateGfnAsync(shadow);
        Assert.Equal(0UL, await bench.ReadAsync(shadow.Address));
        await bench.Tool.WritePhysicalAsync(shadow.Address, BitConverter.GetBytes(22UL));
        ushort view = await bench.Tool.CreateViewAsync();
        await bench.Tool.ChangeGfnAsync(view, TestPage.Frame, shadow);
        Assert.Equal(11UL, await bench.RunAsync(0, SelftestAction.LoadQuad, TestPage.Value));
        await bench.Tool.Vcpus[0].SwitchViewAsync(view);
        Assert.Equal(22UL, await bench.RunAsync(0, SelftestAction.LoadQuad, TestPage.Value));
        await bench.RunAsync(0, SelftestAction.StoreQuad, TestPageAlias.Value, 33);
        Assert.Equal((11UL, 33UL), (await bench.ReadAsync(TestPage), await bench.ReadAsync(shadow.Address)));
        await bench.Tool.ChangeGfnAsync(view, TestPage.Frame, TestPage.Frame);
        Assert.Equal(11UL, await bench.RunAsync(0, SelftestAction.LoadQuad, TestPage.Value));
        await bench.Tool.FreeGfnAsync(shadow);
        Assert.Equal(KvmError.NotFound, await ErrorOf(bench.Tool.FreeGfnAsync(shadow)));
        Assert.Equal(KvmError.NotFound, await ErrorOf(bench.Tool.ChangeGfnAsync(view, TestPage.Frame, shadow)));
        await bench.Tool.AllocateGfnAsync(shadow);
        Assert.Equal(0UL, await bench.ReadAsync(shadow.Address));
        foreach (ulong taken in new ulong[] { 0x100, 0xA0, 0xFEE00, 1UL << 30, shadow.Value })
            Assert.Equal(KvmError.InvalidArgument, await ErrorOf(bench.Tool.AllocateGfnAsync(new Gfn(taken))));
        for (ulong more = 1; more < 256; more++)
            await bench.Tool.AllocateGfnAsync(new Gfn(shadow.Value + more));
        Assert.Equal(KvmError.OutOfMemory, await ErrorOf(bench.Tool.AllocateGfnAsync(await bench.Tool.GetNextGfnAsync())));
    }

    [Fact]
    public async Task Guest_memory_is_in_a_file_at_its_own_addresses()
    {
        await using ExtensionBench bench = await ExtensionBench.StartAsync(1);
        VmQueryPhysicalReply block = await bench.Tool.QueryPhysicalAsync(TestPage.Frame);
        Assert.InRange(TestPage.Frame.Value, block.First.Value, block.First.Value + block.Pages - 1);
        Assert.Equal(KvmError.NotFound, await ErrorOf(Discard(bench.Tool.QueryPhysicalAsync(await bench.Tool.GetMaxGfnAsync()))));
        await bench.RunAsync(0, SelftestAction.StoreQuad, TestPage.Value + 8, 0x1122_3344_5566_7788);
        await using var file = new FileStream(await bench.Tool.GetMemoryFileAsync(), FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        file.Position = (long)TestPage.Value + 8;
        byte[] bytes = new byte[8];
        await file.ReadExactlyAsync(bytes, TestContext.Current.CancellationToken);
        Assert.Equal(0x1122_3344_5566_7788UL, BitConverter.ToUInt64(bytes));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public async Task Views_and_frames_end_with_the_connection(int vcpus)
    {
        await using ExtensionBench bench = await ExtensionBench.StartAsync(vcpus);
        ushort view = await bench.Tool.CreateViewAsync();
        Gfn shadow = await bench.Tool.GetNextGfnAsync();
        await bench.Tool.AllocateGfnAsync(shadow);
        await bench.Tool.ChangeGfnAsync(view, TestPage.Frame, shadow);
        await bench.Tool.SetPageAccessAsync(view, TestPage + 0x1000, PageAccess.None);
        foreach (IntrospectedVcpu vcpu in bench.Tool.Vcpus)
        {
            await vcpu.ShowViewAsync(view, visible: true);
            await vcpu.SwitchViewAsync(view);
        }

        var cleaned = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        bench.Introspector.CleanedUp += () =>
        {
            if (bench.Machine.Views.Count == 1)
                cleaned.TrySetResult();
        };
        await bench.Tool.DisposeAsync();
        bench.Unhook();
        await cleaned.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        Assert.All(bench.Machine.Vcpus, vcpu => Assert.Same(bench.Machine.Views.Main, vcpu.View));
        Assert.Equal(shadow, bench.Machine.Memory.MaxGfn);
        Assert.Equal(0, bench.Machine.Views.Main.RemappedFrames);
    }

    [Fact]
    public async Task There_are_as_many_views_as_a_processor_has_room_for()
    {
        await using ExtensionBench bench = await ExtensionBench.StartAsync(1);
        var views = new List<ushort>();
        for (int count = 1; count < ViewTable.MaxViews; count++)
            views.Add(await bench.Tool.CreateViewAsync());
        Assert.Equal(Enumerable.Range(1, ViewTable.MaxViews - 1).Select(index => (ushort)index), views);
        Assert.Equal(KvmError.OutOfMemory, await ErrorOf(Discard(bench.Tool.CreateViewAsync())));
        Assert.Equal(KvmError.InvalidArgument, await ErrorOf(bench.Tool.DestroyViewAsync(0)));
        await bench.Tool.DestroyViewAsync(7);
        Assert.Equal(7, await bench.Tool.CreateViewAsync());
    }

    private static async ValueTask Discard<T>(ValueTask<T> command) => _ = await command;

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
