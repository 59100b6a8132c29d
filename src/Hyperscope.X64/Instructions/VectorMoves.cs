using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;
using V = System.Runtime.Intrinsics.Vector128<byte>;

namespace Hyperscope.X64.Instructions;

/// <summary>MOVAPS, MOVUPS, MOVDQA, MOVDQU, MOVSS, MOVSD, MOVD, MOVQ, half moves, duplicating and non-temporal moves, sign masks.</summary>
internal static unsafe class VectorMoves
{
    private const RowFlags MemoryForm = RowFlags.MemoryOnly, RegisterForm = RowFlags.RegisterOnly;

    public static void Register(OpcodeMap map)
    {
        AddWhole(map, 0x00, 0x0F10, 0x0F11, "movups", "sse", aligned: false);
        AddWhole(map, 0x66, 0x0F10, 0x0F11, "movupd", "sse2", aligned: false);
        AddWhole(map, 0x00, 0x0F28, 0x0F29, "movaps", "sse", aligned: true);
        AddWhole(map, 0x66, 0x0F28, 0x0F29, "movapd", "sse2", aligned: true);
        AddWhole(map, 0x66, 0x0F6F, 0x0F7F, "movdqa", "sse2", aligned: true);
        AddWhole(map, 0xF3, 0x0F6F, 0x0F7F, "movdqu", "sse2", aligned: false);
        Store<StoreAligned>(map, 0x00, 0x0F2B, "movntps", "sse");
        Store<StoreAligned>(map, 0x66, 0x0F2B, "movntpd", "sse2");
        Store<StoreAligned>(map, 0x66, 0x0FE7, "movntdq", "sse2");
        Load<Copy, Unaligned128>(map, 0xF2, 0x0FF0, "lddqu", "sse3", MemoryForm);
        Load<Copy, V>(map, 0x66, 0x0F382A, "movntdqa", "sse4.1", MemoryForm);

        // A scalar load clears the rest of the register; a move between registers keeps it.
        map.Add(0xF3, 0x0F10, new OpcodeRow("movss", VectorHandlers.XmmXmm, static (in insn) =>
            insn.IsMemory ? VectorHandlers.Sourced<Copy, uint>(insn) : VectorHandlers.Packed<MergeLow32>(insn))
        { Feature = "sse" });
        map.Add(0xF2, 0x0F10, new OpcodeRow("movsd", VectorHandlers.XmmXmm, static (in insn) =>
            insn.IsMemory ? VectorHandlers.Sourced<Copy, ulong>(insn) : VectorHandlers.Packed<MergeLow64>(insn))
        { Feature = "sse2" });
        map.Add(0xF3, 0x0F11, new OpcodeRow("movss", VectorHandlers.XmmStore, static (in insn) =>
            insn.IsMemory ? Handlers.Addressed<StoreLow32>(insn) : VectorHandlers.Packed<MergeLow32>(insn))
        { Feature = "sse" });
        map.Add(0xF2, 0x0F11, new OpcodeRow("movsd", VectorHandlers.XmmStore, static (in insn) =>
            insn.IsMemory ? Handlers.Addressed<StoreLow64>(insn) : VectorHandlers.Packed<MergeLow64>(insn))
        { Feature = "sse2" });

        map.Add(0x00, 0x0F12, new OpcodeRow("movlps", VectorHandlers.XmmXmm, static (in insn) =>
            insn.IsMemory ? VectorHandlers.Sourced<MergeLow64, ulong>(insn) : VectorHandlers.Packed<HighToLow>(insn))
        { Feature = "sse" });
        Load<MergeLow64, ulong>(map, 0x66, 0x0F12, "movlpd", "sse2", MemoryForm);
        map.Add(0x00, 0x0F16, new OpcodeRow("movhps", VectorHandlers.XmmXmm, static (in insn) =>
            insn.IsMemory ? VectorHandlers.Sourced<LowToHigh, ulong>(insn) : VectorHandlers.Packed<LowToHigh>(insn))
        { Feature = "sse" });
        Load<LowToHigh, ulong>(map, 0x66, 0x0F16, "movhpd", "sse2", MemoryForm);
        Store<StoreLow64>(map, 0x00, 0x0F13, "movlps", "sse");
        Store<StoreLow64>(map, 0x66, 0x0F13, "movlpd", "sse2");
        Store<StoreHigh64>(map, 0x00, 0x0F17, "movhps", "sse");
        Store<StoreHigh64>(map, 0x66, 0x0F17, "movhpd", "sse2");
        Load<DuplicateEven32, V>(map, 0xF3, 0x0F12, "movsldup", "sse3");
        Load<DuplicateOdd32, V>(map, 0xF3, 0x0F16, "movshdup", "sse3");
        Load<DuplicateLow64, ulong>(map, 0xF2, 0x0F12, "movddup", "sse3");

        Load<LowQuadword, ulong>(map, 0xF3, 0x0F7E, "movq", "sse2");
        map.Add(0x66, 0x0FD6, new OpcodeRow("movq", VectorHandlers.XmmStore, static (in insn) =>
            insn.IsMemory ? Handlers.Addressed<StoreLow64>(insn) : VectorHandlers.Packed<LowQuadword>(insn))
        { Feature = "sse2" });
        map.Add(0x66, 0x0F6E, new OpcodeRow("movd", Encoding.RegD | Encoding.RmS | Encoding.VectorReg | Encoding.Dword, static (in insn) =>
            insn.IsMemory ? insn.OperandSize == 8 ? VectorHandlers.Sourced<Copy, ulong>(insn) : VectorHandlers.Sourced<Copy, uint>(insn)
            : insn.OperandSize == 8 ? Handlers.Plain<FromGeneral<ulong>>(insn) : Handlers.Plain<FromGeneral<uint>>(insn))
        { Feature = "sse2" });
        map.Add(0x66, 0x0F7E, new OpcodeRow("movd", Encoding.RmD | Encoding.RegS | Encoding.VectorReg | Encoding.Dword, static (in insn) =>
            insn.IsMemory ? insn.OperandSize == 8 ? Handlers.Addressed<StoreLow64>(insn) : Handlers.Addressed<StoreLow32>(insn)
            : insn.OperandSize == 8 ? Handlers.Plain<ToGeneral<ulong>>(insn) : Handlers.Plain<ToGeneral<uint>>(insn))
        { Feature = "sse2" });

        // A store of a general register: none of the vector checks apply.
        map.Add(0, 0x0FC3, new OpcodeRow("movnti", Encoding.RmD | Encoding.RegS | Encoding.Dword, Handlers.Sized<StoreGeneral>)
        { Feature = "sse2", Flags = MemoryForm });

        Mask<SingleSigns>(map, 0x00, 0x0F50, "movmskps", "sse");
        Mask<DoubleSigns>(map, 0x66, 0x0F50, "movmskpd", "sse2");
        Mask<ByteSigns>(map, 0x66, 0x0FD7, "pmovmskb", "sse2");
        map.Add(0x66, 0x0FF7, new OpcodeRow("maskmovdqu", Encoding.RegD | Encoding.RmS | Encoding.VectorReg | Encoding.VectorRm,
            Handlers.Plain<MaskedStore>)
        { Feature = "sse2", Flags = RegisterForm });
    }

