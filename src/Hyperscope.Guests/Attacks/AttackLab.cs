namespace Hyperscope.Guests;

/// <summary>The attacks in samples/attacks, which eng/build-attacks builds: the one list that tests and demonstrations share.</summary>
public static class AttackLab
{
    /// <summary>Where the lab's files are expected in the guest.</summary>
    public const string GuestFolder = "/attacks";

    /// <summary>Where eng/build-attacks leaves them, from the root of the sources.</summary>
    public const string HostFolder = "artifacts/attacks";

    /// <summary>What must be in that folder.</summary>
    public static IReadOnlyList<string> FileNames { get; } = ["attack", "attack.ko"];

    /// <summary>Every attack, in an order in which one guest can run them all.</summary>
    public static IReadOnlyList<LabAttack> All { get; } =
    [
        new("syscall-table", "an entry of sys_call_table leads to a module", LabRule.ReadOnlyData),
        new("syscall-dispatch", "a branch of the system call dispatcher leads to a module", LabRule.KernelText),
        new("kernel-text", "a kernel function returns at once", LabRule.KernelText),
        new("idt-gate", "a gate of the IDT leads to a module", LabRule.Idt),
        new("idt-base", "IDTR points to another table", LabRule.Idt),
        new("gdt", "a descriptor is added to the GDT", LabRule.Gdt),
        new("credentials", "a module makes a process root", LabRule.Credentials),
        new("credentials-swap", "a task is pointed to root's credentials", LabRule.Credentials),
        new("credentials-poke", "a user becomes root through a write primitive", LabRule.Credentials),
        new("modprobe-path", "the kernel runs a user's script as root", LabRule.ModprobePath),
        new("hidden-process", "a process leaves the task list and runs on", LabRule.HiddenProcess),
        new("hidden-module", "a module leaves the module list and works on", LabRule.HiddenModule),
        new("cr0-wp", "CR0.WP is cleared, read-only data written", LabRule.ControlRegisters),
        new("cr4-smap", "CR4.SMAP is cleared, user memory read", LabRule.ControlRegisters),
        new("cr4-smep", "CR4.SMEP is cleared, user memory executed", LabRule.ControlRegisters),
        new("lstar", "SYSCALL enters the kernel in a module", LabRule.EntryPoints),
        new("sysenter", "SYSENTER enters the kernel in a module", LabRule.EntryPoints),
        new("unpacker", "a program writes code and then executes it", LabRule.WriteXorExecute),
        new("unpacker-rwx", "a program executes a page that it can write", LabRule.WriteXorExecute),
        new("unpacker-huge", "the same as unpacker, in a page of 2 MiB", LabRule.WriteXorExecute),
    ];

    /// <summary>The attack of that name.</summary>
    /// <exception cref="ArgumentException">There is none.</exception>
    public static LabAttack Find(string name) =>
        All.FirstOrDefault(attack => attack.Name == name) ?? throw new ArgumentException($"there is no attack \"{name}\"", nameof(name));
}
