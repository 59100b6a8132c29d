using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hyperscope.X64.Execution;
using Hyperscope.X64.FloatingPoint;
using V = System.Runtime.Intrinsics.Vector128<byte>;

namespace Hyperscope.X64.Instructions;

/// <summary>One floating-point operation, natively and exactly.</summary>
internal interface IFloatOp
{
    /// <summary>Only the second operand counts (SQRT).</summary>
    static abstract bool IsUnary { get; }

    /// <summary>Normal and zero operands raise nothing, whatever the result and the mode (MIN, MAX, CMP).</summary>
    static abstract bool IsExact { get; }

    /// <summary>A zero result of normal operands is exact (ADD, SUB).</summary>
    static abstract bool IsZeroExact { get; }

    /// <summary>All lanes on the host, which rounds to nearest with everything masked.</summary>
    static abstract V Native<TFormat>(V first, V second, int immediate)
        where TFormat : struct, IFloatFormat;

    /// <summary>One lane in software, with modes and flags.</summary>
    static abstract ulong Lane<TFormat>(ref FloatContext f, int lane, ulong first, ulong second, int immediate)
        where TFormat : struct, IFloatFormat;
}

/// <summary>Which lanes an instruction computes.</summary>
internal interface ILanes
{
    static abstract bool IsScalar { get; }
}

internal readonly struct Packed : ILanes { public static bool IsScalar => false; }

internal readonly struct Scalar : ILanes { public static bool IsScalar => true; }

/// <summary>Decides between the host's arithmetic and the exact one, and raises SIMD exceptions.</summary>
/// <remarks>The host always rounds to nearest and its flags cannot be read, so a native result is taken only where no flag can change: MXCSR
/// is in its usual mode with the inexact flag already set (it is sticky), and operands and result are normal numbers
/// well inside the range. Everything else is computed in software.</remarks>
internal static unsafe class FloatLanes
{
    private const uint ModeMask = 0xFFE0, UsualMode = 0x1FA0;

    /// <summary>True if inexact results change nothing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsUsual(CpuState* c) => (c->Mxcsr & ModeMask) == UsualMode;

    /// <summary>True if <paramref name="result"/> can be taken.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool CanTake<TOp, TFormat, TLanes>(V first, V second, V result)
        where TOp : struct, IFloatOp
        where TFormat : struct, IFloatFormat
        where TLanes : struct, ILanes
    {
        V bad = Odd<TFormat>(second, allowZero: true);
        if (!TOp.IsUnary)
            bad |= Odd<TFormat>(first, allowZero: true);
        if (!TOp.IsExact)
            bad |= Odd<TFormat>(result, TOp.IsZeroExact);
        if (TLanes.IsScalar)
            return TFormat.Size == 4 ? bad.AsUInt32().ToScalar() == 0 : bad.AsUInt64().ToScalar() == 0;
        return bad == V.Zero;
    }

    /// <summary>The operands of a lane raise nothing by themselves.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsPlain<TFormat>(V value)
        where TFormat : struct, IFloatFormat
    {
        V bad = Odd<TFormat>(value, allowZero: true);
        return TFormat.Size == 4 ? bad.AsUInt32().ToScalar() == 0 : bad.AsUInt64().ToScalar() == 0;
    }

    // Lanes that are denormal, the smallest normal, infinite, NaN, or (unless allowed) zero.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Odd<TFormat>(V value, bool allowZero)
        where TFormat : struct, IFloatFormat
    {
        if (TFormat.Size == 4)
        {
            Vector128<int> magnitude = value.AsInt32() & Vector128.Create(0x7FFF_FFFF);
            Vector128<int> odd = Vector128.LessThan(magnitude, Vector128.Create(0x0080_0001)) | Vector128.GreaterThan(magnitude, Vector128.Create(0x7F7F_FFFF));
            return (allowZero ? odd & ~Vector128.Equals(magnitude, Vector128<int>.Zero) : odd).AsByte();
        }
        else
        {
            Vector128<long> magnitude = value.AsInt64() & Vector128.Create(long.MaxValue);
            Vector128<long> odd = Vector128.LessThan(magnitude, Vector128.Create(0x0010_0000_0000_0001))
                | Vector128.GreaterThan(magnitude, Vector128.Create(0x7FEF_FFFF_FFFF_FFFF));
            return (allowZero ? odd & ~Vector128.Equals(magnitude, Vector128<long>.Zero) : odd).AsByte();
        }
    }

