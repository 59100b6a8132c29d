using Hyperscope.TestKit;
using Hyperscope.Vm;
using static Iced.Intel.AssemblerRegisters;

namespace Hyperscope.X64.Tests;

/// <summary>The harness itself: a wrong reference would make every other test worthless.</summary>
public class TestMachineTests
{
    [Theory]
    [InlineData(CpuMode.Bits16)]
    [InlineData(CpuMode.Bits32)]
    [InlineData(CpuMode.Bits64)]
    public void A_step_executes_one_instruction_in_every_mode(CpuMode mode)
    {
        using var machine = new TestMachine(mode);
        ulong rip = machine.Registers.Rip;
        Assert.Equal(new StepResult(StepKind.Completed), machine.Step(TestMachine.AssembleBytes(mode, a => a.mov(cl, 0x5A))));
        Assert.Equal(0x5AUL, machine.Registers.Rcx);
        Assert.Equal(rip + 2, machine.Registers.Rip);
    }

    [Fact]
    public void A_step_onto_an_unmapped_page_reports_the_page_fault()
    {
        using var machine = new TestMachine();
        machine.Map(0x40_0000, 0, 4096, 0);
        StepResult result = machine.Step(TestMachine.AssembleBytes(CpuMode.Bits64, a => a.mov(__dword_ptr[0x40_0010], eax)));
        Assert.Equal(new StepResult(StepKind.Fault, 14, 2, 0x40_0010), result);
    }

    [Fact]
    public void A_step_onto_a_restricted_frame_stops_without_effect()
    {
        using var machine = new TestMachine();
        machine.Restrict(0x40_0000, PageAccess.Read | PageAccess.Execute);
        KvmRegs before = machine.Registers;
        Assert.Equal(StepKind.PageAccess, machine.Step(TestMachine.AssembleBytes(CpuMode.Bits64, a => a.mov(__dword_ptr[0x40_0010], eax))).Kind);
        Assert.Equal(before, machine.Registers);
    }

    [Fact]
    public void The_host_processor_executes_an_instruction_on_given_state()
    {
        Assert.SkipUnless(NativeProcessor.IsSupported, "needs Linux on x86-64");
        using var native = new NativeProcessor();
        var state = NewState();
        Set(ref state, 0, 0xFFFF_FFFF);
        Set(ref state, 9, 3);
        Assert.Equal(NativeOutcome.Completed, native.Run(TestMachine.AssembleBytes(CpuMode.Bits64, a => a.add(eax, r9d)), ref state));
        Assert.Equal(2UL, Get(state, 0));
        Assert.Equal(0x11UL, state.Rflags & 0x8D5); // CF, AF
    }

    [Fact]
    public void A_fault_on_the_host_processor_is_a_value()
    {
        Assert.SkipUnless(NativeProcessor.IsSupported, "needs Linux on x86-64");
        using var native = new NativeProcessor();
        var state = NewState();
        Assert.Equal(NativeOutcome.ArithmeticFault, native.Run([0xF7, 0xF1], ref state)); // div ecx by zero
        state = NewState();
        Assert.Equal(NativeOutcome.InvalidOpcode, native.Run([0x0F, 0x0B], ref state));
        state = NewState();
        Assert.Equal(NativeOutcome.MemoryFault, native.Run([0x8B, 0x01], ref state)); // mov eax, [rcx] with rcx = 0
        state = NewState();
        Assert.Equal(NativeOutcome.Completed, native.Run([0x90], ref state));
    }

    [Fact]
    public void The_handlers_of_the_runtime_still_work()
    {
        Assert.SkipUnless(NativeProcessor.IsSupported, "needs Linux on x86-64");
        using var native = new NativeProcessor();
        Assert.Throws<DivideByZeroException>(() => 1 / Zero());
        Assert.Throws<NullReferenceException>(() => Nothing()!.Length);
    }

    private static string? Nothing() => null;

    private static int Zero() => 0;

    private static unsafe NativeState NewState()
    {
        var state = default(NativeState);
        state.Registers[4] = NativeProcessor.StackTop;
        state.Fxsave[0] = 0x7F; // FCW 037F
        state.Fxsave[1] = 0x03;
        state.Fxsave[24] = 0x80; // MXCSR 1F80
        state.Fxsave[25] = 0x1F;
        return state;
    }

    private static unsafe void Set(ref NativeState state, int register, ulong value) => state.Registers[register] = value;

    private static unsafe ulong Get(NativeState state, int register) => state.Registers[register];
}
