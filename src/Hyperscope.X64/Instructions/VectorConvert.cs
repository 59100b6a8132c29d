using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;
using Hyperscope.X64.FloatingPoint;
using V = System.Runtime.Intrinsics.Vector128<byte>;

namespace Hyperscope.X64.Instructions;

/// <summary>Conversions between integers, singles and doubles in general, XMM and MMX registers, UCOMIS and COMIS.</summary>
internal static unsafe class VectorConvert
{
    private const uint Rc = 3 << 13, Daz = 1 << 6, InexactHarmless = (FloatFlags.Inexact << 7) | FloatFlags.Inexact;

    public static void Register(OpcodeMap map)
    {
        AddLanes<Widen>(map, 0x00, 0x0F5A, "cvtps2pd", 8);
        AddLanes<Narrow>(map, 0x66, 0x0F5A, "cvtpd2ps", 16);
        AddLanes<WidenScalar>(map, 0xF3, 0x0F5A, "cvtss2sd", 4);
        AddLanes<NarrowScalar>(map, 0xF2, 0x0F5A, "cvtsd2ss", 8);
        AddLanes<FromDwords<SingleFormat>>(map, 0x00, 0x0F5B, "cvtdq2ps", 16);
        AddLanes<ToDwords<SingleFormat, Current>>(map, 0x66, 0x0F5B, "cvtps2dq", 16);
        AddLanes<ToDwords<SingleFormat, Truncating>>(map, 0xF3, 0x0F5B, "cvttps2dq", 16);
        AddLanes<FromDwords<DoubleFormat>>(map, 0xF3, 0x0FE6, "cvtdq2pd", 8);
        AddLanes<ToDwords<DoubleFormat, Current>>(map, 0xF2, 0x0FE6, "cvtpd2dq", 16);
        AddLanes<ToDwords<DoubleFormat, Truncating>>(map, 0x66, 0x0FE6, "cvttpd2dq", 16);

        AddFromInteger<SingleFormat>(map, 0xF3, "cvtsi2ss", "sse");
        AddFromInteger<DoubleFormat>(map, 0xF2, "cvtsi2sd", "sse2");
        AddToInteger<SingleFormat, Truncating, uint>(map, 0xF3, 0x0F2C, "cvttss2si", "sse");
        AddToInteger<DoubleFormat, Truncating, ulong>(map, 0xF2, 0x0F2C, "cvttsd2si", "sse2");
        AddToInteger<SingleFormat, Current, uint>(map, 0xF3, 0x0F2D, "cvtss2si", "sse");
        AddToInteger<DoubleFormat, Current, ulong>(map, 0xF2, 0x0F2D, "cvtsd2si", "sse2");

        AddCompare<SingleFormat, Quiet, uint>(map, 0x00, 0x0F2E, "ucomiss", "sse");
        AddCompare<DoubleFormat, Quiet, ulong>(map, 0x66, 0x0F2E, "ucomisd", "sse2");
        AddCompare<SingleFormat, Signaling, uint>(map, 0x00, 0x0F2F, "comiss", "sse");
        AddCompare<DoubleFormat, Signaling, ulong>(map, 0x66, 0x0F2F, "comisd", "sse2");

        AddFromMmx<SingleFormat>(map, 0x00, "cvtpi2ps", "sse");
        AddFromMmx<DoubleFormat>(map, 0x66, "cvtpi2pd", "sse2");
        AddToMmx<SingleFormat, Truncating, ulong>(map, 0x00, 0x0F2C, "cvttps2pi", "sse");
        AddToMmx<DoubleFormat, Truncating, V>(map, 0x66, 0x0F2C, "cvttpd2pi", "sse2");
        AddToMmx<SingleFormat, Current, ulong>(map, 0x00, 0x0F2D, "cvtps2pi", "sse");
        AddToMmx<DoubleFormat, Current, V>(map, 0x66, 0x0F2D, "cvtpd2pi", "sse2");
    }

    private interface IMode
    {
        static abstract bool IsTruncating { get; }
    }

    private readonly struct Current : IMode { public static bool IsTruncating => false; }

