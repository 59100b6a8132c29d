using Hyperscope.TestKit;
using Hyperscope.Vm;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>The guest changes its tables: nothing stale is used after the instruction that the manual asks for.</summary>
public sealed partial class TranslationCacheTests : IDisposable
{
    private const ulong Page = 0x6_0000, First = 0x7_0000, Second = 0x8_0000, Entry = 0x9_0000;
    private const ulong Rights = TestMachine.PagePresent | TestMachine.PageWritable;

    private const ulong Global = 1 << 8;

    private readonly LongModeBench _bench = new();
    private readonly ulong _slot;

    public TranslationCacheTests()
    {
        _bench.Machine.Map(Page, First, 0x1000);
        _bench.Machine.Write64(First, 0x1111);
        _bench.Machine.Write64(Second, 0x2222);
        _slot = SlotOf(Page);
    }

    public enum Flush
    {
        InvlpgAtTheStart,
        InvlpgInside,
        WriteCr3,
        ToggleGlobal,
        InvpcidAll,
    }

    public static TheoryData<Flush> Flushes => [.. Enum.GetValues<Flush>()];

    public void Dispose() => _bench.Dispose();

    [Theory]
    [MemberData(nameof(Flushes))]
    public void A_read_after_the_flush_sees_the_new_frame(Flush flush)
    {
        Run(a =>
        {
            a.mov(rax, __qword_ptr[Page]);
            SetEntry(a, Second | Rights);
            FlushPage(a, flush);
            a.mov(rbx, __qword_ptr[Page]);
        });
        Assert.Equal((0x1111UL, 0x2222UL), (_bench.Machine.Registers.Rax, _bench.Machine.Registers.Rbx));
    }

    [Theory]
    [MemberData(nameof(Flushes))]
    public void A_write_after_the_flush_goes_to_the_new_frame_and_sets_its_dirty_bit(Flush flush)
    {
        Run(a =>
        {
            a.mov(__qword_ptr[Page], 1);
            SetEntry(a, Second | Rights);
            FlushPage(a, flush);
            a.mov(__qword_ptr[Page], 2);
        });
        Assert.Equal((1UL, 2UL), (_bench.Machine.Read64(First), _bench.Machine.Read64(Second)));
        Assert.Equal(Second | Rights | 0x60, _bench.Machine.Read64(_slot));
    }

    [Theory]
    [MemberData(nameof(Flushes))]
    public void A_call_after_the_flush_executes_the_new_code(Flush flush)
    {
        _bench.Machine.Write(First, TestMachine.AssembleBytes(CpuMode.Bits64, a => { a.add(rbp, 1); a.ret(); }, Page));
        _bench.Machine.Write(Second, TestMachine.AssembleBytes(CpuMode.Bits64, a => { a.add(rbp, 0x100); a.ret(); }, Page));
        Run(a =>
        {
            Label again = a.CreateLabel();
            a.mov(ecx, 3); // the call is linked and its target in the cache of jumps
            a.Label(ref again);
            a.call(Page);
            a.mov(eax, (uint)Page);
            a.call(rax);
            a.dec(ecx);
            a.jne(again);
            SetEntry(a, Second | Rights);
            FlushPage(a, flush);
            a.call(Page);
            a.mov(eax, (uint)Page);
            a.call(rax);
        });
        Assert.Equal(0x206UL, _bench.Machine.Registers.Rbp);
    }

    [Theory]
    [MemberData(nameof(Flushes))]
    public void A_page_that_is_taken_away_faults_after_the_flush(Flush flush)
    {
        Assert.Equal(14, RunToFault(a =>
        {
            a.mov(rax, __qword_ptr[Page]);
            SetEntry(a, 0);
            FlushPage(a, flush);
            a.mov(rbx, __qword_ptr[Page]);
        }));
        Assert.Equal(0UL, _bench.Stack(1)[0]);
    }

    [Theory]
    [MemberData(nameof(Flushes))]
    public void A_page_that_lost_its_write_right_faults_after_the_flush(Flush flush)
    {
        Assert.Equal(14, RunToFault(a =>
        {
            a.mov(__qword_ptr[Page], 1);
            SetEntry(a, First | TestMachine.PagePresent);
            FlushPage(a, flush);
            a.mov(__qword_ptr[Page], 2);
        }));
        Assert.Equal(3UL, _bench.Stack(1)[0]);
        Assert.Equal(1UL, _bench.Machine.Read64(First));
    }

    [Fact]
    public void Rights_that_are_added_count_at_once_for_an_absent_page()
    {
        _bench.Machine.Write64(_slot, 0);
        Run(a =>
        {
            SetEntry(a, Second | Rights);
            a.mov(rbx, __qword_ptr[Page]);
        });
        Assert.Equal(0x2222UL, _bench.Machine.Registers.Rbx);
    }

