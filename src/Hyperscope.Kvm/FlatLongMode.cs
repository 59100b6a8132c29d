using System.Buffers.Binary;
using Hyperscope.Vm;

namespace Hyperscope.Kvm;

/// <summary>64-bit mode at CPL 0 with the first 2 MiB mapped to themselves and no descriptor tables: what a guest of a few instructions needs.</summary>
internal static class FlatLongMode
{
    /// <summary>Where page tables are; code can begin at <see cref="End"/>.</summary>
    public const ulong Tables = 0x1000, End = 0x4000;

    /// <summary>Puts page tables into memory that begins at gpa 0.</summary>
    public static void WriteTables(Span<byte> memory)
    {
        const ulong Present = 3, Large = 0x83;
        BinaryPrimitives.WriteUInt64LittleEndian(memory[(int)Tables..], (Tables + 0x1000) | Present);
        BinaryPrimitives.WriteUInt64LittleEndian(memory[(int)(Tables + 0x1000)..], (Tables + 0x2000) | Present);
        BinaryPrimitives.WriteUInt64LittleEndian(memory[(int)(Tables + 0x2000)..], Large);
    }

    /// <summary>Selects the mode in what a vCPU has after reset. SSE is switched on.</summary>
    public static void Enter(ref KvmSregs sregs)
    {
        const ulong Protected = 1, MonitorCoprocessor = 2, Extension = 0x10, Paging = 1UL << 31;
        const ulong PhysicalExtension = 1 << 5, SaveSse = 1 << 9;
        const ulong LongModeActive = 0x500;
        var code = new KvmSegment { Limit = uint.MaxValue, Selector = 8, Type = 0xB, Present = 1, S = 1, L = 1, G = 1 };
        sregs.Cs = code;
        sregs.Ds = sregs.Es = sregs.Fs = sregs.Gs = sregs.Ss = code with { Selector = 16, Type = 3, L = 0, Db = 1 };
        sregs.Cr0 = Protected | MonitorCoprocessor | Extension | Paging;
        sregs.Cr3 = Tables;
        sregs.Cr4 = PhysicalExtension | SaveSse;
        sregs.Efer = LongModeActive;
    }
}
