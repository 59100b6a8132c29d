using Hyperscope.TestKit;
using Hyperscope.Vm;
using Hyperscope.X64.Execution;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>Cached code: instructions across two pages of which the second changes, and code that changed by the time a flush ends.</summary>
public sealed partial class TranslationCacheTests
{
    // add ebp, imm32 with two bytes in front of the page: what is added, and a RET behind it, is on the page.
    private const ulong Straddling = Page - 2;

    private const ulong Alias = 0xB_0000;

    [Theory]
    [MemberData(nameof(Flushes))]
    public void An_instruction_across_two_pages_has_its_end_from_the_new_frame_after_the_flush(Flush flush)
    {
        WriteStraddling();
        Run(a =>
        {
            CallThrice(a, Straddling);
            SetEntry(a, Second | Rights);
            FlushPage(a, flush);
            CallThrice(a, Straddling);
            SetEntry(a, First | Rights);
            FlushPage(a, flush);
            CallThrice(a, Straddling);
        });
        Assert.Equal(0x60CUL, _bench.Machine.Registers.Rbp);
    }

    [Theory]
    [MemberData(nameof(Flushes))]
    public void An_instruction_across_two_pages_faults_once_the_second_is_gone(Flush flush)
    {
        WriteStraddling();
        Assert.Equal(14, RunToFault(a =>
        {
            CallThrice(a, Straddling);
            SetEntry(a, 0);
            FlushPage(a, flush);
            a.call(Straddling);
        }));
        Assert.Equal([0x10UL, Straddling], _bench.Stack(2));
        Assert.Equal((6UL, Page), (_bench.Machine.Registers.Rbp, Cr2));
    }

    [Theory]
    [MemberData(nameof(Flushes))]
    public void An_instruction_across_two_pages_faults_once_the_second_may_not_be_executed(Flush flush)
    {
        WriteStraddling();
        Assert.Equal(14, RunToFault(a =>
        {
            CallThrice(a, Straddling);
            SetEntry(a, First | Rights | TestMachine.PageNoExecute);
            FlushPage(a, flush);
            a.call(Straddling);
        }));
        Assert.Equal([0x11UL, Straddling], _bench.Stack(2));
        Assert.Equal((6UL, Page), (_bench.Machine.Registers.Rbp, Cr2));
    }

    [Fact]
    public void An_instruction_across_two_pages_follows_CR3_though_its_first_page_is_global()
    {
        EnableGlobalPages();
        WriteStraddling();
        Run(a =>
        {
            CallThrice(a, Straddling);
            SetEntry(a, Second | Rights);
            FlushPage(a, Flush.WriteCr3);
            CallThrice(a, Straddling);
        });
        Assert.Equal(0x606UL, _bench.Machine.Registers.Rbp);
    }

    [Fact]
    public void A_branch_across_two_pages_goes_where_the_new_frame_says()
    {
        // jmp rel32 with its opcode in front of the page: to Page + 0x10, or to Page + 0x20.
        TestMachine machine = _bench.Machine;
        machine.Write(Page - 1, [0xE9]);
        machine.Write(First, [0x0C, 0, 0, 0]);
        machine.Write(Second, [0x1C, 0, 0, 0]);
        foreach (ulong frame in new[] { First, Second })
        {
            machine.Write(frame + 0x10, TestMachine.AssembleBytes(CpuMode.Bits64, a => { a.add(rbp, 1); a.ret(); }, Page + 0x10));
            machine.Write(frame + 0x20, TestMachine.AssembleBytes(CpuMode.Bits64, a => { a.add(rbp, 0x100); a.ret(); }, Page + 0x20));
        }

        Run(a =>
        {
            CallThrice(a, Page - 1);
            SetEntry(a, Second | Rights);
            FlushPage(a, Flush.InvlpgInside);
            CallThrice(a, Page - 1);
        });
        Assert.Equal(0x606UL, machine.Registers.Rbp);
    }

    [Fact]
    public void A_store_into_the_second_page_through_another_mapping_changes_an_instruction_across_two_pages()
    {
        WriteStraddling();
        _bench.Machine.Map(Alias, First, 0x1000);
        Run(a =>
        {
            CallThrice(a, Straddling);
            a.mov(__dword_ptr[Alias], 0x10);
            CallThrice(a, Straddling);
            a.mov(__dword_ptr[First], 0x1000);
            CallThrice(a, Straddling);
        });
        Assert.Equal(0x6066UL, _bench.Machine.Registers.Rbp);
    }

