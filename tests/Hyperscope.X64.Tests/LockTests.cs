using Hyperscope.TestKit;
using Hyperscope.Vm;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Hyperscope.X64.Tests;

/// <summary>LOCK among four processors on one word.</summary>
public class LockTests
{
    private const int Processors = 4;
    private const uint Rounds = 4000;

    [Theory]
    [InlineData(0x30_0000UL)]
    [InlineData(0x30_0FFDUL)]
    public void Increments_are_not_lost(ulong address) => Race(address, Rounds, static a => a.@lock.inc(__dword_ptr[rbx]), Processors * Rounds);

    [Theory]
    [InlineData(0x30_0000UL)]
    [InlineData(0x30_0FFDUL)]
    public void Exchange_and_add_hands_out_each_value_once(ulong address) =>
        Race(address, Rounds, static a =>
        {
            a.mov(edx, 3);
            a.@lock.xadd(__dword_ptr[rbx], edx);
        }, Processors * Rounds * 3);

    [Theory]
    [InlineData(0x30_0000UL)]
    [InlineData(0x30_0FFDUL)]
    public void Compare_and_exchange_loops_make_progress_one_at_a_time(ulong address) =>
        Race(address, Rounds, static a =>
        {
            Label again = a.CreateLabel();
            a.mov(eax, __dword_ptr[rbx]);
            a.Label(ref again);
            a.lea(edx, __[rax + 1]);
            a.@lock.cmpxchg(__dword_ptr[rbx], edx);
            a.jne(again);
        }, Processors * Rounds);

    [Fact]
    public void Sixteen_bytes_are_exchanged_in_one_step() =>
        Race(0x30_0000, 500, static a =>
        {
            Label again = a.CreateLabel();
            a.push(rcx);
            a.push(rbx);
            a.mov(rsi, rbx);
            a.mov(rax, __qword_ptr[rsi]);
            a.mov(rdx, __qword_ptr[rsi + 8]);
            a.Label(ref again);
            a.lea(rbx, __[rax + 1]);
            a.lea(rcx, __[rdx + 1]);
            a.@lock.cmpxchg16b(__xmmword_ptr[rsi]);
            a.jne(again);
            a.pop(rbx);
            a.pop(rcx);
        }, Processors * 500);

    private static void Race(ulong address, uint rounds, Action<Assembler> body, ulong expected)
    {
        using var machine = new TestMachine(vcpus: Processors);
        machine.LoadProgram(a =>
        {
            Label loop = a.CreateLabel();
            a.mov(ecx, rounds);
            a.mov(rbx, address);
            a.Label(ref loop);
            body(a);
            a.dec(ecx);
            a.jne(loop);
        });
        for (int index = 0; index < Processors; index++)
        {
            SoftwareVcpu vcpu = machine.Group.Vcpus[index];
            vcpu.GetRegisters(out KvmRegs registers);
            registers.Rsp = 0x31_0000 + ((ulong)index * 0x1000);
            vcpu.SetRegisters(registers);
        }

        var outcomes = new RunOutcome[Processors];
        Thread[] threads =
            [.. Enumerable.Range(0, Processors).Select(index => new Thread(() => outcomes[index] = machine.Group.Vcpus[index].Run()) { IsBackground = true })];
        foreach (Thread thread in threads)
            thread.Start();
        foreach (Thread thread in threads)
            Assert.True(thread.Join(TimeSpan.FromSeconds(60)), "a processor did not finish");
        Assert.All(outcomes, outcome => Assert.Equal(RunOutcome.Stopped, outcome));
        Assert.Equal(expected, machine.Read64(address) & 0xFFFF_FFFF);
    }
}
