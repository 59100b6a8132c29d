using Hyperscope.TestKit;
using Hyperscope.Vm;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>Watched bytes, and answers that bring data or discard a write.</summary>
public sealed class WatchTests : IDisposable
{
    private const ulong Page = 0x6_0000, Other = 0x7_0000, Function = 0x8_0000;

    private readonly TestMachine _machine = new();
    private readonly AnsweringObserver _observer = new();

    public WatchTests() => _machine.Memory.PageTracker.Subscribe(_observer);

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void A_store_beside_the_watched_bytes_is_made_without_asking_and_counted()
    {
        _machine.Watch(Page + 0x100, 8, PageAccess.Write);
        Run(a =>
        {
            a.mov(__dword_ptr[Page + 0xFC], 1);
            a.mov(__dword_ptr[Page + 0x108], 2);
            a.mov(eax, __dword_ptr[Page + 0x100]);
        });
        Assert.Empty(_observer.Log);
        Assert.Equal((2L, 0L), (_machine.Memory.PageTracker.Passed, _machine.Memory.PageTracker.Asked));
        Assert.Equal(1UL, _machine.Read64(Page + 0xFC) & 0xFFFF_FFFF);
        Assert.Equal(2UL, _machine.Read64(Page + 0x108));
    }

    [Theory]
    [InlineData(0xF9, 8, true)]
    [InlineData(0xF8, 8, false)]
    [InlineData(0x107, 1, true)]
    [InlineData(0x107, 8, true)]
    [InlineData(0x108, 8, false)]
    public void An_access_is_asked_for_if_one_byte_of_it_is_watched(int offset, int size, bool isAsked)
    {
        _machine.Watch(Page + 0x100, 8, PageAccess.Write);
        ulong address = Page + (ulong)offset;
        Run(a =>
        {
            if (size == 1)
                a.mov(__byte_ptr[address], al);
            else
                a.mov(__qword_ptr[address], rax);
        });
        Assert.Equal(isAsked ? [(address, PageAccess.Write, size)] : [], _observer.Log.Select(entry => (entry.Gpa, entry.Kind, entry.Length)));
    }

    [Fact]
    public void An_access_across_pages_is_asked_for_where_it_touches_watched_bytes()
    {
        _machine.Watch(Page + 0x1000, 2, PageAccess.Read | PageAccess.Write);
        Run(a =>
        {
            a.mov(rax, 0x1122_3344_5566_7788);
            a.mov(__qword_ptr[Page + 0xFFC], rax);
            a.mov(rbx, __qword_ptr[Page + 0xFF8]);
            a.mov(rbx, __qword_ptr[Page + 0xFF9]);
        });
        Assert.Equal(
            [(Page + 0x1000, PageAccess.Write, 4), (Page + 0x1000, PageAccess.Read, 1)],
            _observer.Log.Select(entry => (entry.Gpa, entry.Kind, entry.Length)));
        Assert.Equal([0x44, 0x33, 0x22, 0x11], _observer.Log[0].NewData);
        Assert.Equal(0x1122_3344_5566_7788UL, _machine.Read64(Page + 0xFFC));
    }

    [Fact]
    public void The_rights_of_the_page_count_beside_its_watches()
    {
        _machine.Watch(Page + 0x100, 8, PageAccess.Read);
        _machine.Restrict(Page, PageAccess.Read);
        Run(a =>
        {
            a.mov(__byte_ptr[Page], al);
            a.mov(al, __byte_ptr[Page]);
            a.mov(al, __byte_ptr[Page + 0x107]);
        });
        Assert.Equal([(Page, PageAccess.Write), (Page + 0x107, PageAccess.Read)], _observer.Log.Select(entry => (entry.Gpa, entry.Kind)));
    }

    [Fact]
    public void Each_element_of_a_repeated_store_is_looked_at_by_itself()
    {
        _machine.Watch(Page + 0x10, 0x10, PageAccess.Write);
        Run(a =>
        {
            a.mov(rdi, Page);
            a.mov(ecx, 8);
            a.mov(rax, -1);
            a.rep.stosq();
        });
        Assert.Equal([Page + 0x10, Page + 0x18], _observer.Log.Select(entry => entry.Gpa));
        Assert.Equal(6, _machine.Memory.PageTracker.Passed);
        Assert.All(_machine.Read(Page, 64), one => Assert.Equal(0xFF, one));
    }