    [Fact]
    public void A_first_write_behind_a_read_sets_the_dirty_bit()
    {
        _bench.Machine.Write64(_slot, First | Rights);
        Run(a =>
        {
            a.mov(rax, __qword_ptr[Page]);
            a.mov(r8, _slot);
            a.mov(r9, __qword_ptr[r8]);
            a.mov(__qword_ptr[Page], 7);
        });
        Assert.Equal(First | Rights | 0x20, _bench.Machine.Registers.R9);
        Assert.Equal(First | Rights | 0x60, _bench.Machine.Read64(_slot));
    }

    [Theory]
    [InlineData(0x20_0000UL)]
    [InlineData(0x2A_B000UL)]
    [InlineData(0x3F_F000UL)]
    public void INVLPG_anywhere_in_a_large_page_drops_all_of_it(ulong at)
    {
        ulong directory = DirectorySlotOf(0x20_0000);
        _bench.Machine.Write64(0x20_0000, 1);
        _bench.Machine.Write64(0x3F_F000, 2);
        _bench.Machine.Write64(0x40_0000, 3);
        _bench.Machine.Write64(0x5F_F000, 4);
        Run(a =>
        {
            a.mov(rax, __qword_ptr[0x20_0000]);
            a.add(rax, __qword_ptr[0x3F_F000]);
            a.mov(r8, directory);
            a.mov(r9, 0x40_0083);
            a.mov(__qword_ptr[r8], r9);
            a.mov(r8, at);
            a.invlpg(__[r8]);
            a.mov(rbx, __qword_ptr[0x20_0000]);
            a.mov(rdx, __qword_ptr[0x3F_F000]);
        });
        Assert.Equal((3UL, 3UL, 4UL), (_bench.Machine.Registers.Rax, _bench.Machine.Registers.Rbx, _bench.Machine.Registers.Rdx));
    }

    [Fact]
    public void A_supervisor_INVLPG_drops_what_user_code_cached()
    {
        const ulong UserRights = Rights | TestMachine.PageUser;
        _bench.Machine.Map(Page, First, 0x1000, UserRights);
        _bench.SetGate(0x80, dpl: 3);
        _bench.Machine.Assemble(
            a =>
            {
                SetEntry(a, Second | UserRights);
                a.mov(r8, Page);
                a.invlpg(__[r8]);
                a.iretq();
            },
            0xA_0000);
        _bench.SetGate(0x80, dpl: 3, target: 0xA_0000);
        _bench.Machine.Assemble(
            a =>
            {
                a.mov(rax, __qword_ptr[Page]);
                a.@int(0x80);
                a.mov(rbx, __qword_ptr[Page]);
                a.ud2();
            },
            LongModeBench.UserCode);
        _bench.EnterUser();
        Assert.Equal(6, _bench.RunToHandler());
        Assert.Equal((0x1111UL, 0x2222UL), (_bench.Machine.Registers.Rax, _bench.Machine.Registers.Rbx));
    }

    [Fact]
    public void CLAC_forbids_what_STAC_allowed()
    {
        _bench.Machine.Map(Page, First, 0x1000, Rights | TestMachine.PageUser);
        Assert.Equal(14, RunToFault(a =>
        {
            a.mov(rax, cr4);
            a.or(rax, (int)Cr4.Smap);
            a.mov(cr4, rax);
            a.stac();
            a.mov(rbx, __qword_ptr[Page]);
            a.mov(__qword_ptr[Page], 5);
            a.clac();
            a.mov(rdx, 1);
            a.mov(rdx, __qword_ptr[Page]);
        }));
        Assert.Equal((0x1111UL, 1UL, 1UL), (_bench.Machine.Registers.Rbx, _bench.Machine.Registers.Rdx, _bench.Stack(1)[0]));
    }

    [Fact]
    public void Setting_CR0_WP_takes_writes_to_read_only_pages_away()
    {
        _bench.Machine.Map(Page, First, 0x1000, TestMachine.PagePresent);
        Assert.Equal(14, RunToFault(a =>
        {
            a.mov(rax, cr0);
            a.btr(rax, 16);
            a.mov(cr0, rax);
            a.mov(__qword_ptr[Page], 5);
            a.bts(rax, 16);
            a.mov(cr0, rax);
            a.mov(__qword_ptr[Page], 6);
        }));
        Assert.Equal((3UL, 5UL), (_bench.Stack(1)[0], _bench.Machine.Read64(First)));
    }

