using Hyperscope.TestKit;
using Hyperscope.Vm;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>A store into code takes effect with the next instruction, wherever it comes from.</summary>
public sealed class SelfModifyingCodeTests : IDisposable
{
    private const ulong Code = TestMachine.CodeAddress, Routine = 0x6_0000, Alias = 0x80_0000;

    // mov eax, imm32; ret
    private static readonly byte[] _one = [0xB8, 1, 0, 0, 0, 0xC3];

    private readonly LongModeBench _bench = new(vcpus: 2);

    public void Dispose() => _bench.Dispose();

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void A_store_into_its_own_block_changes_the_instruction_behind_it(int passes)
    {
        // The immediate behind "mov eax" is incremented by the store in front of it, in one block.
        Run(a =>
        {
            // mov (5 bytes) and xor (2) come first, then INC of 7 bytes: the immediate is 15 bytes from the start.
            Label again = a.CreateLabel();
            a.mov(ecx, passes);
            a.xor(edx, edx);
            a.Label(ref again);
            a.inc(__dword_ptr[Code + 15]);
            a.mov(eax, 0x100);
            a.add(edx, eax);
            a.dec(ecx);
            a.jne(again);
        });
        ulong sum = 0;
        for (int pass = 1; pass <= passes; pass++)
            sum += 0x100 + (ulong)pass;
        Assert.Equal(sum, _bench.Machine.Registers.Rdx);
    }

    [Fact]
    public void A_store_into_another_routine_of_the_same_page_is_seen_by_a_linked_call()
    {
        _bench.Machine.Write(Code + 0x800, _one);
        Run(a => CallPatchCall(a, Code + 0x800, Code + 0x801));
        Assert.Equal((4UL, 8UL), (_bench.Machine.Registers.Rbx, _bench.Machine.Registers.Rdx));
    }

    [Fact]
    public void A_store_through_another_mapping_of_the_frame_is_seen()
    {
        _bench.Machine.Write(Routine, _one);
        _bench.Machine.Map(Alias, Routine, 0x1000);
        Run(a => CallPatchCall(a, Routine, Alias + 1));
        Assert.Equal((4UL, 8UL), (_bench.Machine.Registers.Rbx, _bench.Machine.Registers.Rdx));
    }

    [Fact]
    public void Code_executed_through_two_mappings_changes_in_both()
    {
        _bench.Machine.Write(Routine, _one);
        _bench.Machine.Map(Alias, Routine, 0x1000);
        Run(a =>
        {
            a.call(Alias);
            a.mov(esi, eax);
            CallPatchCall(a, Routine, Routine + 1);
            a.call(Alias);
        });
        Assert.Equal((1UL, 2UL, 8UL), (_bench.Machine.Registers.Rsi, _bench.Machine.Registers.Rax, _bench.Machine.Registers.Rdx));
    }

    [Fact]
    public void A_repeated_store_over_code_is_seen()
    {
        _bench.Machine.Write(Routine, _one);
        _bench.Machine.Write(Routine + 0x1000, [0xB8, 2, 0, 0, 0, 0xC3]);
        Run(a =>
        {
            a.call(Routine);
            a.mov(ebx, eax);
            a.mov(esi, (uint)Routine + 0x1000);
            a.mov(edi, (uint)Routine);
            a.mov(ecx, 6);
            a.rep.movsb();
            a.call(Routine);
        });
        Assert.Equal((1UL, 2UL), (_bench.Machine.Registers.Rbx, _bench.Machine.Registers.Rax));
    }

    [Fact]
    public void An_instruction_across_two_pages_changes_when_its_second_page_does()
    {
        ulong start = Routine + 0xFFE;
        _bench.Machine.Write(start, _one);
        Run(a => CallPatchCall(a, start, start + 2, upper: true));
        Assert.Equal((4UL, 4 * 0x101UL), (_bench.Machine.Registers.Rbx, _bench.Machine.Registers.Rdx));
    }

    [Fact]
    public void An_instruction_across_two_pages_follows_a_new_mapping_of_the_second()
    {
        ulong start = Routine + 0xFFE;
        _bench.Machine.Write(start, _one);
        _bench.Machine.Write(Routine + 0x3000, [0, 7, 0, 0xC3]);
        Assert.Equal(1UL, RunCallTwice(start, () => _bench.Machine.Map(Routine + 0x1000, Routine + 0x3000, 0x1000)));
        Assert.Equal(0x7_0001UL, _bench.Machine.Registers.Rax);
    }

    [Fact]
    public void A_write_from_outside_the_guest_is_seen()
    {
        _bench.Machine.Write(Routine, _one);
        Assert.Equal(1UL, RunCallTwice(Routine, () => Assert.True(_bench.Machine.Memory.TryWrite(new Gpa(Routine + 1), [9]))));
        Assert.Equal(9UL, _bench.Machine.Registers.Rax);
    }

