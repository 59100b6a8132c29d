using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;
using Hyperscope.X64.FloatingPoint;
using V = System.Runtime.Intrinsics.Vector128<byte>;

namespace Hyperscope.X64.Instructions;

/// <summary>ADD, SUB, MUL, DIV, SQRT, MIN, MAX, CMP, ROUND, horizontal and alternating sums, dot products, approximations.</summary>
internal static unsafe class VectorFloat
{
    public static void Register(OpcodeMap map)
    {
        AddAll<Root>(map, 0x0F51, "sqrt");
        AddAll<Sum>(map, 0x0F58, "add");
        AddAll<Multiply>(map, 0x0F59, "mul");
        AddAll<Subtract>(map, 0x0F5C, "sub");
        AddAll<Minimum>(map, 0x0F5D, "min");
        AddAll<Divide>(map, 0x0F5E, "div");
        AddAll<Maximum>(map, 0x0F5F, "max");
        AddAll<Compare>(map, 0x0FC2, "cmp", Encoding.Imm8);
        Add<Round, SingleFormat, Packed, V>(map, 0x66, 0x0F3A08, "roundps", "sse4.1", Encoding.Imm8);
        Add<Round, DoubleFormat, Packed, V>(map, 0x66, 0x0F3A09, "roundpd", "sse4.1", Encoding.Imm8);
        Add<Round, SingleFormat, Scalar, uint>(map, 0x66, 0x0F3A0A, "roundss", "sse4.1", Encoding.Imm8);
        Add<Round, DoubleFormat, Scalar, ulong>(map, 0x66, 0x0F3A0B, "roundsd", "sse4.1", Encoding.Imm8);
        Add<Alternate, DoubleFormat, Packed, V>(map, 0x66, 0x0FD0, "addsubpd", "sse3");
        Add<Alternate, SingleFormat, Packed, V>(map, 0xF2, 0x0FD0, "addsubps", "sse3");
        AddGathered<Horizontal<Sum, DoubleFormat>>(map, 0x66, 0x0F7C, "haddpd", "sse3");
        AddGathered<Horizontal<Sum, SingleFormat>>(map, 0xF2, 0x0F7C, "haddps", "sse3");
        AddGathered<Horizontal<Subtract, DoubleFormat>>(map, 0x66, 0x0F7D, "hsubpd", "sse3");
        AddGathered<Horizontal<Subtract, SingleFormat>>(map, 0xF2, 0x0F7D, "hsubps", "sse3");
        AddGathered<DotProduct<SingleFormat>>(map, 0x66, 0x0F3A40, "dpps", "sse4.1", Encoding.Imm8);
        AddGathered<DotProduct<DoubleFormat>>(map, 0x66, 0x0F3A41, "dppd", "sse4.1", Encoding.Imm8);

        // 12-bit approximations raise nothing and ignore MXCSR: the host's are as good as any processor's.
        VectorHandlers.Add<ReciprocalRoot>(map, 0x00, 0x0F52, "rsqrtps", "sse");
        VectorHandlers.AddSourced<ReciprocalRootScalar, uint>(map, 0xF3, 0x0F52, "rsqrtss", "sse");
        VectorHandlers.Add<Reciprocal>(map, 0x00, 0x0F53, "rcpps", "sse");
        VectorHandlers.AddSourced<ReciprocalScalar, uint>(map, 0xF3, 0x0F53, "rcpss", "sse");
    }

    private static void AddAll<TOp>(OpcodeMap map, int opcode, string name, Encoding immediate = Encoding.None)
        where TOp : struct, IFloatOp
    {
        Add<TOp, SingleFormat, Packed, V>(map, 0x00, opcode, name + "ps", "sse", immediate);
        Add<TOp, DoubleFormat, Packed, V>(map, 0x66, opcode, name + "pd", "sse2", immediate);
        Add<TOp, SingleFormat, Scalar, uint>(map, 0xF3, opcode, name + "ss", "sse", immediate);
        Add<TOp, DoubleFormat, Scalar, ulong>(map, 0xF2, opcode, name + "sd", "sse2", immediate);
    }

