namespace Hyperscope.Cli.Output;

/// <summary>One event as a line for people and a record for programs.</summary>
internal static class EventText
{
    public static EventRecord Describe(VmEvent e, EventAction? answer)
    {
        var record = new EventRecord(
            e.Sequence, Values.NameOf(e.Id), e.Vcpu.Index.Value, RegisterText.Hex(e.Registers.Rip), null, null, null, null, null, null,
            e.IsPending && answer is not null ? answer.Value.ToString().ToLowerInvariant() : null);
        if (e.Is(out VmEvent<PageFaultEvent> pf))
            return record with { Gva = pf.Gva == Gva.Unknown ? null : $"{pf.Gva}", Gpa = $"{pf.Gpa}", Access = pf.Access.ToText() };
        if (e.Is(out VmEvent<AccessEvent> access))
        {
            byte[] after = access.NewBytes();
            return record with
            {
                Gva = access.Gva == Gva.Unknown ? null : $"{access.Gva}",
                Gpa = $"{access.Gpa}",
                Access = access.Access.ToText(),
                Old = Convert.ToHexStringLower(access.CurrentBytes()),
                New = after.Length == 0 ? null : Convert.ToHexStringLower(after),
                Number = (uint)access.Size,
            };
        }

        if (e.Is(out VmEvent<CpuidEvent> cpuid))
            return record with { Number = cpuid.Function };
        if (e.Is(out VmEvent<BreakpointEvent> bp))
            return record with { Gpa = bp.Gpa?.ToString() };
        if (e.Is(out VmEvent<CrEvent> cr))
            return record with { Number = cr.Cr, Old = RegisterText.Hex(cr.OldValue), New = RegisterText.Hex(cr.NewValue) };
        if (e.Is(out VmEvent<MsrEvent> msr))
            return record with { Number = msr.Msr, Old = RegisterText.Hex(msr.OldValue), New = RegisterText.Hex(msr.NewValue) };
        if (e.Is(out VmEvent<XsetbvEvent> xsetbv))
            return record with { Number = 0, Old = RegisterText.Hex(xsetbv.OldValue), New = RegisterText.Hex(xsetbv.NewValue) };
        if (e.Is(out VmEvent<TrapEvent> trap))
            return record with { Number = trap.Vector, Gva = RegisterText.Hex(trap.Address) };
        if (e.Is(out VmEvent<DescriptorEvent> descriptor))
            return record with { Number = (uint)descriptor.Table, Access = descriptor.IsWrite ? "load" : "store" };
        return record;
    }

    public static string ToLine(EventRecord e)
    {
        string detail = string.Join(' ', new[]
        {
            e.Access,
            e.Number is { } number ? $"{(e.Kind == "cr" ? "cr" : "0x")}{number:x}" : null,
            e.Gpa is null ? null : $"gpa {e.Gpa}",
            e.Gva is null ? null : $"gva {e.Gva}",
            e.New is null ? e.Old : $"{e.Old} -> {e.New}",
        }.Where(static part => part is not null));
        return $"{e.Seq,6} vcpu {e.Vcpu} {e.Kind,-10} rip {e.Rip} {detail}".TrimEnd();
    }
}
