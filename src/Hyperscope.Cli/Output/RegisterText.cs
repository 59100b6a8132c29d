namespace Hyperscope.Cli.Output;

/// <summary>Registers by name, in the order people expect them.</summary>
internal static class RegisterText
{
    public static Dictionary<string, string> General(KvmRegs registers)
    {
        var named = new Dictionary<string, string>(KvmRegs.Count);
        ReadOnlySpan<ulong> values = KvmRegs.AsSpan(ref registers);
        for (int i = 0; i < values.Length; i++)
            named[KvmRegs.Names[i]] = Hex(values[i]);
        return named;
    }

    public static Dictionary<string, string> System(in KvmSregs s) => new()
    {
        ["cr0"] = Hex(s.Cr0),
        ["cr2"] = Hex(s.Cr2),
        ["cr3"] = Hex(s.Cr3),
        ["cr4"] = Hex(s.Cr4),
        ["cr8"] = Hex(s.Cr8),
        ["efer"] = Hex(s.Efer),
        ["apic_base"] = Hex(s.ApicBase),
        ["cs"] = Segment(s.Cs),
        ["ss"] = Segment(s.Ss),
        ["ds"] = Segment(s.Ds),
        ["es"] = Segment(s.Es),
        ["fs"] = Segment(s.Fs),
        ["gs"] = Segment(s.Gs),
        ["tr"] = Segment(s.Tr),
        ["ldt"] = Segment(s.Ldt),
        ["gdt"] = Table(s.Gdt),
        ["idt"] = Table(s.Idt),
    };

    public static string Hex(ulong value) => $"0x{value:x}";

    private static string Segment(in KvmSegment s) => $"{s.Selector:x4} base 0x{s.Base:x} limit 0x{s.Limit:x}";

    private static string Table(in KvmDtable t) => $"base 0x{t.Base:x} limit 0x{t.Limit:x}";
}