    [Fact]
    public void Setting_CR4_SMEP_takes_the_execution_of_user_pages_away()
    {
        _bench.Machine.Map(Page, First, 0x1000, Rights | TestMachine.PageUser);
        _bench.Machine.Write(First, [0xC3]);
        Assert.Equal(14, RunToFault(a =>
        {
            a.call(Page);
            a.mov(rax, cr4);
            a.bts(rax, 20);
            a.mov(cr4, rax);
            a.call(Page);
        }));
        Assert.Equal([0x11UL, Page], _bench.Stack(2));
    }

    [Fact]
    public void Clearing_EFER_NXE_makes_the_NX_bit_reserved()
    {
        _bench.Machine.Map(Page, First, 0x1000, Rights | TestMachine.PageNoExecute);
        Assert.Equal(14, RunToFault(a =>
        {
            a.mov(rbx, __qword_ptr[Page]);
            a.mov(ecx, MsrIndex.Efer);
            a.rdmsr();
            a.btr(eax, 11);
            a.wrmsr();
            a.mov(rbx, __qword_ptr[Page]);
        }));
        Assert.Equal(9UL, _bench.Stack(1)[0]);
    }

    [Fact]
    public void Another_CR3_is_another_address_space_for_data_and_code()
    {
        // A second root that shares everything but the directory of the first 2 MiB, where the page is mapped elsewhere.
        TestMachine machine = _bench.Machine;
        ulong root = Entry, pointers = Entry + 0x1000, directory = Entry + 0x2000, table = Entry + 0x3000;
        machine.Write(table, machine.Read(_slot & ~0xFFFUL, 4096));
        machine.Write(directory, machine.Read(DirectorySlotOf(0) & ~0xFFFUL, 4096));
        machine.Write64(directory, table | 0x23);
        machine.Write64(pointers, directory | 0x23);
        machine.Write64(root, pointers | 0x23);
        machine.Write64(table + (_slot & 0xFFF), Second | Rights);
        machine.Write(First + 8, TestMachine.AssembleBytes(CpuMode.Bits64, a => { a.add(rbp, 1); a.ret(); }, Page + 8));
        machine.Write(Second + 8, TestMachine.AssembleBytes(CpuMode.Bits64, a => { a.add(rbp, 0x100); a.ret(); }, Page + 8));
        Run(a =>
        {
            Label again = a.CreateLabel();
            a.mov(ecx, 5);
            a.mov(rdx, root);
            a.mov(rsi, cr3);
            a.Label(ref again);
            a.call(Page + 8);
            a.add(rax, __qword_ptr[Page]);
            a.mov(cr3, rdx);
            a.call(Page + 8);
            a.add(rbx, __qword_ptr[Page]);
            a.mov(cr3, rsi);
            a.dec(ecx);
            a.jne(again);
        });
        KvmRegs registers = machine.Registers;
        Assert.Equal((5 * 0x1111UL, 5 * 0x2222UL, 0x505UL), (registers.Rax, registers.Rbx, registers.Rbp));
    }

    [Fact]
    public void A_global_translation_outlives_CR3_until_INVLPG()
    {
        EnableGlobalPages();
        _bench.Machine.Write64(_slot, First | Rights | Global);
        WriteCounters();
        Run(a =>
        {
            a.call(Page + 8);
            a.mov(rax, __qword_ptr[Page]);
            SetEntry(a, Second | Rights | Global);
            FlushPage(a, Flush.WriteCr3);
            a.call(Page + 8);
            a.mov(rbx, __qword_ptr[Page]);
            FlushPage(a, Flush.InvlpgInside);
            a.call(Page + 8);
            a.mov(rdx, __qword_ptr[Page]);
        });
        KvmRegs registers = _bench.Machine.Registers;
        Assert.Equal((0x1111UL, 0x1111UL, 0x2222UL, 0x102UL), (registers.Rax, registers.Rbx, registers.Rdx, registers.Rbp));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(31)]
    [InlineData(32)]
    [InlineData(33)]
    [InlineData(60)]
    public void Translations_that_are_not_global_end_with_CR3_among_global_ones(int pages)
    {
        const ulong Pages = 0x10_0000;
        EnableGlobalPages();
        ulong slot = SlotOf(Pages);
        for (int page = 0; page < pages; page++)
            _bench.Machine.Write64(slot + ((ulong)page * 8), First | Rights);
        Run(a =>
        {
            Label again = a.CreateLabel(), read = a.CreateLabel(), remap = a.CreateLabel();
            a.mov(ecx, 2);
            a.Label(ref again);
            a.mov(r8, Pages);
            a.mov(edx, (uint)pages);
            a.Label(ref read);
            a.add(rbx, __qword_ptr[r8]);
            a.add(r8, 0x1000);
            a.dec(edx);
            a.jne(read);
            a.mov(r9, slot);
            a.mov(edx, (uint)pages);
            a.Label(ref remap);
            a.mov(__qword_ptr[r9], (int)(Second | Rights));
            a.add(r9, 8);
            a.dec(edx);
            a.jne(remap);
            FlushPage(a, Flush.WriteCr3);
            a.dec(ecx);
            a.jne(again);
        });
        Assert.Equal((ulong)pages * 0x3333, _bench.Machine.Registers.Rbx);
    }