    private readonly struct Truncating : IMode { public static bool IsTruncating => true; }

    /// <summary>A float as a signed integer of 4 or 8 bytes; what does not fit is invalid and gives the smallest integer.</summary>
    public static ulong ToInteger<TFormat>(ref FloatContext f, ulong raw, int size, bool truncate)
        where TFormat : struct, IFloatFormat
    {
        ulong indefinite = size == 4 ? 0x8000_0000UL : 1UL << 63;
        Unpacked a = FloatFormat.Unpack<TFormat>(f, raw);
        bool isInexact = false, isTooLarge = true;
        ulong magnitude = 0;
        if (a.Class is FloatClass.Zero or FloatClass.Normal)
            magnitude = FloatMath.ToInteger(a, truncate ? Rounding.Zero : f.Rounding, out isInexact, out isTooLarge, out _);
        if (isTooLarge || magnitude > indefinite - (a.Sign ? 0UL : 1UL))
        {
            f.Flags |= FloatFlags.Invalid;
            return indefinite;
        }

        if (isInexact)
            f.Flags |= FloatFlags.Inexact;
        ulong value = a.Sign ? 0UL - magnitude : magnitude;
        return size == 4 ? (uint)value : value;
    }

    private static ulong FromInteger<TFormat>(ref FloatContext f, long value)
        where TFormat : struct, IFloatFormat => FloatFormat.Finish<TFormat>(ref f, Unpacked.FromInteger(value));

    /// <summary>From one format to the other; a NaN keeps what fits of its payload.</summary>
    private static ulong Convert<TFrom, TTo>(ref FloatContext f, ulong raw)
        where TFrom : struct, IFloatFormat
        where TTo : struct, IFloatFormat
    {
        Unpacked a = FloatFormat.Unpack<TFrom>(f, raw);
        if (a.IsNaN)
        {
            if (a.Class == FloatClass.SignalingNaN)
                f.Flags |= FloatFlags.Invalid;
            return FloatFormat.Pack<TTo>(a);
        }

        if (a.IsDenormal)
            f.Flags |= FloatFlags.Denormal;
        return FloatFormat.Finish<TTo>(ref f, a);
    }

    // A conversion of whole registers: fills the new value of the destination.
    private interface IConversion
    {
        /// <summary>The host's result, if no flag can change.</summary>
        static abstract bool TryNative(CpuState* c, V first, V second, out V result);

        static abstract void Exact(ref FloatContext f, byte* target, byte* source);
    }

    private static void AddLanes<TConversion>(OpcodeMap map, int prefix, int opcode, string name, int sourceSize)
        where TConversion : struct, IConversion =>
        map.Add(prefix, opcode, new OpcodeRow(name, VectorHandlers.XmmXmm, sourceSize switch
        {
            4 => VectorHandlers.Reader<Lanes<TConversion>, uint>,
            8 => VectorHandlers.Reader<Lanes<TConversion>, ulong>,
            _ => VectorHandlers.Reader<Lanes<TConversion>, V>,
        })
        { Feature = "sse2" });

    private static bool Finish<TConversion>(CpuState* c, Op* o, ulong low, ulong high)
        where TConversion : struct, IConversion
    {
        V first = VectorUnit.Get(c, o->D), second = Vector128.Create(low, high).AsByte();
        if (!TConversion.TryNative(c, first, second, out V result))
        {
            FloatContext f = FloatContext.FromMxcsr(c->Mxcsr);
            result = first;
            TConversion.Exact(ref f, (byte*)&result, (byte*)&second);
            if (!FloatLanes.Commit(c, o, f))
                return false;
        }

        VectorUnit.Set(c, o->D, result);
        return true;
    }

