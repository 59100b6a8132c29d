using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;
using V = System.Runtime.Intrinsics.Vector128<byte>;

namespace Hyperscope.X64.Instructions;

/// <summary>Shuffles, blends, shifts, insertions and extractions, widening moves, PTEST: what moves bits without rounding anything.</summary>
/// <remarks>Immediates vary per instruction and the host's instructions want constants, so selections by an immediate are shuffles by a
/// control vector worked out from it.</remarks>
internal static unsafe class VectorShuffles
{
    public static void Register(OpcodeMap map)
    {
        const Encoding Immediate = Encoding.Imm8;
        VectorHandlers.Add<ShuffleDwords>(map, 0x66, 0x0F70, "pshufd", "sse2", Immediate);
        VectorHandlers.Add<ShuffleHighWords>(map, 0xF3, 0x0F70, "pshufhw", "sse2", Immediate);
        VectorHandlers.Add<ShuffleLowWords>(map, 0xF2, 0x0F70, "pshuflw", "sse2", Immediate);
        MmxHandlers.Add<ShuffleLowWords>(map, 0x0F70, "pshufw", "sse", Immediate);
        VectorHandlers.Add<ShuffleSingles>(map, 0x00, 0x0FC6, "shufps", "sse", Immediate);
        VectorHandlers.Add<ShuffleDoubles>(map, 0x66, 0x0FC6, "shufpd", "sse2", Immediate);
        VectorHandlers.Add<VectorInteger.PunpckLdq>(map, 0x00, 0x0F14, "unpcklps", "sse");
        VectorHandlers.Add<VectorInteger.PunpckLqdq>(map, 0x66, 0x0F14, "unpcklpd", "sse2");
        VectorHandlers.Add<VectorInteger.PunpckHdq>(map, 0x00, 0x0F15, "unpckhps", "sse");
        VectorHandlers.Add<VectorInteger.PunpckHqdq>(map, 0x66, 0x0F15, "unpckhpd", "sse2");
        AddLogic<VectorInteger.Pand>(map, 0x0F54, "and");
        AddLogic<VectorInteger.Pandn>(map, 0x0F55, "andn");
        AddLogic<VectorInteger.Por>(map, 0x0F56, "or");
        AddLogic<VectorInteger.Pxor>(map, 0x0F57, "xor");
        VectorHandlers.Add<Align>(map, 0x66, 0x0F3A0F, "palignr", "ssse3", Immediate);
        MmxHandlers.Add<MmxAlign>(map, 0x0F3A0F, "palignr", "ssse3", Immediate);

        AddShift<LeftWords>(map, 0x0FF1, 0x0F71, 6, "psllw");
        AddShift<LeftDwords>(map, 0x0FF2, 0x0F72, 6, "pslld");
        AddShift<LeftQwords>(map, 0x0FF3, 0x0F73, 6, "psllq");
        AddShift<RightWords>(map, 0x0FD1, 0x0F71, 2, "psrlw");
        AddShift<RightDwords>(map, 0x0FD2, 0x0F72, 2, "psrld");
        AddShift<RightQwords>(map, 0x0FD3, 0x0F73, 2, "psrlq");
        AddShift<ArithmeticWords>(map, 0x0FE1, 0x0F71, 4, "psraw");
        AddShift<ArithmeticDwords>(map, 0x0FE2, 0x0F72, 4, "psrad");
        AddByteShift<LeftBytes>(map, 7, "pslldq");
        AddByteShift<RightBytes>(map, 3, "psrldq");

        VectorHandlers.Add<BlendBytesByMask>(map, 0x66, 0x0F3A0E, "pblendw", "sse4.1", Immediate);
        VectorHandlers.Add<BlendSingles>(map, 0x66, 0x0F3A0C, "blendps", "sse4.1", Immediate);
        VectorHandlers.Add<BlendDoubles>(map, 0x66, 0x0F3A0D, "blendpd", "sse4.1", Immediate);
        AddVariableBlend<ByteSigns>(map, 0x0F3810, "pblendvb");
        AddVariableBlend<SingleSigns>(map, 0x0F3814, "blendvps");
        AddVariableBlend<DoubleSigns>(map, 0x0F3815, "blendvpd");
        VectorHandlers.Add<SumsOfDifferences>(map, 0x66, 0x0F3A42, "mpsadbw", "sse4.1", Immediate);

        VectorHandlers.AddSourced<SignBytesToWords, ulong>(map, 0x66, 0x0F3820, "pmovsxbw", "sse4.1");
        VectorHandlers.AddSourced<SignBytesToDwords, uint>(map, 0x66, 0x0F3821, "pmovsxbd", "sse4.1");
        VectorHandlers.AddSourced<SignBytesToQwords, ushort>(map, 0x66, 0x0F3822, "pmovsxbq", "sse4.1");
        VectorHandlers.AddSourced<SignWordsToDwords, ulong>(map, 0x66, 0x0F3823, "pmovsxwd", "sse4.1");
        VectorHandlers.AddSourced<SignWordsToQwords, uint>(map, 0x66, 0x0F3824, "pmovsxwq", "sse4.1");
        VectorHandlers.AddSourced<SignDwordsToQwords, ulong>(map, 0x66, 0x0F3825, "pmovsxdq", "sse4.1");
        VectorHandlers.AddSourced<ZeroBytesToWords, ulong>(map, 0x66, 0x0F3830, "pmovzxbw", "sse4.1");
        VectorHandlers.AddSourced<ZeroBytesToDwords, uint>(map, 0x66, 0x0F3831, "pmovzxbd", "sse4.1");
        VectorHandlers.AddSourced<ZeroBytesToQwords, ushort>(map, 0x66, 0x0F3832, "pmovzxbq", "sse4.1");
        VectorHandlers.AddSourced<ZeroWordsToDwords, ulong>(map, 0x66, 0x0F3833, "pmovzxwd", "sse4.1");
        VectorHandlers.AddSourced<ZeroWordsToQwords, uint>(map, 0x66, 0x0F3834, "pmovzxwq", "sse4.1");
        VectorHandlers.AddSourced<ZeroDwordsToQwords, ulong>(map, 0x66, 0x0F3835, "pmovzxdq", "sse4.1");

        AddInsert<ushort>(map, 0x66, 0x0FC4, "pinsrw", "sse2");
        AddInsert<byte>(map, 0x66, 0x0F3A20, "pinsrb", "sse4.1");
        map.Add(0x66, 0x0F3A22, new OpcodeRow("pinsrd", Encoding.RegD | Encoding.RmS | Encoding.VectorReg | Encoding.Dword | Immediate, static (in insn) =>
            insn.OperandSize == 8 ? Insertion<ulong>(insn) : Insertion<uint>(insn))
        { Feature = "sse4.1" });
        map.Add(0, 0x0FC4, new OpcodeRow("pinsrw", Encoding.RegD | Encoding.RmS | Encoding.MmxReg | Encoding.Dword | Immediate, static (in insn) =>
            insn.IsMemory ? Handlers.Addressed<MmxInsertMemory>(insn) : Handlers.Plain<MmxInsert>(insn))
        { Feature = "sse" });
        map.Add(0x66, 0x0FC5, new OpcodeRow("pextrw", Encoding.RegD | Encoding.RmS | Encoding.VectorRm | Encoding.Dword | Immediate,
            Handlers.Plain<Extract<ushort>>)
        { Feature = "sse2", Flags = RowFlags.RegisterOnly });
        AddExtract<byte>(map, 0x0F3A14, "pextrb");
        AddExtract<ushort>(map, 0x0F3A15, "pextrw");
        map.Add(0x66, 0x0F3A16, new OpcodeRow("pextrd", Encoding.RmD | Encoding.RegS | Encoding.VectorReg | Encoding.Dword | Immediate, static (in insn) =>
            insn.OperandSize == 8 ? Extraction<ulong>(insn) : Extraction<uint>(insn))
        { Feature = "sse4.1" });
        AddExtract<uint>(map, 0x0F3A17, "extractps");
        map.Add(0x66, 0x0F3A21, new OpcodeRow("insertps", VectorHandlers.XmmXmm | Immediate, static (in insn) =>
            insn.IsMemory ? VectorHandlers.Sourced<InsertSingleFromMemory, uint>(insn) : VectorHandlers.Packed<InsertSingle>(insn))
        { Feature = "sse4.1" });
        map.Add(0x66, 0x0F3817, new OpcodeRow("ptest", VectorHandlers.XmmXmm, VectorHandlers.Reader<Test, V>)
        { Feature = "sse4.1", Writes = Rflags.Arithmetic });
    }

