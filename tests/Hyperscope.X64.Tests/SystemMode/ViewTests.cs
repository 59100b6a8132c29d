using Hyperscope.TestKit;
using Hyperscope.Vm;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>Views: rights, watches and backing of frames for each, and switching between them.</summary>
public sealed class ViewTests : IDisposable
{
    private const ulong Page = 0x6_0000, Other = 0x7_0000, Function = 0x8_0000;

    private readonly TestMachine _machine = new(vcpus: 2);
    private readonly AnsweringObserver _observer = new();

    public ViewTests() => _machine.Memory.PageTracker.Subscribe(_observer);

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void Rights_and_watches_hold_in_their_view_only()
    {
        View view = Create();
        lock (view.AccessMap.WriterLock)
        {
            bool grew = false;
            view.AccessMap.Set(new Gfn(Page >> 12), PageAccess.Read);
            Assert.True(view.AccessMap.TrySetWatch(new Gpa(Other), 8, PageAccess.Write, ref grew));
        }

        Action<Assembler> stores = a =>
        {
            a.mov(__byte_ptr[Page], 1);
            a.mov(__byte_ptr[Other], 1);
        };
        Run(stores);
        Assert.Empty(_observer.Log);
        Assert.True(_machine.Vcpu.TrySwitchView(view));
        Run(stores);
        Assert.Equal([Page, Other], _observer.Log.Select(entry => entry.Gpa));
        Assert.True(_machine.Vcpu.TrySwitchView(_machine.Views.Main));
        Run(stores);
        Assert.Equal(2, _observer.Log.Count);
    }

    [Fact]
    public void A_watched_instruction_is_asked_for_in_its_view_only_however_often_views_change()
    {
        View view = Create();
        _machine.Assemble(a =>
        {
            a.nop();
            a.inc(ecx);
            a.ret();
        }, Function);
        lock (view.AccessMap.WriterLock)
        {
            bool grew = false;
            Assert.True(view.AccessMap.TrySetWatch(new Gpa(Function + 1), 1, PageAccess.Execute, ref grew));
        }

        Action<Assembler> call = a =>
        {
            a.mov(rax, Function);
            a.call(rax);
            a.call(rax);
        };
        for (int round = 1; round <= 3; round++)
        {
            Assert.True(_machine.Vcpu.TrySwitchView(_machine.Views.Main));
            Run(call);
            Assert.Equal(2 * (round - 1), _observer.Log.Count);
            Assert.True(_machine.Vcpu.TrySwitchView(view));
            Run(call);
            Assert.Equal(2 * round, _observer.Log.Count);
        }
    }

    [Fact]
    public void A_switch_flushes_nothing_on_another_processor_and_little_on_its_own()
    {
        SoftwareVcpu first = _machine.Group.Vcpus[0], second = _machine.Group.Vcpus[1];
        View[] views = [_machine.Views.Main, Create(), Create(), Create()];
        long before = first.Flushes, others = second.Flushes;
        for (int round = 0; round < 100; round++)
            Assert.True(first.TrySwitchView(views[round % views.Length]));
        Assert.Equal((before, others), (first.Flushes, second.Flushes));
        Assert.Same(views[99 % views.Length], first.View);
        Assert.Same(_machine.Views.Main, second.View);
    }

    [Fact]
    public void More_views_than_are_cached_still_see_their_own_memory()
    {
        View[] views = [_machine.Views.Main, .. Enumerable.Range(0, 9).Select(_ => Create())];
        for (int index = 0; index < views.Length; index++)
        {
            _machine.Write64(0x20_0000 + ((ulong)index * 4096), (ulong)index + 100);
            if (index != 0)
                Assert.True(views[index].TryRemap(new Gfn(Page >> 12), new Gfn(0x200 + (ulong)index)));
        }

        _machine.Write64(Page, 100);
        var random = new Random(7);
        for (int round = 0; round < 100; round++)
        {
            int index = random.Next(views.Length);
            Assert.True(_machine.Vcpu.TrySwitchView(views[index]));
            Assert.Equal((ulong)index + 100, Run(a => a.mov(rax, __qword_ptr[Page])).Rax);
        }
    }

