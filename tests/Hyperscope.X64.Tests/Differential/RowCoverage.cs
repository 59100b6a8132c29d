using Hyperscope.X64.Decoding;

namespace Hyperscope.X64.Tests.Differential;

/// <summary>How each opcode row is tested: generated against the host, or elsewhere for a reason given here.</summary>
internal static class RowCoverage
{
    /// <summary>Mnemonics that execute in user mode and touch nothing but registers, flags and their memory operands.</summary>
    public static IReadOnlySet<string> Integer { get; } = new HashSet<string>(
    [
        "add", "or", "adc", "sbb", "and", "sub", "xor", "cmp", "test", "inc", "dec", "not", "neg",
        "mov", "movzx", "movsx", "movsxd", "lea", "xchg", "cmovcc", "setcc", "bswap", "cbw", "cwd", "nop", "prefetch", "prefetchw",
        "rol", "ror", "rcl", "rcr", "shl", "sal", "shr", "sar", "shld", "shrd",
        "mul", "imul", "div", "idiv", "cmpxchg", "cmpxchg8b", "xadd", "bt", "bts", "btr", "btc", "bsf", "bsr", "popcnt",
        "movbe", "crc32", "xlat", "clc", "stc", "cmc", "cld", "std", "lahf", "sahf",
        "push", "pop", "enter", "leave", "movs", "cmps", "stos", "lods", "scas",
    ]);

    /// <summary>Mnemonics of the same kind that exist in 16 and 32-bit code only.</summary>
    public static IReadOnlySet<string> Legacy { get; } = new HashSet<string>(["daa", "das", "aaa", "aas", "aam", "aad", "salc", "pusha", "popa"]);

    private const string SystemState = "depends on system state or changes it: the tests of the system instructions";

    /// <summary>Mnemonics tested by other means.</summary>
    public static IReadOnlyDictionary<string, string> Elsewhere { get; } = new Dictionary<string, string>
    {
        ["pushf"] = SystemState,
        ["popf"] = SystemState,
        ["les"] = SystemState,
        ["lds"] = SystemState,
        ["lss"] = SystemState,
        ["lfs"] = SystemState,
        ["lgs"] = SystemState,
        ["retf"] = SystemState,
        ["int"] = SystemState,
        ["int1"] = SystemState,
        ["int3"] = SystemState,
        ["into"] = SystemState,
        ["iret"] = SystemState,
        ["cli"] = SystemState,
        ["sti"] = SystemState,
        ["hlt"] = SystemState,
        ["sldt"] = SystemState,
        ["str"] = SystemState,
        ["lldt"] = SystemState,
        ["ltr"] = SystemState,
        ["verr"] = SystemState,
        ["verw"] = SystemState,
        ["sgdt"] = SystemState,
        ["sidt"] = SystemState,
        ["lgdt"] = SystemState,
        ["lidt"] = SystemState,
        ["smsw"] = SystemState,
        ["lmsw"] = SystemState,
        ["invlpg"] = SystemState,
        ["vmcall"] = SystemState,
        ["vmmcall"] = SystemState,
        ["vmfunc"] = SystemState,
        ["swapgs"] = SystemState,
        ["lar"] = SystemState,
        ["lsl"] = SystemState,
        ["syscall"] = SystemState,
        ["sysret"] = SystemState,
        ["sysenter"] = SystemState,
        ["sysexit"] = SystemState,
        ["clts"] = SystemState,
        ["invd"] = SystemState,
        ["wbinvd"] = SystemState,
        ["rdmsr"] = SystemState,
        ["wrmsr"] = SystemState,
        ["rdtsc"] = SystemState,
        ["rdpmc"] = SystemState,
        ["cpuid"] = SystemState,
        ["clflush"] = "has no effect that a program sees",
        ["lfence"] = "has no effect that a program sees",
        ["mfence"] = "has no effect that a program sees",
        ["sfence"] = "has no effect that a program sees",
        ["jcc"] = "changes rip: BranchTests",
        ["jmp"] = "changes rip: BranchTests",
        ["call"] = "changes rip: BranchTests",
        ["ret"] = "changes rip: BranchTests",
        ["loop"] = "changes rip: BranchTests",
        ["loope"] = "changes rip: BranchTests",
        ["loopne"] = "changes rip: BranchTests",
        ["jrcxz"] = "changes rip: BranchTests",
        ["in"] = "needs I/O privilege: PortTests",
        ["out"] = "needs I/O privilege: PortTests",
        ["ins"] = "needs I/O privilege: PortTests",
        ["outs"] = "needs I/O privilege: PortTests",
        ["daa"] = "not in 64-bit code: LegacyTests",
        ["das"] = "not in 64-bit code: LegacyTests",
        ["aaa"] = "not in 64-bit code: LegacyTests",
        ["aas"] = "not in 64-bit code: LegacyTests",
        ["aam"] = "not in 64-bit code: LegacyTests",
        ["aad"] = "not in 64-bit code: LegacyTests",
        ["salc"] = "not in 64-bit code: LegacyTests",
        ["pusha"] = "not in 64-bit code: LegacyTests",
        ["popa"] = "not in 64-bit code: LegacyTests",
        ["bound"] = "not in 64-bit code: LegacyTests",
    };

    /// <summary>Rows that integer tests can generate natively.</summary>
    public static bool IsInteger(OpcodeRow row) =>
        Integer.Contains(row.Name) && !row.Has(RowFlags.Not64) && !IsVector(row) && !TouchesSegment(row);

    /// <summary>Rows that integer tests can generate natively in 32-bit code.</summary>
    public static bool IsInteger32(OpcodeRow row) =>
        (Integer.Contains(row.Name) || Legacy.Contains(row.Name)) && !row.Has(RowFlags.Only64) && !IsVector(row) && !TouchesSegment(row);

    /// <summary>MOV, PUSH and POP of segment, control and debug registers.</summary>
    public static bool TouchesSegment(OpcodeRow row) =>
        (row.Name == "mov" && row.Has(Encoding.PlainReg))
        || (row.Name is "push" or "pop" && (row.Encoding & (Encoding.OpcodeD | Encoding.RmD | Encoding.AnyImmediate)) == 0);

    /// <summary>Rows with vector, MMX or x87 operands, which have a generator of their own.</summary>
    public static bool IsVector(OpcodeRow row) =>
        (row.Encoding & (Encoding.VectorReg | Encoding.VectorRm | Encoding.MmxReg | Encoding.MmxRm)) != 0
        || (row.Feature.Length != 0 && row.Feature is not ("POPCNT" or "MOVBE" or "SSE4.2" or "CX8, CX16"));
}