    private static void AddLogic<TOp>(OpcodeMap map, int opcode, string name)
        where TOp : struct, IVectorOp
    {
        VectorHandlers.Add<TOp>(map, 0x00, opcode, name + "ps", "sse");
        VectorHandlers.Add<TOp>(map, 0x66, opcode, name + "pd", "sse2");
    }

    private static void AddShift<TOp>(OpcodeMap map, int opcode, int group, int reg, string name)
        where TOp : struct, IVectorOp
    {
        VectorHandlers.Add<TOp>(map, 0x66, opcode, name, "sse2");
        MmxHandlers.Add<TOp>(map, opcode, name, "mmx");
        map.AddGroup(0x66, group, reg, new OpcodeRow(name, Encoding.RmD | Encoding.VectorRm | Encoding.Imm8, Handlers.Plain<ShiftImmediate<TOp>>)
        { Feature = "sse2", Flags = RowFlags.RegisterOnly });
        map.AddGroup(0, group, reg, new OpcodeRow(name, Encoding.RmD | Encoding.MmxRm | Encoding.Imm8, Handlers.Plain<MmxShiftImmediate<TOp>>)
        { Feature = "mmx", Flags = RowFlags.RegisterOnly });
    }

    private static void AddByteShift<TOp>(OpcodeMap map, int reg, string name)
        where TOp : struct, IVectorOp =>
        map.AddGroup(0x66, 0x0F73, reg, new OpcodeRow(name, Encoding.RmD | Encoding.VectorRm | Encoding.Imm8, Handlers.Plain<ShiftImmediate<TOp>>)
        { Feature = "sse2", Flags = RowFlags.RegisterOnly });

