using Hyperscope.Vm;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>Segment registers and descriptor tables: MOV, PUSH, POP, LDS.., LAR, LSL, VERR, VERW, ARPL, SGDT, LGDT, LTR and kin.</summary>
internal static unsafe class SegmentInstructions
{
    public static void Register(OpcodeMap map)
    {
        map.Add(0x8C, new OpcodeRow("mov", Encoding.RmD | Encoding.PlainReg, Handlers.Plain<StoreSegment>));
        map.Add(0x8E, new OpcodeRow("mov", Encoding.RmS | Encoding.PlainReg | Encoding.WordSource, static (in _) => &LoadSegment) { Flags = RowFlags.EndsBlock });
        AddPushPop(map, 0x06, SegmentIndex.Es);
        AddPush(map, 0x0E, SegmentIndex.Cs);
        AddPushPop(map, 0x16, SegmentIndex.Ss);
        AddPushPop(map, 0x1E, SegmentIndex.Ds);
        map.Add(0x0FA0, PushRow(SegmentIndex.Fs, RowFlags.None));
        map.Add(0x0FA1, PopRow(SegmentIndex.Fs, RowFlags.None));
        map.Add(0x0FA8, PushRow(SegmentIndex.Gs, RowFlags.None));
        map.Add(0x0FA9, PopRow(SegmentIndex.Gs, RowFlags.None));
        AddLoadFar(map, 0xC4, SegmentIndex.Es, RowFlags.Not64);
        AddLoadFar(map, 0xC5, SegmentIndex.Ds, RowFlags.Not64);
        AddLoadFar(map, 0x0FB2, SegmentIndex.Ss, RowFlags.None);
        AddLoadFar(map, 0x0FB4, SegmentIndex.Fs, RowFlags.None);
        AddLoadFar(map, 0x0FB5, SegmentIndex.Gs, RowFlags.None);

        map.Add(0x0F02, new OpcodeRow("lar", Encoding.RegD | Encoding.RmS | Encoding.WordSource, Handlers.Plain<LoadAccessRights>)
        { Flags = RowFlags.ProtectedOnly, Writes = Rflags.Zf });
        map.Add(0x0F03, new OpcodeRow("lsl", Encoding.RegD | Encoding.RmS | Encoding.WordSource, Handlers.Plain<LoadLimit>)
        { Flags = RowFlags.ProtectedOnly, Writes = Rflags.Zf });
        map.AddGroup(0x0F00, 0, new OpcodeRow("sldt", Encoding.RmD, static (in _) => &StoreLdt) { Flags = RowFlags.ProtectedOnly | RowFlags.EndsBlock });
        map.AddGroup(0x0F00, 1, new OpcodeRow("str", Encoding.RmD, static (in _) => &StoreTask) { Flags = RowFlags.ProtectedOnly | RowFlags.EndsBlock });
        map.AddGroup(0x0F00, 2, Table("lldt", Encoding.RmS | Encoding.WordSource, static (in _) => &LoadLdt, RowFlags.ProtectedOnly));
        map.AddGroup(0x0F00, 3, Table("ltr", Encoding.RmS | Encoding.WordSource, static (in _) => &LoadTask, RowFlags.ProtectedOnly));
        map.AddGroup(0x0F00, 4, new OpcodeRow("verr", Encoding.RmS | Encoding.WordSource, Handlers.Plain<Verify<ForReading>>)
        { Flags = RowFlags.ProtectedOnly, Writes = Rflags.Zf });
        map.AddGroup(0x0F00, 5, new OpcodeRow("verw", Encoding.RmS | Encoding.WordSource, Handlers.Plain<Verify<ForWriting>>)
        { Flags = RowFlags.ProtectedOnly, Writes = Rflags.Zf });
        map.AddGroup(0x0F01, 0, Table("sgdt", Encoding.ModRm, static (in _) => &StoreGdt, RowFlags.MemoryOnly));
        map.AddGroup(0x0F01, 1, Table("sidt", Encoding.ModRm, static (in _) => &StoreIdt, RowFlags.MemoryOnly));
        map.AddGroup(0x0F01, 2, Table("lgdt", Encoding.ModRm, static (in _) => &LoadGdt, RowFlags.MemoryOnly));
        map.AddGroup(0x0F01, 3, Table("lidt", Encoding.ModRm, static (in _) => &LoadIdt, RowFlags.MemoryOnly));
    }

