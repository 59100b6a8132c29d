namespace Hyperscope.Guests;

/// <summary>One attack of the lab in samples/attacks: how a guest runs it, and what it prints.</summary>
/// <param name="Name">Its name in the guest.</param>
/// <param name="What">What it does, in a few words.</param>
/// <param name="CaughtBy">The rule of a guard that sees it.</param>
public sealed record LabAttack(string Name, string What, LabRule CaughtBy)
{
    /// <summary>What a shell in the guest runs. It takes its effect back, so attacks can follow each other in one guest.</summary>
    public string CommandLine => $"{AttackLab.GuestFolder}/attack {Name}";

    /// <summary>The same, but the effect stays. Not all can: registers are put back before interrupts are on again.</summary>
    public string LastingCommandLine => $"{AttackLab.GuestFolder}/attack -k {Name}";

    /// <summary>How the line starts that says that the effect was there.</summary>
    public string SuccessLine => $"attack {Name}: success: ";

    /// <summary>How the line starts that says that the effect was not there: the guest survived the verdict.</summary>
    public string BlockedLine => $"attack {Name}: blocked: ";

    /// <summary>How the line starts that says that the attack could not be tried at all.</summary>
    public string FailedLine => $"attack {Name}: failed: ";

    /// <inheritdoc/>
    public override string ToString() => Name;
}

/// <summary>Which rule of a guard sees an attack.</summary>
public enum LabRule
{
    /// <summary>Kernel text is r-x.</summary>
    KernelText,

    /// <summary>The kernel's read-only data is r--.</summary>
    ReadOnlyData,

    /// <summary>The gates of the IDT, and IDTR.</summary>
    Idt,

    /// <summary>The GDT.</summary>
    Gdt,

    /// <summary>The ids of a process's credentials and its pointers to them, byte for byte.</summary>
    Credentials,

    /// <summary>The bytes of <c>modprobe_path</c>.</summary>
    ModprobePath,

    /// <summary>The task list against the pids.</summary>
    HiddenProcess,

    /// <summary>The module list against the module tree.</summary>
    HiddenModule,

    /// <summary>CR0.WP, CR4.SMEP and CR4.SMAP stay set.</summary>
    ControlRegisters,

    /// <summary>LSTAR and SYSENTER_EIP stay what they are.</summary>
    EntryPoints,

    /// <summary>What a program has written it does not execute.</summary>
    WriteXorExecute,
}