    [Fact]
    public void A_write_from_outside_while_the_guest_runs_ends_its_loop()
    {
        // jmp $ until the write makes it something else.
        _bench.Machine.Write(Code, [0xEB, 0xFE, 0xE6, (byte)TestBus.StopPort]);
        using var entered = new ManualResetEventSlim();
        _bench.Machine.Bus.PortInput = (_, _) => { entered.Set(); return 0; };
        _bench.Machine.Write(Code - 2, [0xE4, 0x10]);
        SetRip(0, Code - 2);
        RunOutcome outcome = default;
        var thread = new Thread(() => outcome = _bench.Vcpu.Run(ulong.MaxValue)) { IsBackground = true };
        thread.Start();
        Assert.True(entered.Wait(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken));
        Assert.True(_bench.Machine.Memory.TryWrite(new Gpa(Code), [0x90, 0x90]));
        Assert.True(thread.Join(TimeSpan.FromSeconds(60)));
        Assert.Equal(RunOutcome.Stopped, outcome);
    }

    [Fact]
    public void A_store_by_another_processor_ends_the_loop_it_is_in()
    {
        _bench.Machine.Write(Code, [0xE4, 0x10, 0xEB, 0xFE, 0xE6, (byte)TestBus.StopPort]); // in al, 10h; jmp $; out
        _bench.Machine.Assemble(
            a =>
            {
                a.mov(__word_ptr[Code + 2], unchecked((short)0x9090));
                a.@out(unchecked((sbyte)TestBus.StopPort), al);
            },
            Routine);
        using var entered = new ManualResetEventSlim();
        _bench.Machine.Bus.PortInput = (_, _) => { entered.Set(); return 0; };
        SetRip(0, Code);
        SetRip(1, Routine);
        RunOutcome outcome = default;
        var thread = new Thread(() => outcome = _bench.Vcpu.Run(ulong.MaxValue)) { IsBackground = true };
        thread.Start();
        Assert.True(entered.Wait(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken));
        Assert.Equal(RunOutcome.Stopped, _bench.Machine.Group.Vcpus[1].Run(10_000));
        Assert.True(thread.Join(TimeSpan.FromSeconds(60)));
        Assert.Equal(RunOutcome.Stopped, outcome);
    }

    [Fact]
    public void Data_beside_code_on_a_page_is_written_without_losing_the_code()
    {
        _bench.Machine.Write(Routine, _one);
        Run(a =>
        {
            Label again = a.CreateLabel();
            a.mov(ecx, 1000);
            a.xor(edx, edx);
            a.Label(ref again);
            a.call(Routine);
            a.add(edx, eax);
            a.mov(__dword_ptr[Routine + 0x800], edx);
            a.dec(ecx);
            a.jne(again);
        });
        Assert.Equal((1000UL, 1000UL), (_bench.Machine.Registers.Rdx, _bench.Machine.Read64(Routine + 0x800)));
    }

    private static void CallPatchCall(Assembler a, ulong routine, ulong patched, bool upper = false)
    {
        Label first = a.CreateLabel(), second = a.CreateLabel();
        a.mov(ecx, 4);
        a.xor(ebx, ebx);
        a.xor(edx, edx);
        a.Label(ref first);
        a.call(routine);
        a.add(ebx, eax);
        a.dec(ecx);
        a.jne(first);
        a.mov(ecx, 4);
        a.mov(edi, (uint)patched);
        a.mov(__byte_ptr[rdi], upper ? 1 : 2);
        a.Label(ref second);
        a.call(routine);
        a.add(edx, eax);
        a.dec(ecx);
        a.jne(second);
    }

    private void Run(Action<Assembler> code) => Assert.Equal(RunOutcome.Stopped, _bench.Machine.RunProgram(code, 1_000_000));

    // Calls a routine in a loop until a port read, where the test acts; gives what the routine answered before.
    private ulong RunCallTwice(ulong routine, Action act)
    {
        Run(a => { a.call(routine); a.call(routine); });
        ulong before = _bench.Machine.Registers.Rax;
        act();
        SetRip(0, Code);
        Assert.Equal(RunOutcome.Stopped, _bench.Vcpu.Run(1_000));
        return before;
    }

    private void SetRip(int vcpu, ulong rip)
    {
        _bench.Machine.Group.Vcpus[vcpu].GetRegisters(out KvmRegs registers);
        registers.Rip = rip;
        registers.Rsp = TestMachine.StackTop - ((ulong)vcpu * 0x1000);
        _bench.Machine.Group.Vcpus[vcpu].SetRegisters(registers);
    }
}