    [Fact]
    public void Code_that_is_not_global_ends_with_CR3_though_its_callers_are()
    {
        EnableGlobalPages();
        WriteCounters();
        Run(a =>
        {
            Label again = a.CreateLabel();
            a.mov(ecx, 3);
            a.Label(ref again);
            a.call(Page + 8); // linked after the first time
            a.dec(ecx);
            a.jne(again);
            SetEntry(a, Second | Rights);
            FlushPage(a, Flush.WriteCr3);
            a.call(Page + 8);
        });
        Assert.Equal(0x103UL, _bench.Machine.Registers.Rbp);
    }

    [Fact]
    public void The_same_CR3_with_bit_63_keeps_translations()
    {
        Run(a =>
        {
            a.mov(r8, cr4);
            a.or(r8, (int)Cr4.Pcide);
            a.mov(cr4, r8);
            a.mov(rax, __qword_ptr[Page]);
            SetEntry(a, Second | Rights);
            a.mov(r8, cr3);
            a.bts(r8, 63);
            a.mov(cr3, r8);
            a.mov(rbx, __qword_ptr[Page]);
            FlushPage(a, Flush.WriteCr3);
            a.mov(rdx, __qword_ptr[Page]);
        });
        KvmRegs registers = _bench.Machine.Registers;
        Assert.Equal((0x1111UL, 0x1111UL, 0x2222UL), (registers.Rax, registers.Rbx, registers.Rdx));
    }

    private void WriteCounters()
    {
        _bench.Machine.Write(First + 8, TestMachine.AssembleBytes(CpuMode.Bits64, a => { a.add(rbp, 1); a.ret(); }, Page + 8));
        _bench.Machine.Write(Second + 8, TestMachine.AssembleBytes(CpuMode.Bits64, a => { a.add(rbp, 0x100); a.ret(); }, Page + 8));
    }

    // Everything below 2 MB but the page is global, the code of the test included.
    private void EnableGlobalPages()
    {
        ulong table = SlotOf(0);
        for (ulong slot = table; slot < table + 4096; slot += 8)
        {
            ulong entry = _bench.Machine.Read64(slot);
            if ((entry & TestMachine.PagePresent) != 0 && slot != _slot)
                _bench.Machine.Write64(slot, entry | Global);
        }

        _bench.Vcpu.GetSpecialRegisters(out KvmSregs sregs);
        sregs.Cr4 |= Cr4.Pge;
        _bench.Vcpu.SetSpecialRegisters(sregs);
    }

    private void Run(Action<Assembler> code) => Assert.Equal(RunOutcome.Stopped, _bench.Machine.RunProgram(code, 100_000));

    private int RunToFault(Action<Assembler> code)
    {
        _bench.Machine.LoadProgram(code);
        return _bench.RunToHandler();
    }

    private void SetEntry(Assembler a, ulong entry)
    {
        a.mov(r8, _slot);
        a.mov(r9, entry);
        a.mov(__qword_ptr[r8], r9);
    }

    private static void FlushPage(Assembler a, Flush flush)
    {
        switch (flush)
        {
            case Flush.InvlpgAtTheStart or Flush.InvlpgInside:
                a.mov(r8, flush == Flush.InvlpgInside ? Page + 0xFFF : Page);
                a.invlpg(__[r8]);
                break;
            case Flush.WriteCr3:
                a.mov(r8, cr3);
                a.mov(cr3, r8);
                break;
            case Flush.ToggleGlobal:
                a.mov(r8, cr4);
                a.xor(r8, (int)Cr4.Pge);
                a.mov(cr4, r8);
                break;
            default:
                a.sub(rsp, 16);
                a.mov(__qword_ptr[rsp], 0);
                a.mov(__qword_ptr[rsp + 8], 0);
                a.mov(r8, 2);
                a.invpcid(r8, __xmmword_ptr[rsp]);
                a.add(rsp, 16);
                break;
        }
    }

    private ulong DirectorySlotOf(ulong linear)
    {
        ulong table = _bench.Machine.RootTable;
        for (int level = 4; level > 2; level--)
            table = _bench.Machine.Read64(table + ((linear >> (12 + (9 * (level - 1))) & 0x1FF) * 8)) & 0xFF_FFFF_F000;
        return table + ((linear >> 21 & 0x1FF) * 8);
    }

    private ulong SlotOf(ulong linear) => (_bench.Machine.Read64(DirectorySlotOf(linear)) & 0xFF_FFFF_F000) + ((linear >> 12 & 0x1FF) * 8);
}
