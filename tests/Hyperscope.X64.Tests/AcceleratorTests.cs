using Hyperscope.TestKit;
using Hyperscope.Vm;

namespace Hyperscope.X64.Tests;

/// <summary>The hand-over between a software vCPU and an accelerator, with one that executes nothing itself.</summary>
public sealed class AcceleratorTests
{
    // mov eax, 5; add eax, 7; mov [0x20000], eax; hlt
    private static readonly byte[] Program = [0xB8, 5, 0, 0, 0, 0x83, 0xC0, 7, 0x89, 0x04, 0x25, 0x00, 0x00, 0x02, 0x00, 0xF4];

    [Fact]
    public void What_an_accelerator_stops_at_is_executed_by_the_software()
    {
        using var machine = new TestMachine();
        var accelerator = new Idle(AcceleratorExit.Instruction);
        Assert.Equal(RunOutcome.Halted, Run(machine, accelerator));
        Assert.Equal(12u, ReadResult(machine));
        Assert.Equal(4, accelerator.Runs);
    }

    [Fact]
    public void Denied_access_is_asked_about_once_and_carried_out()
    {
        using var machine = new TestMachine();
        machine.AccessMap.Set(new Gfn(0x20), PageAccess.Read | PageAccess.Execute);
        var watcher = new Watcher();
        machine.Memory.PageTracker.Subscribe(watcher);
        Assert.Equal(RunOutcome.Halted, Run(machine, new Idle(AcceleratorExit.Instruction)));
        Assert.Equal([(0x20000UL, 0x20000UL, PageAccess.Write)], watcher.Accesses);
        Assert.Equal(12u, ReadResult(machine));
    }

    [Fact]
    public void Triple_fault_of_an_accelerator_ends_the_run()
    {
        using var machine = new TestMachine();
        Assert.Equal(RunOutcome.Shutdown, Run(machine, new Idle(AcceleratorExit.Shutdown)));
    }

    [Fact]
    public void Unfinished_event_of_an_accelerator_is_pending_afterwards()
    {
        using var machine = new TestMachine();
        SoftwareVcpu vcpu = machine.Vcpu;
        vcpu.GetRegisters(out KvmRegs registers);
        vcpu.GetSpecialRegisters(out KvmSregs special);
        vcpu.AdoptState(registers, special, interruptShadow: 0, isNmiBlocked: true, new PendingEvent(13, true, 0x18, false), isNmi: false);
        Assert.Equal(new PendingEvent(13, true, 0x18, false), vcpu.PendingEvent);
        Assert.True(vcpu.IsNmiBlocked);
    }

    [Fact]
    public void Instruction_that_the_software_lacks_goes_to_the_hardware()
    {
        using var machine = new TestMachine();
        var accelerator = new Idle(AcceleratorExit.Instruction) { StepExit = AcceleratorExit.Halt };
        Load(machine, [0xC5, 0xFC, 0x58, 0xC0]); // vaddps ymm0, ymm0, ymm0
        machine.Vcpu.Accelerator = accelerator;
        Assert.Equal(RunOutcome.Halted, machine.Vcpu.Run(returnOnHalt: true));
        Assert.Equal(1, accelerator.Steps);
    }

    private static RunOutcome Run(TestMachine machine, Idle accelerator)
    {
        Load(machine, Program);
        machine.Vcpu.Accelerator = accelerator;
        return machine.Vcpu.Run(returnOnHalt: true);
    }

    private static void Load(TestMachine machine, byte[] code)
    {
        machine.Write(TestMachine.CodeAddress, code);
        machine.Registers = machine.Registers with { Rip = TestMachine.CodeAddress };
    }

    private static uint ReadResult(TestMachine machine)
    {
        Assert.True(machine.Memory.TryRead(new Gpa(0x2_0000), out uint value));
        return value;
    }

    private sealed class Idle(AcceleratorExit exit) : IAccelerator
    {
        public int Runs { get; private set; }

        public int Steps { get; private set; }

        public AcceleratorExit StepExit { get; init; }

        public AcceleratorExit Run()
        {
            Runs++;
            return exit;
        }

        public AcceleratorExit Step()
        {
            Steps++;
            return StepExit;
        }

        public void Kick()
        {
        }

        public void Fetch(AcceleratorState state)
        {
        }

        public bool TryReadMsr(uint index, out ulong value)
        {
            value = 0;
            return false;
        }

        public bool TryWriteMsr(uint index, ulong value) => false;

        public bool TryGetCpuid(uint function, uint index, out CpuidResult result)
        {
            result = default;
            return false;
        }

        public void InterceptsChanged()
        {
        }
    }

    private sealed class Watcher : IPageTrackSubscriber
    {
        public List<(ulong Gva, ulong Gpa, PageAccess Kind)> Accesses { get; } = [];

        public PageTrackVerdict BeforeAccess(IVcpu vcpu, in PageTrackAccess access)
        {
            Accesses.Add((access.Gva.Value, access.Gpa.Value, access.Kind));
            return PageTrackVerdict.Allow;
        }

        public void SlotCreated(MemorySlot slot)
        {
        }

        public void SlotFlushed(MemorySlot slot)
        {
        }
    }
}
