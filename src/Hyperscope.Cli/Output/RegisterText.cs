namespace Hyperscope.Cli.Output;

/// <summary>Registers by name, in the order people expect them.</summary>
internal static class RegisterText
{
    public static Dictionary<string, string> General(in KvmRegs r) => new()
    {
        ["rax"] = Hex(r.Rax),
        ["rbx"] = Hex(r.Rbx),
        ["rcx"] = Hex(r.Rcx),
        ["rdx"] = Hex(r.Rdx),
        ["rsi"] = Hex(r.Rsi),
        ["rdi"] = Hex(r.Rdi),
        ["rsp"] = Hex(r.Rsp),
        ["rbp"] = Hex(r.Rbp),
        ["r8"] = Hex(r.R8),
        ["r9"] = Hex(r.R9),
        ["r10"] = Hex(r.R10),
        ["r11"] = Hex(r.R11),
        ["r12"] = Hex(r.R12),
        ["r13"] = Hex(r.R13),
        ["r14"] = Hex(r.R14),
        ["r15"] = Hex(r.R15),
        ["rip"] = Hex(r.Rip),
        ["rflags"] = Hex(r.Rflags),
    };

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
