namespace Hyperscope.Vm;

/// <summary>One virtual processor, as every back end offers it.</summary>
/// <remarks>Its state belongs to its own thread: everything here except <see cref="Index"/>, <see cref="IsInitialized"/>,
/// <see cref="TscFrequency"/>, <see cref="Kick"/> and <see cref="TryGetCpuid"/> is called on that thread only, between instructions
/// (which includes calls made from <see cref="IVcpuEvents"/>).</remarks>
public interface IVcpu
{
    /// <summary>Position in the VM.</summary>
    VcpuIndex Index { get; }

    /// <summary>False for a secondary processor that was not started yet. Any thread.</summary>
    bool IsInitialized { get; }

    /// <summary>Guest TSC frequency in Hz, 0 if unknown. Any thread.</summary>
    ulong TscFrequency { get; }

    /// <summary>Whether 2, 4 or 8-byte code is running.</summary>
    CpuMode Mode { get; }

    /// <summary>Extended control register 0.</summary>
    ulong Xcr0 { get; }

    /// <summary>Which guest actions are reported to <see cref="IVcpuEvents"/>.</summary>
    VcpuIntercepts Intercepts { get; set; }

    /// <summary>Report each instruction to <see cref="IVcpuEvents.OnSingleStep"/> after it was executed; injects nothing meanwhile.</summary>
    bool IsSingleStepping { get; set; }

    /// <summary>How the vCPU sees memory.</summary>
    View View { get; }

    /// <summary>Goes to another view, before the next access of the guest. Other vCPUs notice nothing.</summary>
    /// <returns>False, with nothing changed, if the view was destroyed.</returns>
    bool TrySwitchView(View view);

    /// <summary>Lets the guest switch to a view by itself (VMFUNC), or not any more.</summary>
    void ShowView(View view, bool isVisible);

    /// <summary>The exception or interrupt that goes in at the next entry, if any.</summary>
    PendingEvent? PendingEvent { get; }

    /// <summary>Copies the general registers out.</summary>
    void GetRegisters(out KvmRegs registers);

    /// <summary>Replaces the general registers, rip and rflags; a pending exception is kept. Reserved flag bits are forced.</summary>
    void SetRegisters(in KvmRegs registers);

    /// <summary>Copies segment, table and control registers out.</summary>
    void GetSpecialRegisters(out KvmSregs registers);

    /// <summary>Reads an MSR without side effects; false if the index is unknown.</summary>
    bool TryReadMsr(uint index, out ulong value);

    /// <summary>Selects whether guest writes to an MSR are reported to <see cref="IVcpuEvents.OnMsrWrite"/>.</summary>
    void InterceptMsr(uint index, bool enable);

    /// <summary>Reads a CPUID leaf; false if the vCPU has no such leaf. Any thread.</summary>
    bool TryGetCpuid(uint function, uint index, out CpuidResult result);

    /// <summary>Writes the standard-format XSAVE image, 4096 bytes.</summary>
    void GetXsave(Span<byte> image);

    /// <summary>Loads a standard-format XSAVE image of up to 4096 bytes, the rest counting as zero; false if its header is not acceptable.</summary>
    bool TrySetXsave(ReadOnlySpan<byte> image);

    /// <summary>The memory type the MTRRs give an address.</summary>
    MemoryType GetMemoryType(Gpa gpa);

    /// <summary>Walks the guest's page tables with supervisor rights and no write or execute intent. Sets no accessed or dirty bit.</summary>
    bool TryTranslate(Gva gva, out Gpa gpa);

    /// <summary>Queues an exception for the next entry.</summary>
    /// <returns>False, with nothing changed, if something is already pending.</returns>
    bool TryQueueException(byte vector, uint errorCode, ulong address);

    /// <summary>Delivers <see cref="PendingEvent"/> through the guest's tables without executing an instruction of the handler.</summary>
    void DeliverPendingEvent();

    /// <summary>Forces the vCPU out of guest mode, or wakes it from HLT, so that <see cref="IVcpuEvents.OnEntry"/> runs soon. Any thread.</summary>
    void Kick();

    /// <summary>Waits until the vCPU is outside guest mode at least once after the call. Any thread but its own; the vCPU need not be running.</summary>
    void WaitUntilOutsideGuestMode();
}

/// <summary>Guest actions that a vCPU reports.</summary>
[Flags]
public enum VcpuIntercepts
{
    /// <summary>Nothing is reported.</summary>
    None = 0,

    /// <summary>INT3 before #BP.</summary>
    Breakpoint = 1 << 0,

    /// <summary>Changes of CR0.</summary>
    Cr0 = 1 << 1,

