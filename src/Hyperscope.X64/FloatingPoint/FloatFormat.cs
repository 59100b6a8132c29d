using System.Numerics;
using System.Runtime.CompilerServices;

namespace Hyperscope.X64.FloatingPoint;

/// <summary>A storage format of 32 or 64 bits. Raw values travel as <c>ulong</c>.</summary>
internal unsafe interface IFloatFormat
{
    static abstract int Size { get; }

    static abstract int Precision { get; }

    /// <summary>The largest exponent, which is the bias too.</summary>
    static abstract int Largest { get; }

    static abstract ulong Load(byte* source);

    static abstract void Store(byte* target, ulong value);
}

internal readonly unsafe struct SingleFormat : IFloatFormat
{
    public static int Size => 4;

    public static int Precision => 24;

    public static int Largest => 127;

    public static ulong Load(byte* source) => *(uint*)source;

    public static void Store(byte* target, ulong value) => *(uint*)target = (uint)value;
}

internal readonly unsafe struct DoubleFormat : IFloatFormat
{
    public static int Size => 8;

    public static int Precision => 53;

    public static int Largest => 1023;

    public static ulong Load(byte* source) => *(ulong*)source;

    public static void Store(byte* target, ulong value) => *(ulong*)target = value;
}

/// <summary>Taking raw values apart, putting them together, and the NaN rules of SSE.</summary>
internal static class FloatFormat
{
    /// <summary>Takes a raw value apart; DAZ is not applied.</summary>
    public static Unpacked Unpack<TFormat>(ulong raw)
        where TFormat : struct, IFloatFormat
    {
        int bits = TFormat.Size * 8, fraction = TFormat.Precision - 1;
        ulong mantissa = raw & ((1UL << fraction) - 1);
        int exponent = (int)(raw >> fraction) & ((2 * TFormat.Largest) + 1);
        bool sign = (raw >> (bits - 1) & 1) != 0;
        if (exponent == (2 * TFormat.Largest) + 1)
        {
            if (mantissa == 0)
                return Unpacked.Infinity(sign);
            return new Unpacked
            {
                Class = IsQuiet<TFormat>(mantissa) ? FloatClass.QuietNaN : FloatClass.SignalingNaN,
                Sign = sign,
                Significand = Unpacked.TopBit | (mantissa << (63 - fraction)),
            };
        }

        if (exponent != 0)
        {
            return new Unpacked
            {
                Class = FloatClass.Normal,
                Sign = sign,
                Exponent = exponent - TFormat.Largest,
                Significand = Unpacked.TopBit | (mantissa << (63 - fraction)),
            };
        }

        if (mantissa == 0)
            return Unpacked.Zero(sign);
        int zeros = BitOperations.LeadingZeroCount(mantissa);
        return new Unpacked
        {
            Class = FloatClass.Normal,
            Sign = sign,
            IsDenormal = true,
            Exponent = 63 - zeros + 1 - TFormat.Largest - fraction,
            Significand = mantissa << zeros,
        };
    }

    /// <summary>Takes a raw value apart; with DAZ a denormal is a zero of its sign.</summary>
    public static Unpacked Unpack<TFormat>(in FloatContext f, ulong raw)
        where TFormat : struct, IFloatFormat
    {
        Unpacked x = Unpack<TFormat>(raw);
        return x.IsDenormal && f.DenormalsAreZero ? Unpacked.Zero(x.Sign) : x;
    }

    /// <summary>Puts a number together that was rounded to this format.</summary>
    public static ulong Pack<TFormat>(in Unpacked x)
        where TFormat : struct, IFloatFormat
    {
        int bits = TFormat.Size * 8, fraction = TFormat.Precision - 1;
        ulong sign = x.Sign ? 1UL << (bits - 1) : 0;
        ulong special = (ulong)((2 * TFormat.Largest) + 1) << fraction;
        ulong mantissa = (x.Significand & ~Unpacked.TopBit) >> (63 - fraction);
        return x.Class switch
        {
            FloatClass.Zero => sign,
            FloatClass.Infinity => sign | special,
            FloatClass.Invalid => DefaultNaN<TFormat>(),
            FloatClass.Normal => sign | mantissa | ((x.Significand >> 63) == 0 ? 0 : (ulong)(uint)(x.Exponent + TFormat.Largest) << fraction),
            _ => sign | special | mantissa | (1UL << (fraction - 1)),
        };
    }

    /// <summary>Rounds an exact result and puts it together; an invalid operation raises its flag and gives the default NaN.</summary>
    public static ulong Finish<TFormat>(ref FloatContext f, in Unpacked exact)
        where TFormat : struct, IFloatFormat
    {
        if (exact.Class == FloatClass.Invalid)
            f.Flags |= FloatFlags.Invalid;
        return Pack<TFormat>(FloatMath.Round(ref f, exact, TFormat.Precision, TFormat.Largest));
    }

    public static ulong DefaultNaN<TFormat>()
        where TFormat : struct, IFloatFormat => ulong.MaxValue << (TFormat.Precision - 2) & (ulong.MaxValue >> (64 - (TFormat.Size * 8)));

    public static ulong Quieted<TFormat>(ulong raw)
        where TFormat : struct, IFloatFormat => raw | (1UL << (TFormat.Precision - 2));

    /// <summary>The SSE rule: the first operand if it is a NaN, else the second; quieted.</summary>
    public static ulong Propagate<TFormat>(ref FloatContext f, ulong rawA, ulong rawB, in Unpacked a, in Unpacked b)
        where TFormat : struct, IFloatFormat
    {
        if (a.Class == FloatClass.SignalingNaN || b.Class == FloatClass.SignalingNaN)
            f.Flags |= FloatFlags.Invalid;
        return Quieted<TFormat>(a.IsNaN ? rawA : rawB);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsQuiet<TFormat>(ulong mantissa)
        where TFormat : struct, IFloatFormat => (mantissa >> (TFormat.Precision - 2)) != 0;
}