    /// <summary>The lanes of the result, the others from <paramref name="first"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Merge<TFormat, TLanes>(V first, V result)
        where TFormat : struct, IFloatFormat
        where TLanes : struct, ILanes
    {
        if (!TLanes.IsScalar)
            return result;
        return TFormat.Size == 4 ? Sse.MoveScalar(first.AsSingle(), result.AsSingle()).AsByte() : Sse2.MoveScalar(first.AsDouble(), result.AsDouble()).AsByte();
    }

    /// <summary>Computes the lanes in software and writes the register at <paramref name="target"/>, unless an exception stops it.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool Exact<TOp, TFormat, TLanes>(CpuState* c, Op* o, int target, byte* second)
        where TOp : struct, IFloatOp
        where TFormat : struct, IFloatFormat
        where TLanes : struct, ILanes => Exact<TOp, TFormat>(c, o, target, (byte*)c + target, second, TLanes.IsScalar ? 1 : 16 / TFormat.Size);

    /// <summary>Computes lanes in software; the lanes behind them keep what the target holds.</summary>
    public static bool Exact<TOp, TFormat>(CpuState* c, Op* o, int target, byte* first, byte* second, int lanes)
        where TOp : struct, IFloatOp
        where TFormat : struct, IFloatFormat
    {
        FloatContext f = FloatContext.FromMxcsr(c->Mxcsr);
        byte* result = stackalloc byte[16];
        for (int lane = 0; lane < lanes; lane++)
        {
            int offset = lane * TFormat.Size;
            TFormat.Store(result + offset, TOp.Lane<TFormat>(ref f, lane, TFormat.Load(first + offset), TFormat.Load(second + offset), (int)o->Immediate));
        }

        if (!Commit(c, o, f))
            return false;
        for (int lane = 0; lane < lanes; lane++)
            TFormat.Store((byte*)c + target + (lane * TFormat.Size), TFormat.Load(result + (lane * TFormat.Size)));
        return true;
    }

    /// <summary>Adds the flags to MXCSR; false if one of them is unmasked: #XM, or #UD where the system does not expect it.</summary>
    /// <remarks>An unmasked exception of the operands keeps those of the results from being reported.</remarks>
    public static bool Commit(CpuState* c, Op* o, in FloatContext f)
    {
        const uint OfOperands = FloatFlags.Invalid | FloatFlags.Denormal | FloatFlags.ZeroDivide;
        uint unmasked = f.Flags & ~f.Masks;
        if (unmasked == 0)
        {
            c->Mxcsr |= f.Flags;
            return true;
        }

        c->Mxcsr |= (unmasked & OfOperands) != 0 ? f.Flags & OfOperands : f.Flags;
        return (c->Cr4 & Cr4.OsXmmExcpt) != 0 ? c->Raise(o, X64.Vector.SimdError) : c->RaiseUd(o);
    }

    /// <summary>The flow of an arithmetic lane: NaNs, then the operation, then denormal operands, then rounding.</summary>
    public static ulong Arithmetic<TCompute, TFormat>(ref FloatContext f, ulong first, ulong second)
        where TCompute : struct, IFloatCompute
        where TFormat : struct, IFloatFormat
    {
        Unpacked a = FloatFormat.Unpack<TFormat>(f, first), b = FloatFormat.Unpack<TFormat>(f, second);
        if (a.IsNaN || b.IsNaN)
            return FloatFormat.Propagate<TFormat>(ref f, first, second, a, b);
        uint before = f.Flags;
        f.Flags &= ~FloatFlags.ZeroDivide;
        Unpacked exact = TCompute.Compute(ref f, a, b);
        if (exact.Class == FloatClass.Invalid)
        {
            f.Flags |= before | FloatFlags.Invalid;
            return FloatFormat.DefaultNaN<TFormat>();
        }

        if ((a.IsDenormal || b.IsDenormal) && (f.Flags & FloatFlags.ZeroDivide) == 0)
            f.Flags |= FloatFlags.Denormal;
        f.Flags |= before;
        return FloatFormat.Finish<TFormat>(ref f, exact);
    }
}

/// <summary>The exact result of an operation on numbers.</summary>
internal interface IFloatCompute
{
    static abstract Unpacked Compute(ref FloatContext f, in Unpacked a, in Unpacked b);
}