    /// <summary>Changes of CR3.</summary>
    Cr3 = 1 << 2,

    /// <summary>Changes of CR4.</summary>
    Cr4 = 1 << 3,

    /// <summary>Changes of XCR0.</summary>
    Xsetbv = 1 << 4,

    /// <summary>SGDT, SIDT, SLDT, STR, LGDT, LIDT, LLDT, LTR.</summary>
    Descriptor = 1 << 5,

    /// <summary>VMCALL and VMMCALL.</summary>
    Hypercall = 1 << 6,

    /// <summary>CPUID.</summary>
    Cpuid = 1 << 7,
}

/// <summary>An exception or interrupt on its way into the guest.</summary>
/// <param name="Vector">0 to 255.</param>
/// <param name="HasErrorCode">An error code is pushed.</param>
/// <param name="ErrorCode">That code, else 0.</param>
/// <param name="IsExternal">An external interrupt, not an exception.</param>
public readonly record struct PendingEvent(byte Vector, bool HasErrorCode, uint ErrorCode, bool IsExternal);

/// <summary>A descriptor-table register, numbered as in KVMI.</summary>
public enum DescriptorTable : byte
{
#pragma warning disable CS1591
    Idtr = 1,
    Gdtr = 2,
    Ldtr = 3,
    Tr = 4,
#pragma warning restore CS1591
}

/// <summary>What becomes of an intercepted instruction.</summary>
public enum InstructionVerdict
{
    /// <summary>It is carried out (a breakpoint: #BP is raised).</summary>
    Proceed,

    /// <summary>It is not carried out; the guest resumes at the possibly changed rip.</summary>
    Restart,

    /// <summary>The guest gets #GP(0), or a hypercall or CPUID was answered by the observer: nothing is done and rip stays as set.</summary>
    Refuse,
}

/// <summary>Where a vCPU reports to. All methods run on the vCPU's thread, between instructions, and may block.</summary>
/// <remarks>Restricted pages are reported through <see cref="PageTracker"/> instead.</remarks>
public interface IVcpuEvents
{
    /// <summary>Called before entry after <see cref="IVcpu.Kick"/>, and before the first entry. Jobs, pauses and injections happen here.</summary>
    void OnEntry(IVcpu vcpu);

    /// <summary>Somebody may have been told that the vCPU stands still, while it was outside guest mode in the middle of an instruction; it must
    /// not go on before <see cref="OnPauseDue"/>. Asked in guest mode after a kick; must return at once.</summary>
    bool IsPauseDue(IVcpu vcpu) => false;

    /// <summary>Waits until the vCPU may go on. Outside guest mode, in the middle of an instruction.</summary>
    void OnPauseDue(IVcpu vcpu)
    {
    }

    /// <summary>INT3 at rip. <paramref name="gpa"/> is null if untranslatable. Proceed raises #BP, anything else resumes at rip.</summary>
    InstructionVerdict OnBreakpoint(IVcpu vcpu, Gpa? gpa, byte instructionLength);

    /// <summary>CR0, CR3 or CR4 is about to change, after its architectural checks. Proceed writes <paramref name="newValue"/>; otherwise #GP(0).</summary>
    InstructionVerdict OnControlRegisterWrite(IVcpu vcpu, byte register, ulong oldValue, ref ulong newValue);

    /// <summary>XCR0 was changed.</summary>
    void OnXsetbv(IVcpu vcpu, byte register, ulong oldValue, ulong newValue);

    /// <summary>A descriptor-table register is about to be loaded (<paramref name="isWrite"/>) or stored.</summary>
    InstructionVerdict OnDescriptorAccess(IVcpu vcpu, DescriptorTable table, bool isWrite);

    /// <summary>A selected MSR is about to change. Proceed writes <paramref name="newValue"/>; otherwise #GP(0).</summary>
    InstructionVerdict OnMsrWrite(IVcpu vcpu, uint index, ulong oldValue, ref ulong newValue);

    /// <summary>VMCALL or VMMCALL at rip. True: handled, <paramref name="result"/> goes to rax. False: not meant for introspection.</summary>
    bool OnHypercall(IVcpu vcpu, out ulong result);

    /// <summary>CPUID at rip. Proceed executes it; anything else resumes at rip.</summary>
    InstructionVerdict OnCpuid(IVcpu vcpu, uint function, uint index, byte instructionLength);

    /// <summary>One instruction was executed while single-stepping; <paramref name="failed"/>: something else interrupted the step.</summary>
    void OnSingleStep(IVcpu vcpu, bool failed);
}
