using Hyperscope.Vm;

namespace Hyperscope.X64.Tests.SystemMode;

/// <summary>Logs accesses to restricted frames and answers by a script.</summary>
internal sealed class FakePageObserver : IPageTrackSubscriber
{
    public List<(ulong Gva, ulong Gpa, PageAccess Kind, int Length, ulong Rip)> Log { get; } = [];

    public Func<IVcpu, PageAccess, PageTrackVerdict> Answer { get; set; } = static (_, _) => PageTrackVerdict.Allow;

    public PageTrackVerdict BeforeAccess(IVcpu vcpu, in PageTrackAccess access)
    {
        vcpu.GetRegisters(out KvmRegs registers);
        Log.Add((access.Gva.Value, access.Gpa.Value, access.Kind, access.Length, registers.Rip));
        Assert.True(Log.Count < 100, "asked again and again");
        return Answer(vcpu, access.Kind);
    }

    public void SlotCreated(MemorySlot slot)
    {
    }

    public void SlotFlushed(MemorySlot slot)
    {
    }
}

/// <summary>Logs events and answers them with delegates.</summary>
internal sealed class FakeEvents : IVcpuEvents
{
    public List<string> Log { get; } = [];

    public Action<IVcpu>? Entry { get; set; }

    public Func<IVcpu, InstructionVerdict> Answer { get; set; } = static _ => InstructionVerdict.Proceed;

    public ulong? Replacement { get; set; }

    public Action<IVcpu>? Step { get; set; }

    /// <summary>What happens when the vCPU must not go on in the middle of an instruction.</summary>
    public Action<IVcpu>? Pause { get; set; }

    public bool IsPauseDue(IVcpu vcpu) => Pause is not null;

    public void OnPauseDue(IVcpu vcpu)
    {
        Action<IVcpu>? pause = Pause;
        Pause = null;
        pause?.Invoke(vcpu);
    }

    public void OnEntry(IVcpu vcpu) => Entry?.Invoke(vcpu);

    public InstructionVerdict OnBreakpoint(IVcpu vcpu, Gpa? gpa, byte instructionLength) => Note(vcpu, $"breakpoint {gpa} {instructionLength}");

    public InstructionVerdict OnControlRegisterWrite(IVcpu vcpu, byte register, ulong oldValue, ref ulong newValue)
    {
        InstructionVerdict verdict = Note(vcpu, $"cr{register} {oldValue:x} {newValue:x}");
        newValue = Replacement ?? newValue;
        return verdict;
    }

    public void OnXsetbv(IVcpu vcpu, byte register, ulong oldValue, ulong newValue) => Note(vcpu, $"xcr{register} {oldValue:x} {newValue:x} {vcpu.Xcr0:x}");

    public InstructionVerdict OnDescriptorAccess(IVcpu vcpu, DescriptorTable table, bool isWrite) => Note(vcpu, $"{table} {isWrite}");

    public InstructionVerdict OnMsrWrite(IVcpu vcpu, uint index, ulong oldValue, ref ulong newValue)
    {
        InstructionVerdict verdict = Note(vcpu, $"msr {index:x} {oldValue:x} {newValue:x}");
        newValue = Replacement ?? newValue;
        return verdict;
    }

    public bool OnHypercall(IVcpu vcpu, out ulong result)
    {
        result = 77;
        return Note(vcpu, "hypercall") == InstructionVerdict.Proceed;
    }

    public InstructionVerdict OnCpuid(IVcpu vcpu, uint function, uint index, byte instructionLength) => Note(vcpu, $"cpuid {function:x} {index:x}");

    public void OnSingleStep(IVcpu vcpu, bool failed)
    {
        Note(vcpu, $"step {failed}");
        Step?.Invoke(vcpu);
    }

    private InstructionVerdict Note(IVcpu vcpu, string what)
    {
        vcpu.GetRegisters(out KvmRegs registers);
        Log.Add($"{registers.Rip:x} {what}");
        Assert.True(Log.Count < 1000, "reported again and again");
        return Answer(vcpu);
    }
}