    private static OpcodeRow Table(string name, Encoding encoding, HandlerSelector select, RowFlags flags) =>
        new(name, encoding, select) { Flags = flags | RowFlags.EndsBlock };

    private static void AddPushPop(OpcodeMap map, int opcode, SegmentIndex index)
    {
        AddPush(map, opcode, index);
        map.Add(opcode + 1, PopRow(index, RowFlags.Not64));
    }

    private static void AddPush(OpcodeMap map, int opcode, SegmentIndex index) => map.Add(opcode, PushRow(index, RowFlags.Not64));

    private static OpcodeRow PushRow(SegmentIndex index, RowFlags flags) => new("push", Encoding.Default64, index switch
    {
        SegmentIndex.Es => static (in _) => &Push<EsIndex>,
        SegmentIndex.Cs => static (in _) => &Push<CsIndex>,
        SegmentIndex.Ss => static (in _) => &Push<SsIndex>,
        SegmentIndex.Ds => static (in _) => &Push<DsIndex>,
        SegmentIndex.Fs => static (in _) => &Push<FsIndex>,
        _ => static (in _) => &Push<GsIndex>,
    })
    { Flags = flags | RowFlags.EndsBlock };

    private static OpcodeRow PopRow(SegmentIndex index, RowFlags flags) => new("pop", Encoding.Default64, index switch
    {
        SegmentIndex.Es => static (in _) => &Pop<EsIndex>,
        SegmentIndex.Ss => static (in _) => &Pop<SsIndex>,
        SegmentIndex.Ds => static (in _) => &Pop<DsIndex>,
        SegmentIndex.Fs => static (in _) => &Pop<FsIndex>,
        _ => static (in _) => &Pop<GsIndex>,
    })
    { Flags = flags | RowFlags.EndsBlock };

    private static void AddLoadFar(OpcodeMap map, int opcode, SegmentIndex index, RowFlags flags) =>
        map.Add(opcode, new OpcodeRow(index switch
        {
            SegmentIndex.Es => "les",
            SegmentIndex.Ss => "lss",
            SegmentIndex.Ds => "lds",
            SegmentIndex.Fs => "lfs",
            _ => "lgs",
        }, Encoding.RegD, index switch
        {
            SegmentIndex.Es => static (in _) => &LoadFar<EsIndex>,
            SegmentIndex.Ss => static (in _) => &LoadFar<SsIndex>,
            SegmentIndex.Ds => static (in _) => &LoadFar<DsIndex>,
            SegmentIndex.Fs => static (in _) => &LoadFar<FsIndex>,
            _ => static (in _) => &LoadFar<GsIndex>,
        })
        { Flags = flags | RowFlags.EndsBlock | RowFlags.MemoryOnly });

    private interface IIndex
    {
        static abstract SegmentIndex Value { get; }
    }

    private readonly struct EsIndex : IIndex
    {
        public static SegmentIndex Value => SegmentIndex.Es;
    }

    private readonly struct CsIndex : IIndex
    {
        public static SegmentIndex Value => SegmentIndex.Cs;
    }

    private readonly struct SsIndex : IIndex
    {
        public static SegmentIndex Value => SegmentIndex.Ss;
    }

    private readonly struct DsIndex : IIndex
    {
        public static SegmentIndex Value => SegmentIndex.Ds;
    }

    private readonly struct FsIndex : IIndex
    {
        public static SegmentIndex Value => SegmentIndex.Fs;
    }