    private readonly struct Lanes<TConversion> : IVectorReader
        where TConversion : struct, IConversion
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Apply(CpuState* c, Op* o, V source)
        {
            Vector128<ulong> value = source.AsUInt64();
            return Finish<TConversion>(c, o, value.GetElement(0), value.GetElement(1));
        }
    }

    private readonly struct Widen : IConversion
    {
        public static bool TryNative(CpuState* c, V first, V second, out V result)
        {
            result = Sse2.ConvertToVector128Double(second.AsSingle()).AsByte();
            return FloatLanes.CanTake<Conversion, SingleFormat, Packed>(second, second & LowHalf, second);
        }

        public static void Exact(ref FloatContext f, byte* target, byte* source)
        {
            ((ulong*)target)[0] = Convert<SingleFormat, DoubleFormat>(ref f, ((uint*)source)[0]);
            ((ulong*)target)[1] = Convert<SingleFormat, DoubleFormat>(ref f, ((uint*)source)[1]);
        }

        private static V LowHalf => Vector128.Create(ulong.MaxValue, 0).AsByte();
    }

    private readonly struct WidenScalar : IConversion
    {
        public static bool TryNative(CpuState* c, V first, V second, out V result)
        {
            result = Sse2.ConvertScalarToVector128Double(first.AsDouble(), second.AsSingle()).AsByte();
            return FloatLanes.IsPlain<SingleFormat>(second);
        }

        public static void Exact(ref FloatContext f, byte* target, byte* source) =>
            *(ulong*)target = Convert<SingleFormat, DoubleFormat>(ref f, *(uint*)source);
    }

    private readonly struct Narrow : IConversion
    {
        public static bool TryNative(CpuState* c, V first, V second, out V result)
        {
            result = default;
            return false;
        }

        public static void Exact(ref FloatContext f, byte* target, byte* source)
        {
            uint low = (uint)Convert<DoubleFormat, SingleFormat>(ref f, ((ulong*)source)[0]);
            uint high = (uint)Convert<DoubleFormat, SingleFormat>(ref f, ((ulong*)source)[1]);
            ((ulong*)target)[0] = low | ((ulong)high << 32);
            ((ulong*)target)[1] = 0;
        }
    }

    private readonly struct NarrowScalar : IConversion
    {
        public static bool TryNative(CpuState* c, V first, V second, out V result)
        {
            result = Sse2.ConvertScalarToVector128Single(first.AsSingle(), second.AsDouble()).AsByte();
            return FloatLanes.IsUsual(c) && FloatLanes.IsPlain<DoubleFormat>(second)
                && result.AsUInt32().ToScalar() << 1 != 0 && FloatLanes.IsPlain<SingleFormat>(result);
        }

        public static void Exact(ref FloatContext f, byte* target, byte* source) =>
            *(uint*)target = (uint)Convert<DoubleFormat, SingleFormat>(ref f, *(ulong*)source);
    }

    // Four or two signed doublewords.
    private readonly struct FromDwords<TFormat> : IConversion
        where TFormat : struct, IFloatFormat
    {
        public static bool TryNative(CpuState* c, V first, V second, out V result)
        {
            result = TFormat.Size == 8 ? Sse2.ConvertToVector128Double(second.AsInt32()).AsByte() : Sse2.ConvertToVector128Single(second.AsInt32()).AsByte();
            return TFormat.Size == 8 || FloatLanes.IsUsual(c);
        }

        public static void Exact(ref FloatContext f, byte* target, byte* source)
        {
            for (int lane = 0; lane < 16 / TFormat.Size; lane++)
                TFormat.Store(target + (lane * TFormat.Size), FromInteger<TFormat>(ref f, ((int*)source)[lane]));
        }
    }

    private readonly struct ToDwords<TFormat, TMode> : IConversion
        where TFormat : struct, IFloatFormat
        where TMode : struct, IMode
    {
        public static bool TryNative(CpuState* c, V first, V second, out V result)
        {
            result = default;
            return false;
        }

        public static void Exact(ref FloatContext f, byte* target, byte* source)
        {
            uint* values = stackalloc uint[4];
            for (int lane = 0; lane < 16 / TFormat.Size; lane++)
                values[lane] = (uint)ToInteger<TFormat>(ref f, TFormat.Load(source + (lane * TFormat.Size)), 4, TMode.IsTruncating);
            for (int lane = 0; lane < 4; lane++)
                ((uint*)target)[lane] = lane < 16 / TFormat.Size ? values[lane] : 0;
        }
    }

    private static void AddFromInteger<TFormat>(OpcodeMap map, int prefix, string name, string feature)
        where TFormat : struct, IFloatFormat =>
        map.Add(prefix, 0x0F2A, new OpcodeRow(name, Encoding.RegD | Encoding.RmS | Encoding.VectorReg | Encoding.Dword, static (in insn) =>
            insn.OperandSize == 8 ? VectorHandlers.ScalarReader<Integer<TFormat, long>, long>(insn) : VectorHandlers.ScalarReader<Integer<TFormat, int>, int>(insn))
        { Feature = feature });

    private static bool StoreInteger<TFormat>(CpuState* c, Op* o, long value)
        where TFormat : struct, IFloatFormat
    {
        // Exact in the format: no flag, whatever the mode.
        ulong magnitude = (ulong)(value < 0 ? -value : value);
        if (magnitude <= 1UL << TFormat.Precision)
        {
            if (TFormat.Size == 4)
                *(float*)((byte*)c + o->D) = value;
            else
                *(double*)((byte*)c + o->D) = value;
            return true;
        }

        return StoreLargeInteger<TFormat>(c, o, value);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool StoreLargeInteger<TFormat>(CpuState* c, Op* o, long value)
        where TFormat : struct, IFloatFormat
    {
        FloatContext f = FloatContext.FromMxcsr(c->Mxcsr);
        ulong raw = FromInteger<TFormat>(ref f, value);
        if (!FloatLanes.Commit(c, o, f))
            return false;
        TFormat.Store((byte*)c + o->D, raw);
        return true;
    }

    private readonly struct Integer<TFormat, T> : IScalarReader<T>
        where TFormat : struct, IFloatFormat
        where T : unmanaged, IBinaryInteger<T>
    {
        public static bool Apply(CpuState* c, Op* o, T source) => StoreInteger<TFormat>(c, o, long.CreateTruncating(source));
    }

    private static void AddToInteger<TFormat, TMode, TSource>(OpcodeMap map, int prefix, int opcode, string name, string feature)
        where TFormat : struct, IFloatFormat
        where TMode : struct, IMode
        where TSource : unmanaged, IBinaryInteger<TSource> =>
        map.Add(prefix, opcode, new OpcodeRow(name, Encoding.RegD | Encoding.RmS | Encoding.VectorRm | Encoding.Dword,
            VectorHandlers.ScalarReader<Float<TFormat, TMode, TSource>, TSource>)
        { Feature = feature });

    private static bool LoadInteger<TFormat, TMode>(CpuState* c, Op* o, ulong raw)
        where TFormat : struct, IFloatFormat
        where TMode : struct, IMode
    {
        // The host truncates, or rounds to nearest; out of range is the one pattern that is looked at again.
        uint mxcsr = c->Mxcsr;
        if ((mxcsr & (InexactHarmless | Daz)) == InexactHarmless && (TMode.IsTruncating || (mxcsr & Rc) == 0))
        {
            double value = TFormat.Size == 4 ? BitConverter.UInt32BitsToSingle((uint)raw) : BitConverter.UInt64BitsToDouble(raw);
            Vector128<double> vector = Vector128.CreateScalarUnsafe(value);
            long whole = TMode.IsTruncating ? Sse2.X64.ConvertToInt64WithTruncation(vector) : Sse2.X64.ConvertToInt64(vector);
            if (whole != long.MinValue && (o->OperandSize == 8 || (int)whole == whole))
            {
                *(long*)((byte*)c + o->D) = o->OperandSize == 8 ? whole : (uint)whole;
                return true;
            }
        }

        return LoadIntegerExactly<TFormat, TMode>(c, o, raw);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool LoadIntegerExactly<TFormat, TMode>(CpuState* c, Op* o, ulong raw)
        where TFormat : struct, IFloatFormat
        where TMode : struct, IMode
    {
        FloatContext f = FloatContext.FromMxcsr(c->Mxcsr);
        ulong value = ToInteger<TFormat>(ref f, raw, o->OperandSize, TMode.IsTruncating);
        if (!FloatLanes.Commit(c, o, f))
            return false;
        Handlers.Set(c, o->D, value);
        return true;
    }

    private readonly struct Float<TFormat, TMode, TSource> : IScalarReader<TSource>
        where TFormat : struct, IFloatFormat
        where TMode : struct, IMode
        where TSource : unmanaged, IBinaryInteger<TSource>
    {
        public static bool Apply(CpuState* c, Op* o, TSource source) => LoadInteger<TFormat, TMode>(c, o, ulong.CreateTruncating(source));
    }

    private interface INaNRule
    {
        static abstract bool IsSignaling { get; }
    }

    private readonly struct Quiet : INaNRule { public static bool IsSignaling => false; }

    private readonly struct Signaling : INaNRule { public static bool IsSignaling => true; }

    private static void AddCompare<TFormat, TRule, TSource>(OpcodeMap map, int prefix, int opcode, string name, string feature)
        where TFormat : struct, IFloatFormat
        where TRule : struct, INaNRule
        where TSource : unmanaged, IBinaryInteger<TSource> =>
        map.Add(prefix, opcode, new OpcodeRow(name, VectorHandlers.XmmXmm,
            VectorHandlers.ScalarReader<Ordering<TFormat, TRule, TSource>, TSource>)
        { Feature = feature, Writes = Rflags.Arithmetic });

    private static bool Compare<TFormat, TRule>(CpuState* c, Op* o, ulong first, ulong second)
        where TFormat : struct, IFloatFormat
        where TRule : struct, INaNRule
    {
        FloatContext f = FloatContext.FromMxcsr(c->Mxcsr);
        Unpacked a = FloatFormat.Unpack<TFormat>(f, first), b = FloatFormat.Unpack<TFormat>(f, second);
        ulong flags;
        if (a.IsNaN || b.IsNaN)
        {
            if (TRule.IsSignaling || a.Class == FloatClass.SignalingNaN || b.Class == FloatClass.SignalingNaN)
                f.Flags |= FloatFlags.Invalid;
            flags = Rflags.Zf | Rflags.Pf | Rflags.Cf;
        }
        else
        {
            if (a.IsDenormal || b.IsDenormal)
                f.Flags |= FloatFlags.Denormal;
            int order = FloatMath.Compare(a, b);
            flags = order == 0 ? Rflags.Zf : order < 0 ? Rflags.Cf : 0;
        }

        if (!FloatLanes.Commit(c, o, f))
            return false;
        Flags.Load(c, flags);
        return true;
    }

    private readonly struct Ordering<TFormat, TRule, TSource> : IScalarReader<TSource>
        where TFormat : struct, IFloatFormat
        where TRule : struct, INaNRule
        where TSource : unmanaged, IBinaryInteger<TSource>
    {
        public static bool Apply(CpuState* c, Op* o, TSource source) =>
            Compare<TFormat, TRule>(c, o, ulong.CreateTruncating(Handlers.Get<TSource>(c, o->D)), ulong.CreateTruncating(source));
    }

    private static void AddFromMmx<TFormat>(OpcodeMap map, int prefix, string name, string feature)
        where TFormat : struct, IFloatFormat =>
        map.Add(prefix, 0x0F2A, new OpcodeRow(name, Encoding.RegD | Encoding.RmS | Encoding.VectorReg | Encoding.MmxRm, static (in insn) =>
            insn.IsMemory ? Handlers.Addressed<PairMemory<TFormat>>(insn) : Handlers.Plain<PairRegister<TFormat>>(insn))
        { Feature = feature });

    private static bool StorePair<TFormat>(CpuState* c, Op* o, ulong pair)
        where TFormat : struct, IFloatFormat
    {
        FloatContext f = FloatContext.FromMxcsr(c->Mxcsr);
        ulong low = FromInteger<TFormat>(ref f, (int)pair), high = FromInteger<TFormat>(ref f, (int)(pair >> 32));
        if (!FloatLanes.Commit(c, o, f))
            return false;
        TFormat.Store((byte*)c + o->D, low);
        TFormat.Store((byte*)c + o->D + TFormat.Size, high);
        return true;
    }

    private readonly struct PairRegister<TFormat> : IPlain
        where TFormat : struct, IFloatFormat
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            if (MmxHandlers.IsBlocked(c) && !MmxHandlers.RaiseBlocked(c, o))
                return false;
            MmxHandlers.Enter(c);
            return StorePair<TFormat>(c, o, Handlers.Get<ulong>(c, o->S));
        }
    }

    // With a memory operand no MMX register is touched: the x87 state stays.
    private readonly struct PairMemory<TFormat> : IAddressed
        where TFormat : struct, IFloatFormat
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            if (MmxHandlers.IsBlocked(c) && !MmxHandlers.RaiseBlocked(c, o))
                return false;
            ulong* source = Mem.Read<ulong, TAddressing>(c, o);
            return source != null && StorePair<TFormat>(c, o, *source);
        }
    }

    private static void AddToMmx<TFormat, TMode, TSource>(OpcodeMap map, int prefix, int opcode, string name, string feature)
        where TFormat : struct, IFloatFormat
        where TMode : struct, IMode
        where TSource : unmanaged =>
        map.Add(prefix, opcode, new OpcodeRow(name, Encoding.RegD | Encoding.RmS | Encoding.MmxReg | Encoding.VectorRm, static (in insn) =>
            insn.IsMemory ? Handlers.Addressed<MmxMemory<TFormat, TMode, TSource>>(insn) : Handlers.Plain<MmxRegister<TFormat, TMode>>(insn))
        { Feature = feature });

    private static bool LoadPair<TFormat, TMode>(CpuState* c, Op* o, ulong first, ulong second)
        where TFormat : struct, IFloatFormat
        where TMode : struct, IMode
    {
        // The x87 state changes even where #XM keeps the result away.
        MmxHandlers.Enter(c);
        FloatContext f = FloatContext.FromMxcsr(c->Mxcsr);
        ulong low = ToInteger<TFormat>(ref f, first, 4, TMode.IsTruncating), high = ToInteger<TFormat>(ref f, second, 4, TMode.IsTruncating);
        if (!FloatLanes.Commit(c, o, f))
            return false;
        MmxHandlers.Set(c, o->D, Vector128.CreateScalar(low | (high << 32)).AsByte());
        return true;
    }

    private readonly struct MmxRegister<TFormat, TMode> : IPlain
        where TFormat : struct, IFloatFormat
        where TMode : struct, IMode
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            if (MmxHandlers.IsBlocked(c) && !MmxHandlers.RaiseBlocked(c, o))
                return false;
            byte* source = (byte*)c + o->S;
            return LoadPair<TFormat, TMode>(c, o, TFormat.Load(source), TFormat.Load(source + TFormat.Size));
        }
    }

    private readonly struct MmxMemory<TFormat, TMode, TSource> : IAddressed
        where TFormat : struct, IFloatFormat
        where TMode : struct, IMode
        where TSource : unmanaged
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            if (MmxHandlers.IsBlocked(c) && !MmxHandlers.RaiseBlocked(c, o))
                return false;
            TSource* source = VectorUnit.Read<TSource, TAddressing>(c, o);
            if (source == null)
                return false;
            Vector128<ulong> value = VectorUnit.Widen(source).AsUInt64();
            ulong low = value.GetElement(0);
            return TFormat.Size == 4
                ? LoadPair<TFormat, TMode>(c, o, (uint)low, low >> 32) : LoadPair<TFormat, TMode>(c, o, low, value.GetElement(1));
        }
    }

    // Stands for "a conversion" where lanes are judged: two operands, no result rules of its own.
    private readonly struct Conversion : IFloatOp
    {
        public static bool IsUnary => true;

        public static bool IsExact => true;

        public static bool IsZeroExact => true;

        public static V Native<TFormat>(V first, V second, int immediate)
            where TFormat : struct, IFloatFormat => second;

        public static ulong Lane<TFormat>(ref FloatContext f, int lane, ulong first, ulong second, int immediate)
            where TFormat : struct, IFloatFormat => second;
    }
}
