using System.Buffers.Binary;
using Hyperscope.Vm;

namespace Hyperscope.Guests;

/// <summary>Page tables, GDT and IDT for guests that start in 64-bit mode, and the register state that goes with them.</summary>
/// <remarks>The first 2 MiB are mapped one to one in 4 KiB pages, the rest of the first GiB in 2 MiB pages; all of it supervisor, writable
/// and executable, for what may be done is up to KVMI here. Source: SDM vol. 3, "4-Level Paging and 5-Level Paging".</remarks>
internal static class LongModeTables
{
    public const ulong Pml4 = 0x1000, Pdpt = 0x2000, PageDirectory = 0x3000, PageTable = 0x4000, Gdt = 0x5000, Idt = 0x6000;
    public const ushort CodeSelector = 0x08, DataSelector = 0x10;

    private const ulong PresentWritable = 3, Large = 1 << 7;

    /// <summary>Page tables and GDT.</summary>
    public static IEnumerable<(Gpa Address, byte[] Bytes)> Build()
    {
        yield return (new Gpa(Pml4), Words(1, _ => Pdpt | PresentWritable));
        yield return (new Gpa(Pdpt), Words(1, _ => PageDirectory | PresentWritable));
        yield return (new Gpa(PageDirectory), Words(512, static index =>
            index == 0 ? PageTable | PresentWritable : ((ulong)index << 21) | PresentWritable | Large));
        yield return (new Gpa(PageTable), Words(512, static index => ((ulong)index << 12) | PresentWritable));
        yield return (new Gpa(Gdt), Words(3, static index => index switch
        {
            1 => 0x00AF_9B00_0000_FFFF, // 64-bit code
            2 => 0x00CF_9300_0000_FFFF, // data
            _ => 0UL,
        }));
    }

    /// <summary>An IDT whose gate n leads to <paramref name="handlers"/>[n], ring 0, interrupts off.</summary>
    public static byte[] BuildIdt(IReadOnlyList<ulong> handlers)
    {
        byte[] table = new byte[handlers.Count * 16];
        for (int vector = 0; vector < handlers.Count; vector++)
        {
            Span<byte> gate = table.AsSpan(vector * 16, 16);
            ulong target = handlers[vector];
            BinaryPrimitives.WriteUInt16LittleEndian(gate, (ushort)target);
            BinaryPrimitives.WriteUInt16LittleEndian(gate[2..], CodeSelector);
            BinaryPrimitives.WriteUInt16LittleEndian(gate[4..], 0x8E00);
            BinaryPrimitives.WriteUInt16LittleEndian(gate[6..], (ushort)(target >> 16));
            BinaryPrimitives.WriteUInt32LittleEndian(gate[8..], (uint)(target >> 32));
        }

        return table;
    }

    /// <summary>Special registers: paging on, flat segments, the tables above.</summary>
    public static KvmSregs SpecialRegisters(int idtGates, ulong gsBase = 0)
    {
        KvmSegment code = Segment(CodeSelector, type: 0xB, isCode: true);
        KvmSegment data = Segment(DataSelector, type: 0x3, isCode: false);
        KvmSegment gs = data;
        gs.Base = gsBase;
        return new KvmSregs
        {
            Cs = code,
            Ds = data,
            Es = data,
            Ss = data,
            Fs = data,
            Gs = gs,
            Tr = new KvmSegment { Type = 0xB, Present = 1, Limit = 0x67 },
            Ldt = new KvmSegment { Unusable = 1 },
            Gdt = new KvmDtable { Base = Gdt, Limit = (3 * 8) - 1 },
            Idt = new KvmDtable { Base = Idt, Limit = (ushort)((idtGates * 16) - 1) },
            Cr0 = 0x8001_0033,  // PG WP NE ET MP PE
            Cr3 = Pml4,
            Cr4 = 0x620,        // OSXMMEXCPT OSFXSR PAE
            Efer = 0x501,       // LMA LME SCE
        };
    }

    private static KvmSegment Segment(ushort selector, byte type, bool isCode) => new()
    {
        Limit = 0xFFFF_FFFF,
        Selector = selector,
        Type = type,
        Present = 1,
        S = 1,
        G = 1,
        Db = (byte)(isCode ? 0 : 1),
        L = (byte)(isCode ? 1 : 0),
    };

    private static byte[] Words(int count, Func<int, ulong> value)
    {
        byte[] bytes = new byte[count * 8];
        for (int index = 0; index < count; index++)
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(index * 8), value(index));
        return bytes;
    }
}