    private readonly struct GsIndex : IIndex
    {
        public static SegmentIndex Value => SegmentIndex.Gs;
    }

    private readonly struct StoreSegment : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (o->S >= CpuState.SegmentCount)
                return c->RaiseUd(o);
            ushort selector = (&c->Es)[o->S].Selector;
            if ((o->Bits & OpBits.HasMemory) != 0)
                return c->Owner.TryWrite(o, c->Owner.OperandAddress(o, 2, isWrite: true), 2, selector);
            SystemInstructions.SetSized(c, o, selector);
            return true;
        }
    }

    // A terminator, because loading SS holds off interrupts until the next instruction is done.
    private static Op* LoadSegment(CpuState* c, Op* o)
    {
        if (o->D >= CpuState.SegmentCount || o->D == (int)SegmentIndex.Cs)
            return SystemInstructions.Stopped(c->RaiseUd(o));
        var index = (SegmentIndex)o->D;
        SoftwareVcpu owner = c->Owner;
        if (!owner.TryReadWordOperand(o, out ushort selector) || !owner.TryLoadSegment(o, index, selector))
            return null;
        return index == SegmentIndex.Ss ? GoOnAfterStackSwitch(c, o) : Chain.Next(c, o);
    }

    private static Op* GoOnAfterStackSwitch(CpuState* c, Op* o)
    {
        c->InterruptShadow = 2;
        Op* next = Chain.Next(c, o);
        if (next != null)
            c->InterruptShadow = 0; // interrupts are taken between blocks, so the next instruction runs first anyway
        return next;
    }

    private static Op* Push<TIndex>(CpuState* c, Op* o)
        where TIndex : struct, IIndex
    {
        ushort selector = (&c->Es)[(int)TIndex.Value].Selector;
        bool ok = o->OperandSize switch
        {
            8 => Stack.Push<ulong>(c, o, selector),
            4 => PushDoubleword(c, o, selector),
            _ => Stack.Push(c, o, selector),
        };
        return ok ? Chain.Next(c, o) : null;
    }

    // A doubleword slot, of which only the low half is written.
    private static bool PushDoubleword(CpuState* c, Op* o, ushort selector)
    {
        ulong pointer = Stack.Moved(c, o, -4);
        if (!Mem.WriteLinear(c, o, Stack.Linear(c, o, pointer, 2, true), selector))
            return false;
        c->R[4] = pointer;
        return true;
    }

    private static Op* Pop<TIndex>(CpuState* c, Op* o)
        where TIndex : struct, IIndex
    {
        ushort* top = Stack.Top<ushort>(c, o);
        if (top == null)
            return null;
        ushort selector = *top;

        // The width of the stack is that of the segment before the load.
        ulong moved = Stack.Moved(c, o, o->OperandSize);
        if (!c->Owner.TryLoadSegment(o, TIndex.Value, selector))
            return null;
        c->R[4] = moved;
        return TIndex.Value == SegmentIndex.Ss ? GoOnAfterStackSwitch(c, o) : Chain.Next(c, o);
    }

    private static Op* LoadFar<TIndex>(CpuState* c, Op* o)
        where TIndex : struct, IIndex
    {
        SoftwareVcpu owner = c->Owner;
        int size = o->OperandSize;
        byte* pointer = owner.ReadSlow(o, owner.OperandAddress(o, size + 2, isWrite: false), size + 2);
        if (pointer == null)
            return null;
        ulong offset = size switch { 2 => *(ushort*)pointer, 4 => *(uint*)pointer, _ => *(ulong*)pointer };
        if (!owner.TryLoadSegment(o, TIndex.Value, *(ushort*)(pointer + size)))
            return null;
        SystemInstructions.SetSized(c, o, offset);
        return Chain.Next(c, o);
    }

    private static bool IsAvailable(CpuState* c, Op* o) => !c->Owner.IsRealOrVirtual || c->RaiseUd(o);

    private readonly struct LoadAccessRights : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            SoftwareVcpu owner = c->Owner;
            if (!IsAvailable(c, o) || !owner.TryReadWordOperand(o, out ushort selector)
                || !owner.TryInspect(o, selector, out Descriptor descriptor, out bool isVisible))
            {
                return false;
            }

            bool hasRights = descriptor.IsCodeOrData || (c->IsLongMode
                ? descriptor.Type is SystemType.Ldt or SystemType.Tss32 or SystemType.Tss32Busy or SystemType.CallGate32
                : descriptor.Type is SystemType.Tss16 or SystemType.Ldt or SystemType.Tss16Busy or SystemType.CallGate16 or SystemType.TaskGate
                    or SystemType.Tss32 or SystemType.Tss32Busy or SystemType.CallGate32);
            bool found = isVisible && hasRights;
            if (found)
                SystemInstructions.SetSized(c, o, (descriptor.Raw >> 32) & 0xF0_FF00);
            Flags.SetZero(c, found);
            return true;
        }
    }

    private readonly struct LoadLimit : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            SoftwareVcpu owner = c->Owner;
            if (!IsAvailable(c, o) || !owner.TryReadWordOperand(o, out ushort selector)
                || !owner.TryInspect(o, selector, out Descriptor descriptor, out bool isVisible))
            {
                return false;
            }

            bool hasLimit = descriptor.IsCodeOrData || (c->IsLongMode
                ? descriptor.Type is SystemType.Ldt or SystemType.Tss32 or SystemType.Tss32Busy
                : descriptor.Type is SystemType.Tss16 or SystemType.Ldt or SystemType.Tss16Busy or SystemType.Tss32 or SystemType.Tss32Busy);
            bool found = isVisible && hasLimit;
            if (found)
                SystemInstructions.SetSized(c, o, descriptor.Limit);
            Flags.SetZero(c, found);
            return true;
        }
    }

    private interface IVerify
    {
        static abstract bool Test(in Descriptor descriptor);
    }

    private readonly struct ForReading : IVerify
    {
        public static bool Test(in Descriptor descriptor) => descriptor.IsCodeOrData && descriptor.IsReadable;
    }

    private readonly struct ForWriting : IVerify
    {
        public static bool Test(in Descriptor descriptor) => descriptor.IsWritableData;
    }

    private readonly struct Verify<TVerify> : IPlain
        where TVerify : struct, IVerify
    {
        public static bool Run(CpuState* c, Op* o)
        {
            SoftwareVcpu owner = c->Owner;
            if (!IsAvailable(c, o) || !owner.TryReadWordOperand(o, out ushort selector)
                || !owner.TryInspect(o, selector, out Descriptor descriptor, out bool isVisible))
            {
                return false;
            }

            Flags.SetZero(c, isVisible && TVerify.Test(descriptor));
            return true;
        }
    }

    // In protected mode only; in 64-bit code the opcode is MOVSXD.
    public static delegate*<CpuState*, Op*, Op*> AdjustRpl(in Insn insn) => insn.IsMemory ? &AdjustMemory : &AdjustRegister;

    private static Op* AdjustRegister(CpuState* c, Op* o)
    {
        if (!IsAvailable(c, o))
            return null;

        // The row is that of MOVSXD: D is reg, S is rm.
        ushort* destination = (ushort*)((byte*)c + o->S);
        int rpl = *(ushort*)((byte*)c + o->D) & 3;
        bool adjusts = (*destination & 3) < rpl;
        if (adjusts)
            *destination = (ushort)((*destination & ~3) | rpl);
        Flags.SetZero(c, adjusts);
        o++;
        return o->Handler(c, o);
    }

    private static Op* AdjustMemory(CpuState* c, Op* o)
    {
        if (!IsAvailable(c, o))
            return null;
        ushort* destination = Mem.Modify<ushort, Segmented>(c, o);
        if (destination == null)
            return null;
        int rpl = *(ushort*)((byte*)c + o->D) & 3;
        bool adjusts = (*destination & 3) < rpl;
        if (adjusts)
            *destination = (ushort)((*destination & ~3) | rpl);
        Mem.Commit(c, destination);
        Flags.SetZero(c, adjusts);
        o++;
        return o->Handler(c, o);
    }

    private static Op* StoreGdt(CpuState* c, Op* o) => StoreTable(c, o, DescriptorTable.Gdtr);

    private static Op* StoreIdt(CpuState* c, Op* o) => StoreTable(c, o, DescriptorTable.Idtr);

    private static Op* StoreTable(CpuState* c, Op* o, DescriptorTable table)
    {
        SoftwareVcpu owner = c->Owner;
        if (!SystemInstructions.MayStore(c, o) || !owner.AllowDescriptorAccess(o, table, isWrite: false))
            return null;
        return owner.StoreTable(o, table == DescriptorTable.Gdtr ? c->Gdtr : c->Idtr) ? Chain.Next(c, o) : null;
    }

    private static Op* LoadGdt(CpuState* c, Op* o) => LoadTable(c, o, DescriptorTable.Gdtr);

    private static Op* LoadIdt(CpuState* c, Op* o) => LoadTable(c, o, DescriptorTable.Idtr);

    private static Op* LoadTable(CpuState* c, Op* o, DescriptorTable table)
    {
        SoftwareVcpu owner = c->Owner;
        if (c->Cpl != 0)
            return SystemInstructions.Stopped(c->RaiseGp(o));
        if (!owner.AllowDescriptorAccess(o, table, isWrite: true) || !owner.TryReadTable(o, out TableRegister value))
            return null;
        if (table == DescriptorTable.Gdtr)
            c->Gdtr = value;
        else
            c->Idtr = value;
        return Chain.Next(c, o);
    }

    private static Op* StoreLdt(CpuState* c, Op* o) => StoreSelector(c, o, DescriptorTable.Ldtr);

    private static Op* StoreTask(CpuState* c, Op* o) => StoreSelector(c, o, DescriptorTable.Tr);

    private static Op* StoreSelector(CpuState* c, Op* o, DescriptorTable table)
    {
        SoftwareVcpu owner = c->Owner;
        if (!IsAvailable(c, o) || !SystemInstructions.MayStore(c, o) || !owner.AllowDescriptorAccess(o, table, isWrite: false))
            return null;
        ushort selector = table == DescriptorTable.Ldtr ? c->Ldtr.Selector : c->Tr.Selector;
        if ((o->Bits & OpBits.HasMemory) != 0)
            return owner.TryWrite(o, owner.OperandAddress(o, 2, isWrite: true), 2, selector) ? Chain.Next(c, o) : null;
        SystemInstructions.SetSized(c, o, selector);
        return Chain.Next(c, o);
    }

    private static Op* LoadLdt(CpuState* c, Op* o) => LoadSelector(c, o, DescriptorTable.Ldtr);

    private static Op* LoadTask(CpuState* c, Op* o) => LoadSelector(c, o, DescriptorTable.Tr);

    private static Op* LoadSelector(CpuState* c, Op* o, DescriptorTable table)
    {
        SoftwareVcpu owner = c->Owner;
        if (!IsAvailable(c, o))
            return null;
        if (c->Cpl != 0)
            return SystemInstructions.Stopped(c->RaiseGp(o));
        if (!owner.AllowDescriptorAccess(o, table, isWrite: true) || !owner.TryReadWordOperand(o, out ushort selector))
            return null;
        bool ok = table == DescriptorTable.Ldtr ? owner.TryLoadLdt(o, selector) : owner.TryLoadTask(o, selector);
        return ok ? Chain.Next(c, o) : null;
    }
}