    private static void Add<TOp, TFormat, TLanes, TSource>(OpcodeMap map, int prefix, int opcode, string name, string feature,
        Encoding immediate = Encoding.None)
        where TOp : struct, IFloatOp
        where TFormat : struct, IFloatFormat
        where TLanes : struct, ILanes
        where TSource : unmanaged =>
        map.Add(prefix, opcode, new OpcodeRow(name, VectorHandlers.XmmXmm | immediate, static (in insn) =>
            insn.IsMemory ? Handlers.Addressed<FromMemory<TOp, TFormat, TLanes, TSource>>(insn) : Handlers.Plain<FromRegister<TOp, TFormat, TLanes>>(insn))
        { Feature = feature });

    private static void AddGathered<TGathered>(OpcodeMap map, int prefix, int opcode, string name, string feature, Encoding immediate = Encoding.None)
        where TGathered : struct, IGathered =>
        map.Add(prefix, opcode, new OpcodeRow(name, VectorHandlers.XmmXmm | immediate, static (in insn) =>
            insn.IsMemory ? Handlers.Addressed<GatheredMemory<TGathered>>(insn) : Handlers.Plain<GatheredRegister<TGathered>>(insn))
        { Feature = feature });

    private readonly struct FromRegister<TOp, TFormat, TLanes> : IPlain
        where TOp : struct, IFloatOp
        where TFormat : struct, IFloatFormat
        where TLanes : struct, ILanes
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            if (TOp.IsExact || FloatLanes.IsUsual(c))
            {
                V first = VectorUnit.Get(c, o->D), second = VectorUnit.Get(c, o->S);
                V result = TOp.Native<TFormat>(first, second, (int)o->Immediate);
                if (FloatLanes.CanTake<TOp, TFormat, TLanes>(first, second, result))
                {
                    VectorUnit.Set(c, o->D, FloatLanes.Merge<TFormat, TLanes>(first, result));
                    return true;
                }
            }