    private static void AddVariableBlend<TSigns>(OpcodeMap map, int opcode, string name)
        where TSigns : struct, ISigns =>
        map.Add(0x66, opcode, new OpcodeRow(name, VectorHandlers.XmmXmm, VectorHandlers.Reader<Blend<TSigns>, V>)
        { Feature = "sse4.1" });

    private static void AddInsert<T>(OpcodeMap map, int prefix, int opcode, string name, string feature)
        where T : unmanaged, IBinaryInteger<T> =>
        map.Add(prefix, opcode, new OpcodeRow(name, Encoding.RegD | Encoding.RmS | Encoding.VectorReg | Encoding.Dword | Encoding.Imm8, Insertion<T>)
        { Feature = feature });

    private static delegate*<CpuState*, Op*, Op*> Insertion<T>(in Insn insn)
        where T : unmanaged, IBinaryInteger<T> => VectorHandlers.ScalarReader<Insert<T>, T>(insn);

    private static void AddExtract<T>(OpcodeMap map, int opcode, string name)
        where T : unmanaged, IBinaryInteger<T> =>
        map.Add(0x66, opcode, new OpcodeRow(name, Encoding.RmD | Encoding.RegS | Encoding.VectorReg | Encoding.Dword | Encoding.Imm8, Extraction<T>)
        { Feature = "sse4.1" });

    private static delegate*<CpuState*, Op*, Op*> Extraction<T>(in Insn insn)
        where T : unmanaged, IBinaryInteger<T> => insn.IsMemory ? Handlers.Addressed<ExtractMemory<T>>(insn) : Handlers.Plain<Extract<T>>(insn);

    // The bytes that a two-bit-per-element immediate selects.
    private static V Control32(int immediate) =>
        (Vector128.Create(immediate & 3, immediate >> 2 & 3, immediate >> 4 & 3, immediate >> 6 & 3) * 0x0404_0404 + Vector128.Create(0x0302_0100)).AsByte();

    private static Vector128<ulong> Control16(int immediate, ulong identity) => Vector128.Create(
        ((uint)(immediate & 3) | ((ulong)(uint)(immediate >> 2 & 3) << 16) | ((ulong)(uint)(immediate >> 4 & 3) << 32) | ((ulong)(uint)(immediate >> 6 & 3) << 48))
        * 0x0202 + 0x0100_0100_0100_0100 + identity);