    [Fact]
    public void Two_operands_on_one_page_are_asked_for_one_by_one()
    {
        _machine.Watch(Page, 1, PageAccess.Read);
        _machine.Watch(Page + 0x80, 1, PageAccess.Read);
        Run(a =>
        {
            a.mov(rsi, Page);
            a.mov(rdi, Page + 0x80);
            a.cmpsb();
        });
        Assert.Equal([Page, Page + 0x80], _observer.Log.Select(entry => entry.Gpa));
    }

    [Theory]
    [InlineData(0, 1)] // its first byte
    [InlineData(2, 1)] // a byte in the middle of it
    [InlineData(0, 5)]
    public void An_instruction_is_asked_for_each_time_it_executes_and_its_neighbours_never(int offset, int length)
    {
        ulong watched = LoadFunction();
        _machine.Watch(watched + (ulong)offset, (ulong)length, PageAccess.Execute);
        Assert.Equal(10UL * 7, CallTenTimes());
        Assert.Equal(10, _observer.Log.Count);
        Assert.All(_observer.Log, entry => Assert.Equal((watched, PageAccess.Execute, 5, watched), (entry.Gpa, entry.Kind, entry.Length, entry.Rip)));
    }

    [Fact]
    public void A_watch_set_or_ended_on_code_that_has_run_takes_effect_at_once()
    {
        ulong watched = LoadFunction();
        _ = CallTenTimes();
        _machine.Watch(watched, 1, PageAccess.Execute);
        _ = CallTenTimes();
        Assert.Equal(10, _observer.Log.Count);
        _machine.Watch(watched, 1, PageAccess.None);
        _ = CallTenTimes();
        Assert.Equal(10, _observer.Log.Count);
        _machine.Watch(watched, 1, PageAccess.Execute);
        _ = CallTenTimes();
        Assert.Equal(20, _observer.Log.Count);
    }

    [Fact]
    public void An_instruction_across_pages_is_asked_for_at_the_page_with_the_watched_byte()
    {
        _machine.Assemble(a =>
        {
            a.mov(eax, 0x1234_5678);
            a.ret();
        }, Function + 0xFFD);
        _machine.Watch(Function + 0x1001, 1, PageAccess.Execute);
        KvmRegs after = Run(a =>
        {
            a.mov(rbx, Function + 0xFFD);
            a.call(rbx);
        });
        Assert.Equal(0x1234_5678UL, after.Rax);
        Assert.Equal([(Function + 0x1000, 2, Function + 0xFFD)], _observer.Log.Select(entry => (entry.Gpa, entry.Length, entry.Rip)));
    }

    [Fact]
    public void A_repeated_instruction_that_is_watched_is_asked_for_once()
    {
        Run(a =>
        {
            a.mov(rdi, Page);
            a.mov(ecx, 100);
            a.rep.stosb();
        });
        ulong rip = TestMachine.CodeAddress + (ulong)_machine.Read(TestMachine.CodeAddress, 64).AsSpan().IndexOf((ReadOnlySpan<byte>)[0xF3, 0xAA]);
        _machine.Watch(rip, 1, PageAccess.Execute);
        Run(a =>
        {
            a.mov(rdi, Page);
            a.mov(ecx, 100);
            a.rep.stosb();
        });
        Assert.Equal([(rip, PageAccess.Execute)], _observer.Log.Select(entry => (entry.Gpa, entry.Kind)));
    }

    [Fact]
    public void A_read_sees_the_data_it_is_given_and_memory_for_the_rest()
    {
        _machine.Write64(Page, 0x1111_1111_1111_1111);
        _machine.Watch(Page, 8, PageAccess.Read);
        _observer.Answer = static (in access) => access.Answer!.Supply(new Gva(Page + 2), [0xAA, 0xBB]);
        KvmRegs after = Run(a =>
        {
            a.mov(rax, __qword_ptr[Page]);
            a.movdqu(xmm0, __xmmword_ptr[Page]);
            a.movq(rbx, xmm0);
            a.mov(rcx, 1);
            a.add(rcx, __qword_ptr[Page]);
        });
        Assert.Equal((0x1111_1111_BBAA_1111UL, 0x1111_1111_BBAA_1111UL, 0x1111_1111_BBAA_1112UL), (after.Rax, after.Rbx, after.Rcx));
        Assert.Equal(0x1111_1111_1111_1111UL, _machine.Read64(Page));
    }

