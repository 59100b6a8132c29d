namespace Hyperscope.Guard;

/// <summary>The IDT of each vCPU, and its register.</summary>
internal sealed class IdtRule(RuleSettings settings) : GuardRule(settings)
{
    public override async Task PlanAsync(GuardPlan plan, CancellationToken cancellation)
    {
        foreach (KvmSregs system in await plan.Session.SystemRegistersAsync(cancellation).ConfigureAwait(false))
        {
            // What IDTR has is mostly a second, read-only mapping of idt_table; its frame is what counts.
            var table = new KernelRange(new Gva(system.Idt.Base), new Gva(system.Idt.Base + system.Idt.Limit + 1u));
            if (!plan.Ranges.Any(range => range.Rule == this && range.Gva == table.Start))
                await plan.WatchAsync(this, "IDT", table, PageAccess.Write, cancellation).ConfigureAwait(false);
        }

        plan.PinTable(this, DescriptorTable.Idtr);
    }
}

/// <summary>The GDT of each vCPU, and its register. The descriptors of thread-local storage change with each thread, that of the LDT with each
/// process, and the processor itself marks the TSS, so they are left alone.</summary>
internal sealed class GdtRule(RuleSettings settings) : GuardRule(settings)
{
    private const int Descriptors = 16, Tss = 8, TlsEnd = 15;

    public override async Task PlanAsync(GuardPlan plan, CancellationToken cancellation)
    {
        foreach (KvmSregs system in await plan.Session.SystemRegistersAsync(cancellation).ConfigureAwait(false))
        {
            await WatchAsync(plan, system.Gdt.Base, 0, Tss, cancellation).ConfigureAwait(false);
            await WatchAsync(plan, system.Gdt.Base, TlsEnd, Descriptors, cancellation).ConfigureAwait(false);
        }

        plan.PinTable(this, DescriptorTable.Gdtr);
    }

    private Task WatchAsync(GuardPlan plan, ulong table, int from, int to, CancellationToken cancellation) =>
        plan.WatchAsync(this, "GDT", new KernelRange(new Gva(table + (uint)from * 8), new Gva(table + (uint)to * 8)), PageAccess.Write, cancellation);
}
