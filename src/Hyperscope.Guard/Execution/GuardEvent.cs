namespace Hyperscope.Guard;

/// <summary>What an event is about.</summary>
public enum GuardSubject
{
    /// <summary>Guest memory.</summary>
    Memory,

    /// <summary>A control register.</summary>
    ControlRegister,

    /// <summary>An MSR.</summary>
    Msr,

    /// <summary>A descriptor table's register.</summary>
    DescriptorTable,

    /// <summary>What the guest says of itself, compared with what it is.</summary>
    View,
}

/// <summary>Something that happened in the guest and that a rule has to judge, while the vCPU waits.</summary>
public sealed record GuardEvent
{
    /// <summary>The guest.</summary>
    public required LinuxGuest Guest { get; init; }

    /// <summary>The VM.</summary>
    public required IntrospectedVm Vm { get; init; }

    /// <summary>The vCPU; null if none did it.</summary>
    public IntrospectedVcpu? Vcpu { get; init; }

    /// <summary>General registers; rip is at the instruction.</summary>
    public KvmRegs Registers { get; init; }

    /// <summary>System registers.</summary>
    public KvmSregs System { get; init; }

    /// <summary>KERNEL_GS_BASE.</summary>
    public ulong ShadowGs { get; init; }

    /// <summary>What it is about.</summary>
    public required GuardSubject Subject { get; init; }

    /// <summary>Linear address of the access, or <see cref="Gva.Unknown"/>.</summary>
    public Gva Gva { get; init; } = Gva.Unknown;

    /// <summary>Physical address of the access.</summary>
    public Gpa Gpa { get; init; }

    /// <summary>Exactly one of read, write, execute.</summary>
    public PageAccess Access { get; init; }

    /// <summary>Bytes of the access; 0 if not known.</summary>
    public int Size { get; init; }

    /// <summary>What is in memory, as far as known.</summary>
    public byte[] Before { get; init; } = [];

    /// <summary>What a write would store, as far as known.</summary>
    public byte[] After { get; init; } = [];

    /// <summary>Name of the register; empty for memory.</summary>
    public string Register { get; init; } = "";

    /// <summary>The register's value.</summary>
    public ulong OldValue { get; init; }

    /// <summary>The value it is to have.</summary>
    public ulong NewValue { get; init; }

    /// <summary>The guarded range that was touched; null for registers.</summary>
    public GuardedRange? Range { get; init; }

    /// <summary>The GS base of kernel mode, from which per-CPU variables are reached.</summary>
    public Gva KernelGs => new((long)System.Gs.Base < 0 ? System.Gs.Base : ShadowGs);

    /// <summary>The instruction is one of user mode.</summary>
    public bool IsUserMode => (System.Cs.Selector & 3) == 3;
}