    [Fact]
    public void A_fetch_sees_the_bytes_it_is_given()
    {
        _machine.Assemble(a =>
        {
            a.int3();
            a.nop();
            a.nop();
            a.nop();
            a.nop();
            a.ret();
        }, Function);
        _machine.Watch(Function, 1, PageAccess.Execute);
        _observer.Answer = static (in access) => access.Answer!.Supply(new Gva(Function), [0xB8, 0x78, 0x56, 0x34, 0x12]);
        KvmRegs after = Run(a =>
        {
            a.mov(rbx, Function);
            a.call(rbx);
        });
        Assert.Equal(0x1234_5678UL, after.Rax);
        _ = Assert.Single(_observer.Log);
    }

    [Fact]
    public void Discarded_writes_retire_and_leave_memory_as_it_was()
    {
        _machine.Write64(Page, 0x1111);
        _machine.Write64(Page + 8, 0x2222);
        _machine.Watch(Page, 16, PageAccess.Write);
        _observer.Answer = static (in access) => access.Answer!.Discard();
        KvmRegs after = Run(a =>
        {
            a.mov(__qword_ptr[Page], 5);
            a.mov(rax, 7);
            a.xchg(__qword_ptr[Page], rax);
            a.mov(rbx, 1);
            a.@lock.xadd(__qword_ptr[Page + 8], rbx);
            a.@lock.add(__qword_ptr[Page], 3);
            a.pushfq();
            a.pop(r15);
            a.mov(r14, rsp);
            a.mov(rsp, Page + 16);
            a.push(rcx);
            a.xchg(r14, rsp);
            a.mov(rdi, Page);
            a.mov(ecx, 2);
            a.rep.stosq();
        });
        Assert.Equal((0x1111UL, 0x2222UL), (_machine.Read64(Page), _machine.Read64(Page + 8)));
        Assert.Equal((0x1111UL, 0x2222UL, Page + 8, Page + 16, 0UL), (after.Rax, after.Rbx, after.R14, after.Rdi, after.Rcx));
        Assert.Equal(7, _observer.Log.Count);
        Assert.Equal(0UL, after.R15 & 0x40); // 0x1111 + 3 is not zero
    }

    [Fact]
    public void A_write_stores_the_data_it_is_given()
    {
        _machine.Write64(Page, 0x1111_1111_1111_1111);
        _machine.Watch(Page, 8, PageAccess.Write);
        _observer.Answer = static (in access) => access.Answer!.Supply(new Gva(Page + 1), [0xAA]);
        KvmRegs after = Run(a =>
        {
            a.mov(rax, 0x2222_2222_2222_2222);
            a.mov(__qword_ptr[Page], rax);
            a.mov(rbx, __qword_ptr[Page]);
            a.mov(rcx, 1);
            a.@lock.xadd(__qword_ptr[Page], rcx);
        });
        Assert.Equal((0x2222_2222_2222_AA22UL, 0x2222_2222_2222_AA22UL), (after.Rbx, after.Rcx));
        Assert.Equal(0x2222_2222_2222_AA23UL, _machine.Read64(Page));
    }

    [Fact]
    public void A_discarded_write_across_pages_leaves_both_as_they_were()
    {
        _machine.Watch(Page + 0x1000, 1, PageAccess.Write);
        _observer.Answer = static (in access) => access.Answer!.Discard();
        Run(a =>
        {
            a.mov(rax, -1);
            a.mov(__qword_ptr[Page + 0xFFC], rax);
        });
        Assert.Equal(0UL, _machine.Read64(Page + 0xFFC));
    }

    [Fact]
    public void What_a_read_modify_write_would_store_is_known_before_it_does()
    {
        _machine.Write64(Page, 40);
        _machine.Watch(Page, 8, PageAccess.Write);
        KvmRegs after = Run(a =>
        {
            a.mov(rbx, 2);
            a.add(__qword_ptr[Page], rbx);
            a.@lock.inc(__dword_ptr[Page]);
            a.mov(eax, 43);
            a.mov(ecx, 99);
            a.@lock.cmpxchg(__dword_ptr[Page], ecx);
            a.mov(edx, 5);
            a.xchg(__dword_ptr[Page], edx);
            a.bts(__dword_ptr[Page], 4);
            a.shl(__dword_ptr[Page], 1);
        });
        Assert.Equal([42, 43, 99, 5, 21, 42], _observer.Log.Select(entry => (int)entry.NewData[0]));
        Assert.Equal(42UL, _machine.Read64(Page));
        Assert.Equal((43UL, 99UL), (after.Rax, after.Rdx));
    }