    private static void AddWhole(OpcodeMap map, int prefix, int load, int store, string name, string feature, bool aligned)
    {
        map.Add(prefix, load, new OpcodeRow(name, VectorHandlers.XmmXmm, aligned ? VectorHandlers.Packed<Copy> : VectorHandlers.Sourced<Copy, Unaligned128>)
        { Feature = feature });
        map.Add(prefix, store, new OpcodeRow(name, VectorHandlers.XmmStore, aligned ? StoreWhole<StoreAligned> : StoreWhole<StoreUnaligned>)
        { Feature = feature });
    }

    private static delegate*<CpuState*, Op*, Op*> StoreWhole<TStore>(in Insn insn)
        where TStore : struct, IAddressed => insn.IsMemory ? Handlers.Addressed<TStore>(insn) : VectorHandlers.Packed<Copy>(insn);

    private static void Store<TStore>(OpcodeMap map, int prefix, int opcode, string name, string feature)
        where TStore : struct, IAddressed =>
        map.Add(prefix, opcode, new OpcodeRow(name, VectorHandlers.XmmStore, Handlers.Addressed<TStore>) { Feature = feature, Flags = MemoryForm });

    private static void Load<TOp, TSource>(OpcodeMap map, int prefix, int opcode, string name, string feature, RowFlags flags = RowFlags.None)
        where TOp : struct, IVectorOp
        where TSource : unmanaged =>
        map.Add(prefix, opcode, new OpcodeRow(name, VectorHandlers.XmmXmm, VectorHandlers.Sourced<TOp, TSource>) { Feature = feature, Flags = flags });

    private static void Mask<TMask>(OpcodeMap map, int prefix, int opcode, string name, string feature)
        where TMask : struct, ISignMask =>
        map.Add(prefix, opcode, new OpcodeRow(name, Encoding.RegD | Encoding.RmS | Encoding.VectorRm | Encoding.Dword, Handlers.Plain<StoreMask<TMask>>)
        { Feature = feature, Flags = RegisterForm });