    [Fact]
    public void A_frame_backed_by_another_is_read_written_and_executed_there()
    {
        View view = Create();
        Assert.True(view.TryRemap(new Gfn(Function >> 12), new Gfn(Other >> 12)));
        _machine.Assemble(a =>
        {
            a.mov(eax, 1);
            a.ret();
        }, Function);
        _machine.Assemble(a =>
        {
            a.mov(eax, 2);
            a.ret();
        }, Other);
        Action<Assembler> call = a =>
        {
            a.mov(rbx, Function);
            a.call(rbx);
            a.inc(__byte_ptr[Function + 1]); // the immediate
            a.call(rbx);
        };
        Assert.Equal(2UL, Run(call).Rax);
        Assert.True(_machine.Vcpu.TrySwitchView(view));
        Assert.Equal(3UL, Run(call).Rax);
        Assert.Equal((2, 3), (_machine.Read(Function + 1, 1)[0], _machine.Read(Other + 1, 1)[0]));
        Assert.True(view.TryRemap(new Gfn(Function >> 12), new Gfn(Function >> 12)));
        _machine.Group.InvalidateTranslations();
        Assert.Equal(3UL, Run(call).Rax);
        Assert.Equal(0, view.RemappedFrames);
    }

    [Fact]
    public void Rights_belong_to_the_frame_the_guest_names_not_to_what_backs_it()
    {
        View view = Create();
        Assert.True(view.TryRemap(new Gfn(Page >> 12), new Gfn(Other >> 12)));
        lock (view.AccessMap.WriterLock)
            view.AccessMap.Set(new Gfn(Page >> 12), PageAccess.Read);
        Assert.True(_machine.Vcpu.TrySwitchView(view));
        Run(a =>
        {
            a.mov(__byte_ptr[Other], 1);
            a.mov(__byte_ptr[Page + 1], 2);
        });
        Assert.Equal(Page + 1, Assert.Single(_observer.Log).Gpa);
        Assert.Equal([1, 2], _machine.Read(Other, 2));
    }

    [Fact]
    public void The_guest_switches_to_a_view_it_was_shown_and_to_no_other()
    {
        using var bench = new LongModeBench();
        View shown = bench.Machine.Views.TryCreate()!, hidden = bench.Machine.Views.TryCreate()!;
        bench.Vcpu.ShowView(shown, true);
        bench.Machine.Assemble(a =>
        {
            a.xor(eax, eax);
            a.mov(ecx, shown.Index);
            a.vmfunc();
            a.mov(ecx, hidden.Index);
            a.vmfunc();
        });
        Assert.Equal(6, bench.RunToHandler());
        Assert.Same(shown, bench.Vcpu.View);
        Assert.Equal(TestMachine.CodeAddress + 2 + 5 + 3 + 5, bench.Stack(1)[0]);

    }

    [Theory]
    [InlineData(0, false)] // not shown any more
    [InlineData(1, true)] // no such function
    public void A_view_function_that_the_guest_may_not_use_is_an_invalid_opcode(int function, bool isShown)
    {
        using var bench = new LongModeBench();
        View view = bench.Machine.Views.TryCreate()!;
        bench.Vcpu.ShowView(view, true);
        bench.Vcpu.ShowView(view, isShown);
        bench.Machine.Assemble(a =>
        {
            a.mov(eax, function);
            a.mov(ecx, view.Index);
            a.vmfunc();
        });
        Assert.Equal(6, bench.RunToHandler());
        Assert.Same(bench.Machine.Views.Main, bench.Vcpu.View);
    }

    [Fact]
    public void A_destroyed_view_cannot_be_entered_and_one_in_use_not_destroyed()
    {
        View view = Create();
        Assert.True(_machine.Vcpu.TrySwitchView(view));
        Assert.False(_machine.Views.TryDestroy(view));
        Assert.False(_machine.Views.TryDestroy(_machine.Views.Main));
        Assert.True(_machine.Vcpu.TrySwitchView(_machine.Views.Main));
        Assert.True(_machine.Views.TryDestroy(view));
        Assert.False(_machine.Vcpu.TrySwitchView(view));
        View next = Create();
        Assert.Equal(view.Index, next.Index);
        Assert.NotSame(view, next);
    }

    private View Create() => _machine.Views.TryCreate() ?? throw new InvalidOperationException("no view is left");

    private KvmRegs Run(Action<Assembler> code)
    {
        Assert.Equal(RunOutcome.Stopped, _machine.RunProgram(code, 100_000));
        return _machine.Registers;
    }
}