    private readonly struct ShuffleDwords : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Ssse3.Shuffle(second, Control32(immediate));
    }

    private readonly struct ShuffleLowWords : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) =>
            Ssse3.Shuffle(second, Control16(immediate, 0).WithElement(1, 0x0F0E_0D0C_0B0A_0908UL).AsByte());
    }

    private readonly struct ShuffleHighWords : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) =>
            Ssse3.Shuffle(second, Control16(immediate, 0x0808_0808_0808_0808).WithElement(0, 0x0706_0504_0302_0100UL).AsByte());
    }

    private readonly struct ShuffleSingles : IVectorOp
    {
        public static V Apply(V first, V second, int immediate)
        {
            V control = Control32(immediate);
            return Sse2.UnpackLow(Ssse3.Shuffle(first, control).AsUInt64(),
                Sse2.UnpackHigh(Ssse3.Shuffle(second, control).AsUInt64(), default)).AsByte();
        }
    }

    private readonly struct ShuffleDoubles : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Vector128.Create(
            (immediate & 1) == 0 ? first.AsUInt64().GetElement(0) : first.AsUInt64().GetElement(1),
            (immediate & 2) == 0 ? second.AsUInt64().GetElement(0) : second.AsUInt64().GetElement(1)).AsByte();
    }

    private static V Counting(int from) =>
        Vector128.Create((byte)0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) + Vector128.Create((byte)from);

    // Bytes 0 to 15 of the register shifted right by count (negative: left); what comes in is zero.
    private static V ShiftedRight(V value, int count)
    {
        V control = Counting(count);
        V outside = Vector128.GreaterThan(control.AsSByte(), Vector128.Create((sbyte)15)).AsByte();
        return Ssse3.Shuffle(value, control | outside);
    }

    private readonly struct Align : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) =>
            immediate >= 32 ? default : ShiftedRight(second, immediate) | ShiftedRight(first, immediate - 16);
    }

    private readonly struct MmxAlign : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) =>
            immediate >= 16 ? default : ShiftedRight(Sse2.UnpackLow(second.AsUInt64(), first.AsUInt64()).AsByte(), immediate);
    }

    private readonly struct LeftBytes : IVectorOp
    {
        public static V Apply(V first, V second, int immediate)
        {
            ulong count = second.AsUInt64().ToScalar();
            return count > 15 ? default : ShiftedRight(first, -(int)count);
        }
    }

    private readonly struct RightBytes : IVectorOp
    {
        public static V Apply(V first, V second, int immediate)
        {
            ulong count = second.AsUInt64().ToScalar();
            return count > 15 ? default : ShiftedRight(first, (int)count);
        }
    }

    private readonly struct LeftWords : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse2.ShiftLeftLogical(first.AsInt16(), second.AsInt16()).AsByte();
    }

    private readonly struct LeftDwords : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse2.ShiftLeftLogical(first.AsInt32(), second.AsInt32()).AsByte();
    }

    private readonly struct LeftQwords : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse2.ShiftLeftLogical(first.AsInt64(), second.AsInt64()).AsByte();
    }

    private readonly struct RightWords : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse2.ShiftRightLogical(first.AsInt16(), second.AsInt16()).AsByte();
    }

    private readonly struct RightDwords : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse2.ShiftRightLogical(first.AsInt32(), second.AsInt32()).AsByte();
    }

    private readonly struct RightQwords : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse2.ShiftRightLogical(first.AsInt64(), second.AsInt64()).AsByte();
    }

    private readonly struct ArithmeticWords : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse2.ShiftRightArithmetic(first.AsInt16(), second.AsInt16()).AsByte();
    }

    private readonly struct ArithmeticDwords : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse2.ShiftRightArithmetic(first.AsInt32(), second.AsInt32()).AsByte();
    }

    private readonly struct BlendBytesByMask : IVectorOp
    {
        public static V Apply(V first, V second, int immediate)
        {
            Vector128<ushort> bits = Vector128.Create((ushort)1, 2, 4, 8, 16, 32, 64, 128);
            Vector128<ushort> keep = Vector128.Equals(Vector128.Create((ushort)immediate) & bits, Vector128<ushort>.Zero);
            return Vector128.ConditionalSelect(keep.AsByte(), first, second);
        }
    }

    private readonly struct BlendSingles : IVectorOp
    {
        public static V Apply(V first, V second, int immediate)
        {
            Vector128<int> keep = Vector128.Equals(Vector128.Create(immediate) & Vector128.Create(1, 2, 4, 8), Vector128<int>.Zero);
            return Vector128.ConditionalSelect(keep.AsByte(), first, second);
        }
    }

    private readonly struct BlendDoubles : IVectorOp
    {
        public static V Apply(V first, V second, int immediate)
        {
            Vector128<long> keep = Vector128.Equals(Vector128.Create((long)immediate) & Vector128.Create(1L, 2L), Vector128<long>.Zero);
            return Vector128.ConditionalSelect(keep.AsByte(), first, second);
        }
    }

    private readonly struct SumsOfDifferences : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => (immediate & 7) switch
        {
            0 => Sse41.MultipleSumAbsoluteDifferences(first, second, 0).AsByte(),
            1 => Sse41.MultipleSumAbsoluteDifferences(first, second, 1).AsByte(),
            2 => Sse41.MultipleSumAbsoluteDifferences(first, second, 2).AsByte(),
            3 => Sse41.MultipleSumAbsoluteDifferences(first, second, 3).AsByte(),
            4 => Sse41.MultipleSumAbsoluteDifferences(first, second, 4).AsByte(),
            5 => Sse41.MultipleSumAbsoluteDifferences(first, second, 5).AsByte(),
            6 => Sse41.MultipleSumAbsoluteDifferences(first, second, 6).AsByte(),
            _ => Sse41.MultipleSumAbsoluteDifferences(first, second, 7).AsByte(),
        };
    }

    private readonly struct InsertSingle : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Place(first, second.AsUInt32().GetElement(immediate >> 6 & 3), immediate);

        public static V Place(V first, uint value, int immediate)
        {
            Vector128<int> number = Vector128.Create(0, 1, 2, 3);
            Vector128<int> here = Vector128.Equals(number, Vector128.Create(immediate >> 4 & 3));
            Vector128<int> keep = Vector128.Equals(Vector128.Create(immediate) & Vector128.Create(1, 2, 4, 8), Vector128<int>.Zero);
            return Vector128.ConditionalSelect(here.AsByte(), Vector128.Create(value).AsByte(), first) & keep.AsByte();
        }
    }

    private readonly struct InsertSingleFromMemory : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => InsertSingle.Place(first, second.AsUInt32().ToScalar(), immediate);
    }

    private readonly struct SignBytesToWords : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.ConvertToVector128Int16(second.AsSByte()).AsByte(); }

    private readonly struct SignBytesToDwords : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.ConvertToVector128Int32(second.AsSByte()).AsByte(); }

    private readonly struct SignBytesToQwords : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.ConvertToVector128Int64(second.AsSByte()).AsByte(); }

    private readonly struct SignWordsToDwords : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.ConvertToVector128Int32(second.AsInt16()).AsByte(); }

    private readonly struct SignWordsToQwords : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.ConvertToVector128Int64(second.AsInt16()).AsByte(); }

    private readonly struct SignDwordsToQwords : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.ConvertToVector128Int64(second.AsInt32()).AsByte(); }

    private readonly struct ZeroBytesToWords : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.ConvertToVector128Int16(second).AsByte(); }

    private readonly struct ZeroBytesToDwords : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.ConvertToVector128Int32(second).AsByte(); }

    private readonly struct ZeroBytesToQwords : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.ConvertToVector128Int64(second).AsByte(); }

    private readonly struct ZeroWordsToDwords : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.ConvertToVector128Int32(second.AsUInt16()).AsByte(); }

    private readonly struct ZeroWordsToQwords : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.ConvertToVector128Int64(second.AsUInt16()).AsByte(); }

    private readonly struct ZeroDwordsToQwords : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse41.ConvertToVector128Int64(second.AsUInt32()).AsByte(); }

    private interface ISigns
    {
        static abstract V Select(V first, V second, V mask);
    }

    private readonly struct ByteSigns : ISigns { public static V Select(V first, V second, V mask) => Sse41.BlendVariable(first, second, mask); }

    private readonly struct SingleSigns : ISigns
    {
        public static V Select(V first, V second, V mask) => Sse41.BlendVariable(first.AsSingle(), second.AsSingle(), mask.AsSingle()).AsByte();
    }

    private readonly struct DoubleSigns : ISigns
    {
        public static V Select(V first, V second, V mask) => Sse41.BlendVariable(first.AsDouble(), second.AsDouble(), mask.AsDouble()).AsByte();
    }

    // The mask is XMM0, which is not encoded.
    private readonly struct Blend<TSigns> : IVectorReader
        where TSigns : struct, ISigns
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Apply(CpuState* c, Op* o, V source)
        {
            VectorUnit.Set(c, o->D, TSigns.Select(VectorUnit.Get(c, o->D), source, *(V*)c->Vector));
            return true;
        }
    }

    private readonly struct ShiftImmediate<TOp> : IPlain
        where TOp : struct, IVectorOp
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            VectorUnit.Set(c, o->D, TOp.Apply(VectorUnit.Get(c, o->D), Vector128.CreateScalar(o->Immediate).AsByte(), 0));
            return true;
        }
    }

    private readonly struct MmxShiftImmediate<TOp> : IPlain
        where TOp : struct, IVectorOp
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (MmxHandlers.IsBlocked(c) && !MmxHandlers.RaiseBlocked(c, o))
                return false;
            MmxHandlers.Enter(c);
            MmxHandlers.Set(c, o->D, TOp.Apply(MmxHandlers.Get(c, o->D), Vector128.CreateScalar(o->Immediate).AsByte(), 0));
            return true;
        }
    }

    // The element number wraps to the number of elements.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T* Element<T>(CpuState* c, int offset, Op* o)
        where T : unmanaged => (T*)((byte*)c + offset) + ((int)o->Immediate & ((16 / sizeof(T)) - 1));

    private readonly struct Insert<T> : IScalarReader<T>
        where T : unmanaged, IBinaryInteger<T>
    {
        public static bool Apply(CpuState* c, Op* o, T source)
        {
            *Element<T>(c, o->D, o) = source;
            return true;
        }
    }

    private readonly struct MmxInsert : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (MmxHandlers.IsBlocked(c) && !MmxHandlers.RaiseBlocked(c, o))
                return false;
            Put(c, o, Handlers.Get<ushort>(c, o->S));
            return true;
        }

        public static void Put(CpuState* c, Op* o, ushort value)
        {
            MmxHandlers.Enter(c);
            ((ushort*)((byte*)c + o->D))[(int)o->Immediate & 3] = value;
            *(ulong*)((byte*)c + o->D + 8) = 0xFFFF;
        }
    }

    private readonly struct MmxInsertMemory : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            if (MmxHandlers.IsBlocked(c) && !MmxHandlers.RaiseBlocked(c, o))
                return false;
            ushort* source = Mem.Read<ushort, TAddressing>(c, o);
            if (source == null)
                return false;
            MmxInsert.Put(c, o, *source);
            return true;
        }
    }

    private readonly struct Extract<T> : IPlain
        where T : unmanaged, IBinaryInteger<T>
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            Handlers.Set(c, o->D, ulong.CreateTruncating(*Element<T>(c, o->S, o)));
            return true;
        }
    }

    private readonly struct ExtractMemory<T> : IAddressed
        where T : unmanaged, IBinaryInteger<T>
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing =>
            VectorUnit.IsBlocked(c) ? VectorUnit.RaiseBlocked(c, o) : Mem.Write<T, TAddressing>(c, o, *Element<T>(c, o->S, o));
    }

    private readonly struct Test : IVectorReader
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Apply(CpuState* c, Op* o, V source)
        {
            V first = VectorUnit.Get(c, o->D);
            Flags.Load(c, (Sse41.TestZ(first, source) ? Rflags.Zf : 0) | (Sse41.TestC(first, source) ? Rflags.Cf : 0));
            return true;
        }
    }
}
