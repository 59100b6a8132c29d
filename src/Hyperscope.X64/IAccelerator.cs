using Hyperscope.Vm;

namespace Hyperscope.X64;

/// <summary>Executes guest code in a software vCPU's place, at hardware speed, for as long as nothing needs the software.</summary>
/// <remarks>
/// <para>The software vCPU stays in charge: it delivers events, asks observers, obeys requests, sleeps in HLT, and carries out whatever
/// instruction the accelerator stopped in front of. <see cref="Run"/> takes the state with <see cref="SoftwareVcpu.GetRegisters"/> and its
/// like and gives it back with <see cref="SoftwareVcpu.AdoptState"/>; what is costly to move stays behind until <see cref="Fetch"/>.</para>
/// <para>All members but <see cref="Kick"/> and <see cref="TryGetCpuid"/> are called on the vCPU's thread.</para>
/// </remarks>
public interface IAccelerator
{
    /// <summary>Executes until attention is asked for (<see cref="SoftwareVcpu.IsAttentionWanted"/>) or something needs the software.</summary>
    AcceleratorExit Run();

    /// <summary>Executes one instruction that the software does not have, with no page restricted. No other vCPU is in guest mode.</summary>
    AcceleratorExit Step();

    /// <summary>Makes <see cref="Run"/> return soon. Any thread.</summary>
    void Kick();

    /// <summary>Brings state into the software vCPU that was left behind. It goes back with the next <see cref="Run"/>.</summary>
    void Fetch(AcceleratorState state);

    /// <summary>Reads an MSR that the accelerator keeps; false: it has no such MSR.</summary>
    bool TryReadMsr(uint index, out ulong value);

    /// <summary>Writes an MSR that the accelerator keeps; false: it has none, or refuses the value.</summary>
    bool TryWriteMsr(uint index, ulong value);

    /// <summary>What CPUID says to the guest; false: no such leaf. Any thread.</summary>
    bool TryGetCpuid(uint function, uint index, out CpuidResult result);

    /// <summary>The selection of intercepted MSRs or actions has changed.</summary>
    void InterceptsChanged();
}

/// <summary>Why an accelerator came back.</summary>
public enum AcceleratorExit
{
    /// <summary>Attention was asked for, or an interrupt can go in now.</summary>
    Attention,

    /// <summary>The software is to execute the instruction at rip.</summary>
    Instruction,

    /// <summary>HLT was executed; rip is behind it.</summary>
    Halt,

    /// <summary>A triple fault.</summary>
    Shutdown,
}

/// <summary>State that stays in the accelerator until it is needed.</summary>
[Flags]
public enum AcceleratorState
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>x87, MMX and SSE registers, and XCR0.</summary>
    Vector = 1,

    /// <summary>The MSRs of fast system calls and SWAPGS.</summary>
    SystemCalls = 2,

    /// <summary>Debug registers.</summary>
    Debug = 4,
}