            return FloatLanes.Exact<TOp, TFormat, TLanes>(c, o, o->D, (byte*)c + o->S);
        }
    }

    private readonly struct FromMemory<TOp, TFormat, TLanes, TSource> : IAddressed
        where TOp : struct, IFloatOp
        where TFormat : struct, IFloatFormat
        where TLanes : struct, ILanes
        where TSource : unmanaged
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            TSource* source = VectorUnit.Read<TSource, TAddressing>(c, o);
            if (source == null)
                return false;
            V second = VectorUnit.Widen(source);
            if (TOp.IsExact || FloatLanes.IsUsual(c))
            {
                V first = VectorUnit.Get(c, o->D);
                V result = TOp.Native<TFormat>(first, second, (int)o->Immediate);
                if (FloatLanes.CanTake<TOp, TFormat, TLanes>(first, second, result))
                {
                    VectorUnit.Set(c, o->D, FloatLanes.Merge<TFormat, TLanes>(first, result));
                    return true;
                }
            }

            return ExactCopy(c, o, second.AsUInt64().GetElement(0), second.AsUInt64().GetElement(1));
        }

        // Memory may change under us: what was loaded once is what counts.
        [MethodImpl(MethodImplOptions.NoInlining)]
        private static bool ExactCopy(CpuState* c, Op* o, ulong low, ulong high)
        {
            ulong* second = stackalloc ulong[] { low, high };
            return FloatLanes.Exact<TOp, TFormat, TLanes>(c, o, o->D, (byte*)second);
        }
    }

    private readonly struct Sum : IFloatOp, IFloatCompute
    {
        public static bool IsUnary => false;

        public static bool IsExact => false;

        public static bool IsZeroExact => true;

        public static V Native<TFormat>(V first, V second, int immediate)
            where TFormat : struct, IFloatFormat =>
            TFormat.Size == 4 ? Sse.Add(first.AsSingle(), second.AsSingle()).AsByte() : Sse2.Add(first.AsDouble(), second.AsDouble()).AsByte();

        public static ulong Lane<TFormat>(ref FloatContext f, int lane, ulong first, ulong second, int immediate)
            where TFormat : struct, IFloatFormat => FloatLanes.Arithmetic<Sum, TFormat>(ref f, first, second);

        public static Unpacked Compute(ref FloatContext f, in Unpacked a, in Unpacked b) => FloatMath.Add(ref f, a, b);
    }

    private readonly struct Subtract : IFloatOp, IFloatCompute
    {
        public static bool IsUnary => false;

        public static bool IsExact => false;

        public static bool IsZeroExact => true;

        public static V Native<TFormat>(V first, V second, int immediate)
            where TFormat : struct, IFloatFormat =>
            TFormat.Size == 4 ? Sse.Subtract(first.AsSingle(), second.AsSingle()).AsByte() : Sse2.Subtract(first.AsDouble(), second.AsDouble()).AsByte();

        public static ulong Lane<TFormat>(ref FloatContext f, int lane, ulong first, ulong second, int immediate)
            where TFormat : struct, IFloatFormat => FloatLanes.Arithmetic<Subtract, TFormat>(ref f, first, second);

        public static Unpacked Compute(ref FloatContext f, in Unpacked a, in Unpacked b) => FloatMath.Subtract(ref f, a, b);
    }

    private readonly struct Multiply : IFloatOp, IFloatCompute
    {
        public static bool IsUnary => false;

        public static bool IsExact => false;

        public static bool IsZeroExact => false;

        public static V Native<TFormat>(V first, V second, int immediate)
            where TFormat : struct, IFloatFormat =>
            TFormat.Size == 4 ? Sse.Multiply(first.AsSingle(), second.AsSingle()).AsByte() : Sse2.Multiply(first.AsDouble(), second.AsDouble()).AsByte();

        public static ulong Lane<TFormat>(ref FloatContext f, int lane, ulong first, ulong second, int immediate)
            where TFormat : struct, IFloatFormat => FloatLanes.Arithmetic<Multiply, TFormat>(ref f, first, second);

        public static Unpacked Compute(ref FloatContext f, in Unpacked a, in Unpacked b) => FloatMath.Multiply(a, b);
    }

    private readonly struct Divide : IFloatOp, IFloatCompute
    {
        public static bool IsUnary => false;

        public static bool IsExact => false;

        public static bool IsZeroExact => false;

        public static V Native<TFormat>(V first, V second, int immediate)
            where TFormat : struct, IFloatFormat =>
            TFormat.Size == 4 ? Sse.Divide(first.AsSingle(), second.AsSingle()).AsByte() : Sse2.Divide(first.AsDouble(), second.AsDouble()).AsByte();

        public static ulong Lane<TFormat>(ref FloatContext f, int lane, ulong first, ulong second, int immediate)
            where TFormat : struct, IFloatFormat => FloatLanes.Arithmetic<Divide, TFormat>(ref f, first, second);

        public static Unpacked Compute(ref FloatContext f, in Unpacked a, in Unpacked b) => FloatMath.Divide(ref f, a, b);
    }

    private readonly struct Root : IFloatOp, IFloatCompute
    {
        public static bool IsUnary => true;

        public static bool IsExact => false;

        public static bool IsZeroExact => true;

        public static V Native<TFormat>(V first, V second, int immediate)
            where TFormat : struct, IFloatFormat =>
            TFormat.Size == 4 ? Sse.Sqrt(second.AsSingle()).AsByte() : Sse2.Sqrt(second.AsDouble()).AsByte();

        public static ulong Lane<TFormat>(ref FloatContext f, int lane, ulong first, ulong second, int immediate)
            where TFormat : struct, IFloatFormat => FloatLanes.Arithmetic<Root, TFormat>(ref f, second, second);

        public static Unpacked Compute(ref FloatContext f, in Unpacked a, in Unpacked b) => FloatMath.SquareRoot(a);
    }

    // Even lanes are subtracted, odd lanes added.
    private readonly struct Alternate : IFloatOp
    {
        public static bool IsUnary => false;

        public static bool IsExact => false;

        public static bool IsZeroExact => true;

        public static V Native<TFormat>(V first, V second, int immediate)
            where TFormat : struct, IFloatFormat => TFormat.Size == 4
            ? Sse3.AddSubtract(first.AsSingle(), second.AsSingle()).AsByte() : Sse3.AddSubtract(first.AsDouble(), second.AsDouble()).AsByte();

        public static ulong Lane<TFormat>(ref FloatContext f, int lane, ulong first, ulong second, int immediate)
            where TFormat : struct, IFloatFormat => (lane & 1) == 0
            ? FloatLanes.Arithmetic<Subtract, TFormat>(ref f, first, second) : FloatLanes.Arithmetic<Sum, TFormat>(ref f, first, second);
    }

    // The second operand unless the first is smaller: so it is for NaNs and for two zeros.
    private readonly struct Minimum : IFloatOp
    {
        public static bool IsUnary => false;

        public static bool IsExact => true;

        public static bool IsZeroExact => true;

        public static V Native<TFormat>(V first, V second, int immediate)
            where TFormat : struct, IFloatFormat =>
            TFormat.Size == 4 ? Sse.Min(first.AsSingle(), second.AsSingle()).AsByte() : Sse2.Min(first.AsDouble(), second.AsDouble()).AsByte();

        public static ulong Lane<TFormat>(ref FloatContext f, int lane, ulong first, ulong second, int immediate)
            where TFormat : struct, IFloatFormat => Pick<TFormat>(ref f, first, second, wanted: -1);

        public static ulong Pick<TFormat>(ref FloatContext f, ulong first, ulong second, int wanted)
            where TFormat : struct, IFloatFormat
        {
            Unpacked a = FloatFormat.Unpack<TFormat>(f, first), b = FloatFormat.Unpack<TFormat>(f, second);
            if (a.IsNaN || b.IsNaN)
            {
                f.Flags |= FloatFlags.Invalid;
                return b.Class == FloatClass.Zero ? FloatFormat.Pack<TFormat>(b) : second;
            }

            if (a.IsDenormal || b.IsDenormal)
                f.Flags |= FloatFlags.Denormal;
            bool isFirst = FloatMath.Compare(a, b) == wanted;
            Unpacked picked = isFirst ? a : b;
            return picked.Class == FloatClass.Zero ? FloatFormat.Pack<TFormat>(picked) : isFirst ? first : second;
        }
    }

    private readonly struct Maximum : IFloatOp
    {
        public static bool IsUnary => false;

        public static bool IsExact => true;

        public static bool IsZeroExact => true;

        public static V Native<TFormat>(V first, V second, int immediate)
            where TFormat : struct, IFloatFormat =>
            TFormat.Size == 4 ? Sse.Max(first.AsSingle(), second.AsSingle()).AsByte() : Sse2.Max(first.AsDouble(), second.AsDouble()).AsByte();

        public static ulong Lane<TFormat>(ref FloatContext f, int lane, ulong first, ulong second, int immediate)
            where TFormat : struct, IFloatFormat => Minimum.Pick<TFormat>(ref f, first, second, wanted: 1);
    }

    private readonly struct Compare : IFloatOp
    {
        public static bool IsUnary => false;

        public static bool IsExact => true;

        public static bool IsZeroExact => true;

        public static V Native<TFormat>(V first, V second, int immediate)
            where TFormat : struct, IFloatFormat
        {
            // Taken for numbers only, so "unordered" is false in every lane and "ordered" true.
            V result = (immediate & 3) switch
            {
                0 => TFormat.Size == 4
                    ? Sse.CompareEqual(first.AsSingle(), second.AsSingle()).AsByte() : Sse2.CompareEqual(first.AsDouble(), second.AsDouble()).AsByte(),
                1 => TFormat.Size == 4
                    ? Sse.CompareLessThan(first.AsSingle(), second.AsSingle()).AsByte() : Sse2.CompareLessThan(first.AsDouble(), second.AsDouble()).AsByte(),
                2 => TFormat.Size == 4
                    ? Sse.CompareLessThanOrEqual(first.AsSingle(), second.AsSingle()).AsByte()
                    : Sse2.CompareLessThanOrEqual(first.AsDouble(), second.AsDouble()).AsByte(),
                _ => V.Zero,
            };
            return (immediate & 4) != 0 ? ~result : result;
        }

        public static ulong Lane<TFormat>(ref FloatContext f, int lane, ulong first, ulong second, int immediate)
            where TFormat : struct, IFloatFormat
        {
            Unpacked a = FloatFormat.Unpack<TFormat>(f, first), b = FloatFormat.Unpack<TFormat>(f, second);
            bool isTrue;
            if (a.IsNaN || b.IsNaN)
            {
                bool isSignaling = (immediate & 3) is 1 or 2;
                if (isSignaling || a.Class == FloatClass.SignalingNaN || b.Class == FloatClass.SignalingNaN)
                    f.Flags |= FloatFlags.Invalid;
                isTrue = (immediate & 3) == 3;
            }
            else
            {
                if (a.IsDenormal || b.IsDenormal)
                    f.Flags |= FloatFlags.Denormal;
                int order = FloatMath.Compare(a, b);
                isTrue = (immediate & 3) switch { 0 => order == 0, 1 => order < 0, 2 => order <= 0, _ => false };
            }

            return isTrue != ((immediate & 4) != 0) ? ulong.MaxValue : 0;
        }
    }

    // Immediate: bits 0 and 1 rounding mode, bit 2 MXCSR's instead, bit 3 no inexact flag.
    private readonly struct Round : IFloatOp
    {
        public static bool IsUnary => true;

        public static bool IsExact => false;

        public static bool IsZeroExact => true;

        public static V Native<TFormat>(V first, V second, int immediate)
            where TFormat : struct, IFloatFormat => (immediate & 7) switch
            {
                1 => TFormat.Size == 4
                    ? Sse41.RoundToNegativeInfinity(second.AsSingle()).AsByte() : Sse41.RoundToNegativeInfinity(second.AsDouble()).AsByte(),
                2 => TFormat.Size == 4
                    ? Sse41.RoundToPositiveInfinity(second.AsSingle()).AsByte() : Sse41.RoundToPositiveInfinity(second.AsDouble()).AsByte(),
                3 => TFormat.Size == 4 ? Sse41.RoundToZero(second.AsSingle()).AsByte() : Sse41.RoundToZero(second.AsDouble()).AsByte(),
                _ => TFormat.Size == 4 ? Sse41.RoundToNearestInteger(second.AsSingle()).AsByte() : Sse41.RoundToNearestInteger(second.AsDouble()).AsByte(),
            };

        public static ulong Lane<TFormat>(ref FloatContext f, int lane, ulong first, ulong second, int immediate)
            where TFormat : struct, IFloatFormat
        {
            Unpacked a = FloatFormat.Unpack<TFormat>(f, second);
            if (a.IsNaN)
                return FloatFormat.Propagate<TFormat>(ref f, second, second, a, a);
            if (a.Class != FloatClass.Normal)
                return FloatFormat.Pack<TFormat>(a);
            if (a.Exponent >= TFormat.Precision - 1)
                return second;
            Rounding rounding = (immediate & 4) != 0 ? f.Rounding : (Rounding)(immediate & 3);
            ulong whole = FloatMath.ToInteger(a, rounding, out bool isInexact, out _, out _);
            if (isInexact && (immediate & 8) == 0)
                f.Flags |= FloatFlags.Inexact;
            Unpacked rounded = Unpacked.FromInteger((long)whole);
            rounded.Sign = a.Sign;
            return FloatFormat.Pack<TFormat>(rounded);
        }
    }

    private readonly struct Reciprocal : IVectorOp { public static V Apply(V first, V second, int immediate) => Sse.Reciprocal(second.AsSingle()).AsByte(); }

    private readonly struct ReciprocalRoot : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse.ReciprocalSqrt(second.AsSingle()).AsByte();
    }

    private readonly struct ReciprocalScalar : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse.ReciprocalScalar(first.AsSingle(), second.AsSingle()).AsByte();
    }

    private readonly struct ReciprocalRootScalar : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse.ReciprocalSqrtScalar(first.AsSingle(), second.AsSingle()).AsByte();
    }

    // An operation that takes its operands from several lanes; always in software.
    private interface IGathered
    {
        static abstract bool Run(CpuState* c, Op* o, byte* first, byte* second);
    }

    private readonly struct GatheredRegister<TGathered> : IPlain
        where TGathered : struct, IGathered
    {
        public static bool Run(CpuState* c, Op* o) =>
            VectorUnit.IsBlocked(c) ? VectorUnit.RaiseBlocked(c, o) : TGathered.Run(c, o, (byte*)c + o->D, (byte*)c + o->S);
    }

    private readonly struct GatheredMemory<TGathered> : IAddressed
        where TGathered : struct, IGathered
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            V* source = VectorUnit.Read<V, TAddressing>(c, o);
            if (source == null)
                return false;
            Vector128<ulong> value = (*source).AsUInt64();
            return WithCopy(c, o, value.GetElement(0), value.GetElement(1));
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static bool WithCopy(CpuState* c, Op* o, ulong low, ulong high)
        {
            ulong* second = stackalloc ulong[] { low, high };
            return TGathered.Run(c, o, (byte*)c + o->D, (byte*)second);
        }
    }

    private readonly struct Horizontal<TOp, TFormat> : IGathered
        where TOp : struct, IFloatOp
        where TFormat : struct, IFloatFormat
    {
        [MethodImpl(MethodImplOptions.NoInlining)]
        public static bool Run(CpuState* c, Op* o, byte* first, byte* second)
        {
            byte* even = stackalloc byte[16], odd = stackalloc byte[16];
            int lanes = 16 / TFormat.Size;
            for (int lane = 0; lane < lanes; lane++)
            {
                int pair = lane * 2 % lanes;
                byte* source = lane * 2 < lanes ? first : second;
                TFormat.Store(even + (lane * TFormat.Size), TFormat.Load(source + (pair * TFormat.Size)));
                TFormat.Store(odd + (lane * TFormat.Size), TFormat.Load(source + ((pair + 1) * TFormat.Size)));
            }

            return FloatLanes.Exact<TOp, TFormat>(c, o, o->D, even, odd, lanes);
        }
    }

    // Products selected by the immediate's high half, summed in pairs, and spread to the lanes of its low half.
    private readonly struct DotProduct<TFormat> : IGathered
        where TFormat : struct, IFloatFormat
    {
        [MethodImpl(MethodImplOptions.NoInlining)]
        public static bool Run(CpuState* c, Op* o, byte* first, byte* second)
        {
            FloatContext f = FloatContext.FromMxcsr(c->Mxcsr);
            int lanes = 16 / TFormat.Size, immediate = (int)o->Immediate;
            ulong* terms = stackalloc ulong[4];
            for (int lane = 0; lane < lanes; lane++)
            {
                terms[lane] = (immediate >> (4 + lane) & 1) == 0 ? 0 : FloatLanes.Arithmetic<Multiply, TFormat>(
                    ref f, TFormat.Load(first + (lane * TFormat.Size)), TFormat.Load(second + (lane * TFormat.Size)));
            }

            // Each stage reports by itself: products, pairs, the sum of the pairs.
            if (!NextStage(c, o, ref f))
                return false;
            ulong sum = FloatLanes.Arithmetic<Sum, TFormat>(ref f, terms[1], terms[0]); // of two NaNs the processor takes the upper
            if (lanes == 4)
            {
                ulong other = FloatLanes.Arithmetic<Sum, TFormat>(ref f, terms[3], terms[2]);
                if (!NextStage(c, o, ref f))
                    return false;
                sum = FloatLanes.Arithmetic<Sum, TFormat>(ref f, sum, other);
            }

            if (!NextStage(c, o, ref f))
                return false;
            for (int lane = 0; lane < lanes; lane++)
                TFormat.Store((byte*)c + o->D + (lane * TFormat.Size), (immediate >> lane & 1) != 0 ? sum : 0);
            return true;
        }

        private static bool NextStage(CpuState* c, Op* o, ref FloatContext f)
        {
            bool ok = FloatLanes.Commit(c, o, f);
            f.Flags = 0;
            return ok;
        }
    }
}
