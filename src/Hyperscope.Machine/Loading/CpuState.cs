using System.Buffers.Binary;
using Hyperscope.Vm;

namespace Hyperscope.Machine;

/// <summary>Processor states in which images are entered, and the tables that go with them.</summary>
internal static class CpuState
{
    /// <summary>Bytes of <see cref="BootTables"/>: a page for the GDT and six of page tables.</summary>
    public const int BootTableBytes = 7 * Gfn.PageSize;

    public const ushort CodeSelector = 0x10, DataSelector = 0x18;

    private const ulong Flat16 = 0xffff;
    private const ulong Cr0Protection = 1 << 0, Cr0Extension = 1 << 4, Cr0CacheOff = 3UL << 29, Cr0Paging = 1UL << 31;
    private const ulong Cr4PhysicalExtension = 1 << 5;
    private const ulong EferLongMode = 1 << 8 | 1 << 10;
    private const ulong BootstrapApicBase = 0xfee0_0900;
    private const ulong RflagsFixed = 2;

    /// <summary>Real mode at a linear address below 1 MiB, in the 64 KiB segment that holds it.</summary>
    public static (KvmRegs Registers, KvmSregs Special) Real(ulong entry)
    {
        ulong segment = entry & 0xf0000;
        KvmSregs special = Basic();
        special.Cr0 = Cr0Extension;
        special.Cs = RealSegment(segment, 0xb);
        special.Ds = special.Es = special.Fs = special.Gs = special.Ss = RealSegment(0, 3);
        special.Idt.Limit = 0x3ff;
        return (General(entry & 0xffff), special);
    }

    /// <summary>The state after power-up: real mode at 0xfffffff0.</summary>
    public static (KvmRegs Registers, KvmSregs Special) Reset()
    {
        (_, KvmSregs special) = Real(0xf0000);
        special.Cs.Base = 0xffff0000;
        special.Cr0 |= Cr0CacheOff;
        special.Gdt.Limit = special.Idt.Limit = 0xffff;
        return (General(0xfff0), special);
    }

    /// <summary>32-bit protected mode without paging; flat segments from the GDT at <paramref name="tables"/>.</summary>
    public static (KvmRegs Registers, KvmSregs Special) Protected(ulong entry, ulong tables)
    {
        KvmSregs special = Basic();
        special.Cr0 = Cr0Protection | Cr0Extension;
        special.Cs = FlatSegment(CodeSelector, 0xb);
        special.Cs.Db = 1;
        special.Ds = special.Es = special.Fs = special.Gs = special.Ss = FlatSegment(DataSelector, 3);
        special.Gdt = new KvmDtable { Base = tables, Limit = GdtBytes - 1 };
        return (General(entry), special);
    }

    /// <summary>64-bit mode, the first 4 GiB mapped to themselves; GDT and page tables at <paramref name="tables"/>.</summary>
    public static (KvmRegs Registers, KvmSregs Special) Long(ulong entry, ulong tables)
    {
        (KvmRegs registers, KvmSregs special) = Protected(entry, tables);
        special.Cr0 |= Cr0Paging;
        special.Cr3 = tables + Gfn.PageSize;
        special.Cr4 = Cr4PhysicalExtension;
        special.Efer = EferLongMode;
        special.Cs.Db = 0;
        special.Cs.L = 1;
        return (registers, special);
    }

    /// <summary>A GDT (32-bit code at selector 0x10, or 64-bit; data at 0x18) and page tables that map 4 GiB with 2 MiB pages.</summary>
    public static MemoryPiece BootTables(ulong address, bool is64Bit)
    {
        byte[] bytes = new byte[BootTableBytes];
        Quad(0x10, is64Bit ? 0x00af_9b00_0000_ffffUL : 0x00cf_9b00_0000_ffffUL);
        Quad(0x18, 0x00cf_9300_0000_ffff);
        const ulong present = 3, large = 0x80;
        ulong pml4 = address + Gfn.PageSize;
        Quad(Gfn.PageSize, (pml4 + Gfn.PageSize) | present);
        for (int i = 0; i < 4; i++)
            Quad((2 * Gfn.PageSize) + (8 * i), (pml4 + (ulong)((2 + i) * Gfn.PageSize)) | present);
        for (int i = 0; i < 4 * 512; i++)
            Quad((3 * Gfn.PageSize) + (8 * i), ((ulong)i << 21) | large | present);
        return new MemoryPiece(new Gpa(address), bytes);

        void Quad(int offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(offset), value);
    }

    private const ushort GdtBytes = 0x20;

    private static KvmRegs General(ulong rip) => new() { Rip = rip, Rflags = RflagsFixed };

    private static KvmSregs Basic() => new()
    {
        Tr = new KvmSegment { Limit = 0x67, Type = 0xb, Present = 1 },
        Ldt = new KvmSegment { Limit = 0xffff, Type = 2, Present = 1 },
        ApicBase = BootstrapApicBase,
    };

    private static KvmSegment RealSegment(ulong address, byte type) => new()
    {
        Base = address,
        Limit = (uint)Flat16,
        Selector = (ushort)(address >> 4),
        Type = type,
        Present = 1,
        S = 1,
    };

    private static KvmSegment FlatSegment(ushort selector, byte type) => new()
    {
        Limit = uint.MaxValue,
        Selector = selector,
        Type = type,
        Present = 1,
        S = 1,
        Db = 1,
        G = 1,
    };
}