    [Fact]
    public void A_write_from_outside_into_either_page_changes_an_instruction_across_two_pages()
    {
        WriteStraddling();
        Run(a => CallThrice(a, Straddling));
        Assert.True(_bench.Machine.Memory.TryWrite(new Gpa(First), [2]));
        Run(a => CallThrice(a, Straddling));
        Assert.True(_bench.Machine.Memory.TryWrite(new Gpa(Straddling + 1), [0xED])); // sub ebp
        Run(a => CallThrice(a, Straddling));
        Assert.Equal(6UL, _bench.Machine.Registers.Rbp);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void An_instruction_across_two_pages_asks_once_the_second_is_restricted_or_watched(bool isWatched)
    {
        var observer = new FakePageObserver();
        _bench.Machine.Memory.PageTracker.Subscribe(observer);
        WriteStraddling();
        Run(a => CallThrice(a, Straddling));
        Assert.Empty(observer.Log);
        if (isWatched)
            _bench.Machine.Watch(First + 1, 1, PageAccess.Execute);
        else
            _bench.Machine.Restrict(First, PageAccess.Read | PageAccess.Write);
        Run(a => CallThrice(a, Straddling));
        Assert.Equal(12UL, _bench.Machine.Registers.Rbp);
        int asked = observer.Log.Count(static entry => entry is { Kind: PageAccess.Execute, Rip: Straddling } && entry.Gpa >> 12 == First >> 12);
        Assert.Equal(6, asked);

        // Opened again, it is code as before.
        if (isWatched)
            _bench.Machine.Watch(First + 1, 1, default);
        else
            _bench.Machine.Restrict(First, PageAccess.Read | PageAccess.Write | PageAccess.Execute);
        observer.Log.Clear();
        Run(a => CallThrice(a, Straddling));
        Assert.Empty(observer.Log);
        Assert.Equal(18UL, _bench.Machine.Registers.Rbp);
    }

    [Fact]
    public void An_instruction_across_two_pages_is_decoded_once_and_linked_to()
    {
        WriteStraddling();
        Run(a => CallThrice(a, Straddling));
        SlowPaths before = _bench.Vcpu.SlowPaths;
        Run(a =>
        {
            Label again = a.CreateLabel();
            a.mov(ecx, 1000);
            a.Label(ref again);
            a.call(Straddling);
            a.dec(ecx);
            a.jne(again);
        });
        SlowPaths after = _bench.Vcpu.SlowPaths;
        Assert.Equal(before.Alone, after.Alone);
        Assert.InRange(after.Builds - before.Builds, 0, 10);
        Assert.InRange(after.Lookups - before.Lookups, 0, 30);
    }

    [Theory]
    [MemberData(nameof(Flushes))]
    public void Code_that_was_rewritten_while_another_frame_stood_in_its_place_is_decoded_anew(Flush flush)
    {
        WriteCounters();
        Run(a =>
        {
            CallThrice(a, Page + 8);
            SetEntry(a, Second | Rights);
            FlushPage(a, flush);
            CallThrice(a, Page + 8);
            a.mov(__byte_ptr[First + 8 + 3], 0x10); // the immediate of ADD
            SetEntry(a, First | Rights);
            FlushPage(a, flush);
            CallThrice(a, Page + 8);
        });
        Assert.Equal(0x600UL + 6 + 0x60, _bench.Machine.Registers.Rbp);
    }

    [Fact]
    public void Links_that_a_flush_broke_lead_to_the_same_code_without_decoding_it()
    {
        WriteCounters();
        Run(a => CallThrice(a, Page + 8));
        SlowPaths before = _bench.Vcpu.SlowPaths;
        Run(a =>
        {
            Label again = a.CreateLabel();
            a.mov(ecx, 100);
            a.Label(ref again);
            a.call(Page + 8);
            FlushPage(a, Flush.InvpcidAll);
            a.dec(ecx);
            a.jne(again);
        });
        SlowPaths after = _bench.Vcpu.SlowPaths;
        Assert.Equal(6UL + 100, _bench.Machine.Registers.Rbp);
        Assert.Equal(100, after.Flushes - before.Flushes);
        Assert.InRange(after.Builds - before.Builds, 0, 10);
    }

    private ulong Cr2
    {
        get
        {
            _bench.Vcpu.GetSpecialRegisters(out KvmSregs sregs);
            return sregs.Cr2;
        }
    }

    // Six calls, direct and computed ones, each made three times so that they are linked.
    private static void CallThrice(Assembler a, ulong routine)
    {
        Label again = a.CreateLabel();
        a.mov(ecx, 3);
        a.Label(ref again);
        a.call(routine);
        a.mov(eax, (uint)routine);
        a.call(rax);
        a.dec(ecx);
        a.jne(again);
    }

    private void WriteStraddling()
    {
        _bench.Machine.Write(Straddling, [0x81, 0xC5]);
        _bench.Machine.Write(First, [1, 0, 0, 0, 0xC3]);
        _bench.Machine.Write(Second, [0, 1, 0, 0, 0xC3]);
    }
}