    [Fact]
    public void An_exception_can_be_raised_instead_of_a_watched_write()
    {
        using var bench = new LongModeBench();
        bench.Machine.Memory.PageTracker.Subscribe(_observer);
        bench.Machine.Watch(Page, 8, PageAccess.Write);
        _observer.Verdict = (vcpu, in _) =>
        {
            Assert.True(vcpu.TryQueueException(13, 0, 0));
            return PageTrackVerdict.Retry;
        };
        bench.Machine.Assemble(a => a.mov(__qword_ptr[Page], 5));
        Assert.Equal(13, bench.RunToHandler());
        Assert.Equal([0, TestMachine.CodeAddress], bench.Stack(2));
        Assert.Equal(0UL, bench.Machine.Read64(Page));
        _ = Assert.Single(_observer.Log);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Random_accesses_are_asked_for_as_a_plain_model_says(int seed)
    {
        var random = new Random(seed);
        for (int round = 0; round < 60; round++)
        {
            using var machine = new TestMachine();
            var observer = new AnsweringObserver { Limit = 10_000 };
            machine.Memory.PageTracker.Subscribe(observer);
            byte[] memory = new byte[0x2000];
            random.NextBytes(memory);
            machine.Write(Page, memory);
            var watched = new PageAccess[memory.Length];
            for (int count = random.Next(1, 8); count > 0; count--)
            {
                int start = random.Next(memory.Length), length = Math.Min(random.Next(1, random.Next(2) == 0 ? 16 : 0x900), memory.Length - start);
                var kinds = (PageAccess)random.Next(0, 4);
                Array.Fill(watched, kinds, start, length);
                machine.Watch(Page + (ulong)start, (ulong)length, kinds);
            }

            List<(ulong, PageAccess, int)> expected = [];
            List<(bool IsDiscarded, int)> decisions = [];
            observer.Answer = (in access) =>
            {
                bool discards = access.Kind == PageAccess.Write && random.Next(3) == 0;
                if (discards)
                    access.Answer!.Discard();
                decisions.Add((discards, 0));
            };
            List<Access> accesses = [.. Enumerable.Range(0, 40).Select(_ => Access.Make(random, memory.Length, watched))];
            machine.LoadProgram(a =>
            {
                foreach (Access access in accesses)
                    access.Emit(a);
            });
            _ = machine.Vcpu.Run(100_000);
            int decision = 0;
            foreach (Access access in accesses)
            {
                ulong before = access.Load(memory);
                if (access.Reads)
                    expected.AddRange(access.Denied(watched, PageAccess.Read));
                if (!access.Writes)
                {
                    decision = expected.Count;
                    continue;
                }

                int writes = expected.Count;
                expected.AddRange(access.Denied(watched, PageAccess.Write));
                bool isDiscarded = Enumerable.Range(writes, expected.Count - writes).Any(index => index < decisions.Count && decisions[index].IsDiscarded);
                decision = expected.Count;
                if (!isDiscarded)
                    access.Store(memory, before);
            }

            Assert.Equal(expected, observer.Log.Select(entry => (entry.Gpa, entry.Kind, entry.Length)));
            Assert.Equal(decision, decisions.Count);
            Assert.Equal(Convert.ToHexString(memory), Convert.ToHexString(machine.Read(Page, memory.Length)));
        }
    }

    private KvmRegs Run(Action<Assembler> code)
    {
        Assert.Equal(RunOutcome.Stopped, _machine.RunProgram(code, 100_000));
        return _machine.Registers;
    }

    // add ebx, 2; mov ecx, 5 (five bytes); add ebx, ecx; ret
    private ulong LoadFunction()
    {
        _ = _machine.Assemble(a =>
        {
            a.add(ebx, 2);
            a.mov(ecx, 5);
            a.add(ebx, ecx);
            a.ret();
        }, Function);
        return Function + 3;
    }

    private ulong CallTenTimes() => Run(a =>
    {
        Label loop = a.CreateLabel();
        a.mov(rbp, Function);
        a.xor(ebx, ebx);
        a.mov(r12d, 10);
        a.Label(ref loop);
        a.call(rbp);
        a.dec(r12d);
        a.jnz(loop);
    }).Rbx;

    /// <summary>One load, store or read-modify-write.</summary>
    private sealed record Access(int Offset, int Size, int Form, ulong Value)
    {
        public bool Reads => Form != 1;

        public bool Writes => Form != 0;

        public static Access Make(Random random, int room, PageAccess[] watched)
        {
            int size = 1 << random.Next(4);

            // Every other one is near a border of what is watched, or of the page.
            int offset = random.Next(room - 8);
            if (random.Next(2) == 0)
            {
                int border = Enumerable.Range(1, room - 9).Where(index => watched[index] != watched[index - 1] || index == 0x1000).ElementAtOrDefault(random.Next(6));
                offset = border == 0 ? offset : Math.Clamp(border - random.Next(0, 9), 0, room - 8);
            }

            return new Access(offset, size, random.Next(4), (ulong)random.NextInt64());
        }

        public void Emit(Assembler a)
        {
            ulong address = Page + (ulong)Offset;
            a.mov(rbx, address);
            a.mov(rax, Value);
            switch (Form, Size)
            {
                case (0, 1): a.mov(cl, __byte_ptr[rbx]); break;
                case (0, 2): a.mov(cx, __word_ptr[rbx]); break;
                case (0, 4): a.mov(ecx, __dword_ptr[rbx]); break;
                case (0, 8): a.mov(rcx, __qword_ptr[rbx]); break;
                case (1, 1): a.mov(__byte_ptr[rbx], al); break;
                case (1, 2): a.mov(__word_ptr[rbx], ax); break;
                case (1, 4): a.mov(__dword_ptr[rbx], eax); break;
                case (1, 8): a.mov(__qword_ptr[rbx], rax); break;
                case (2, 1): a.@lock.add(__byte_ptr[rbx], al); break;
                case (2, 2): a.@lock.add(__word_ptr[rbx], ax); break;
                case (2, 4): a.@lock.add(__dword_ptr[rbx], eax); break;
                case (2, 8): a.@lock.add(__qword_ptr[rbx], rax); break;
                case (3, 1): a.xor(__byte_ptr[rbx], al); break;
                case (3, 2): a.xor(__word_ptr[rbx], ax); break;
                case (3, 4): a.xor(__dword_ptr[rbx], eax); break;
                default: a.xor(__qword_ptr[rbx], rax); break;
            }
        }

        public ulong Load(byte[] memory)
        {
            ulong value = 0;
            for (int index = 0; index < Size; index++)
                value |= (ulong)memory[Offset + index] << (8 * index);
            return value;
        }

        public void Store(byte[] memory, ulong before)
        {
            ulong value = Form switch { 1 => Value, 2 => unchecked(before + Value), _ => before ^ Value };
            for (int index = 0; index < Size; index++)
                memory[Offset + index] = (byte)(value >> (8 * index));
        }

        public IEnumerable<(ulong, PageAccess, int)> Denied(PageAccess[] watched, PageAccess kind)
        {
            for (int start = Offset; start < Offset + Size;)
            {
                int end = Math.Min(Offset + Size, (start | 0xFFF) + 1);
                if (watched[start..end].Any(kinds => (kinds & kind) != 0))
                    yield return (Page + (ulong)start, kind, end - start);
                start = end;
            }
        }
    }
}

/// <summary>Logs accesses with their data, and answers them.</summary>
internal sealed class AnsweringObserver : IPageTrackSubscriber
{
    public delegate void Answering(in PageTrackAccess access);

    public delegate PageTrackVerdict Judging(IVcpu vcpu, in PageTrackAccess access);

    public List<(ulong Gpa, PageAccess Kind, int Length, ulong Rip, byte[] NewData)> Log { get; } = [];

    public int Limit { get; init; } = 200;

    public Answering Answer { get; set; } = static (in _) => { };

    public Judging Verdict { get; set; } = static (_, in _) => PageTrackVerdict.Allow;

    public PageTrackVerdict BeforeAccess(IVcpu vcpu, in PageTrackAccess access)
    {
        vcpu.GetRegisters(out KvmRegs registers);
        Log.Add((access.Gpa.Value, access.Kind, access.Length, registers.Rip, access.NewData.ToArray()));
        Assert.True(Log.Count < Limit, "asked again and again");
        Answer(access);
        return Verdict(vcpu, access);
    }

    public void SlotCreated(MemorySlot slot)
    {
    }

    public void SlotFlushed(MemorySlot slot)
    {
    }
}