    internal readonly struct Copy : IVectorOp { public static V Apply(V first, V second, int immediate) => second; }

    private readonly struct MergeLow32 : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse.MoveScalar(first.AsSingle(), second.AsSingle()).AsByte();
    }

    private readonly struct MergeLow64 : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse2.MoveScalar(first.AsDouble(), second.AsDouble()).AsByte();
    }

    private readonly struct HighToLow : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse.MoveHighToLow(first.AsSingle(), second.AsSingle()).AsByte();
    }

    private readonly struct LowToHigh : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse.MoveLowToHigh(first.AsSingle(), second.AsSingle()).AsByte();
    }

    private readonly struct DuplicateEven32 : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse2.Shuffle(second.AsInt32(), 0b10_10_00_00).AsByte();
    }

    private readonly struct DuplicateOdd32 : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse2.Shuffle(second.AsInt32(), 0b11_11_01_01).AsByte();
    }

    private readonly struct DuplicateLow64 : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse2.UnpackLow(second.AsInt64(), second.AsInt64()).AsByte();
    }

    private readonly struct LowQuadword : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse2.MoveScalar(second.AsUInt64()).AsByte();
    }

    private readonly struct StoreAligned : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing =>
            VectorUnit.IsBlocked(c) ? VectorUnit.RaiseBlocked(c, o) : VectorUnit.WriteAligned<TAddressing>(c, o, VectorUnit.Get(c, o->S));
    }

    private readonly struct StoreUnaligned : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing =>
            VectorUnit.IsBlocked(c) ? VectorUnit.RaiseBlocked(c, o) : VectorUnit.WriteUnaligned<TAddressing>(c, o, VectorUnit.Get(c, o->S));
    }

    private readonly struct StoreLow32 : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing =>
            VectorUnit.IsBlocked(c) ? VectorUnit.RaiseBlocked(c, o) : Mem.Write<uint, TAddressing>(c, o, Handlers.Get<uint>(c, o->S));
    }

    private readonly struct StoreLow64 : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing =>
            VectorUnit.IsBlocked(c) ? VectorUnit.RaiseBlocked(c, o) : Mem.Write<ulong, TAddressing>(c, o, Handlers.Get<ulong>(c, o->S));
    }

    private readonly struct StoreHigh64 : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing =>
            VectorUnit.IsBlocked(c) ? VectorUnit.RaiseBlocked(c, o) : Mem.Write<ulong, TAddressing>(c, o, Handlers.Get<ulong>(c, o->S + 8));
    }

    private readonly struct StoreGeneral : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, System.Numerics.IBinaryInteger<T>
            where TAddressing : struct, IAddressing => Mem.Write<T, TAddressing>(c, o, Handlers.Get<T>(c, o->S));
    }

    private readonly struct FromGeneral<T> : IPlain
        where T : unmanaged
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            VectorUnit.Set(c, o->D, VectorUnit.Widen((T*)((byte*)c + o->S)));
            return true;
        }
    }

    private readonly struct ToGeneral<T> : IPlain
        where T : unmanaged, System.Numerics.IBinaryInteger<T>
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            Handlers.Set(c, o->D, Handlers.Get<T>(c, o->S));
            return true;
        }
    }

    private interface ISignMask
    {
        static abstract int Signs(V value);
    }

    private readonly struct SingleSigns : ISignMask { public static int Signs(V value) => Sse.MoveMask(value.AsSingle()); }

    private readonly struct DoubleSigns : ISignMask { public static int Signs(V value) => Sse2.MoveMask(value.AsDouble()); }

    private readonly struct ByteSigns : ISignMask { public static int Signs(V value) => Sse2.MoveMask(value); }

    private readonly struct StoreMask<TMask> : IPlain
        where TMask : struct, ISignMask
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            Handlers.Set(c, o->D, (uint)TMask.Signs(VectorUnit.Get(c, o->S)));
            return true;
        }
    }

    private readonly struct MaskedStore : IPlain
    {
        public static bool Run(CpuState* c, Op* o) =>
            VectorUnit.IsBlocked(c) ? VectorUnit.RaiseBlocked(c, o) : Store(c, o);

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static bool Store(CpuState* c, Op* o)
        {
            Vector128<ulong> value = VectorUnit.Get(c, o->D).AsUInt64();
            return VectorUnit.WriteMasked(c, o, value.GetElement(0), value.GetElement(1), (uint)Sse2.MoveMask(VectorUnit.Get(c, o->S)), 16);
        }
    }
}
