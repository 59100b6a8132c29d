namespace Hyperscope.Guard;

/// <summary>All kinds of rules. A new one is a class, a row here and a line in docs/guard.md; see docs/howto/add-a-rule.md.</summary>
public static class RuleCatalog
{
    private static readonly Verdict[] OnWrites =
        [Verdict.Discard, Verdict.Allow, Verdict.Log, Verdict.Redirect, Verdict.Exception, Verdict.Pause, Verdict.Crash];

    // These are behind their instruction: rip is the next one's, and cannot be changed.
    private static readonly Verdict[] OnRegisters = [.. OnWrites.Where(static verdict => verdict != Verdict.Redirect)];

    /// <summary>The kinds.</summary>
    public static IReadOnlyList<RuleKind> All { get; } =
    [
        new("kernel-text", "the kernel's code: r-x", OnWrites, ["patching"], static settings => new KernelTextRule(settings)),
        new("kernel-rodata", "the kernel's constants: r--", OnWrites, [], static settings => new KernelRodataRule(settings)),
        new("syscall-table", "the entries of sys_call_table, byte for byte", OnWrites, [], static settings => new SyscallTableRule(settings)),
        new("idt", "the gates of the IDT, and IDTR", OnWrites, [], static settings => new IdtRule(settings)),
        new("gdt", "the descriptors of the GDT that never change, and GDTR", OnWrites, [], static settings => new GdtRule(settings)),
        new("control-registers", "bits that stay set: cr0.wp, cr4.smep, cr4.smap, cr4.umip", OnRegisters, ["pin"],
            static settings => new ControlRegisterRule(settings)),
        new("entry-points", "MSRs that stay what they are: lstar, cstar, star, sfmask, sysenter", OnRegisters, ["pin"],
            static settings => new EntryPointRule(settings)),
        new("modules", "code and constants of modules: r-x and r--, as they come and go", OnWrites, ["patching"],
            static settings => new ModulesRule(settings)),
        new("credentials", "ids and capabilities of processes, byte for byte", OnWrites, ["protect"], static settings => new CredentialsRule(settings)),
        new("hidden-module", "the list of modules is changed by the kernel only, and agrees with the tree of modules", OnWrites, ["every"],
            static settings => new HiddenModuleRule(settings)),
        new("hidden-process", "the list of processes agrees with the index of pids", [Verdict.Log, Verdict.Crash], ["every"],
            static settings => new HiddenProcessRule(settings)),
        new("w-xor-x", "what a program has written it does not execute",
            [Verdict.Exception, Verdict.Allow, Verdict.Log, Verdict.Redirect, Verdict.Pause, Verdict.Crash], ["images", "processes"],
            static settings => new WriteXorExecuteRule(settings)),
        new("bytes", "a variable of the kernel, byte for byte", OnWrites, ["symbol", "offset", "length", "writers"],
            static settings => new BytesRule(settings)),
    ];

    /// <summary>The kind of that name.</summary>
    /// <exception cref="PolicyException">There is none.</exception>
    public static RuleKind Find(string name) =>
        All.FirstOrDefault(kind => kind.Name == name) ?? throw new PolicyException($"there is no kind of rule \"{name}\"");
}
