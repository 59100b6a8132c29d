using System.Numerics;

namespace Hyperscope.X64.FloatingPoint;

/// <summary>The 80-bit format of the x87 registers: 64-bit significand, then sign and 15-bit exponent.</summary>
internal static class ExtendedFormat
{
    public const int Largest = 16383, Precision = 64;
    private const int Special = 0x7FFF;

    /// <summary>Takes a register apart. Encodings that the processor no longer supports come out as <see cref="FloatClass.Invalid"/>.</summary>
    public static Unpacked Unpack(ulong significand, ushort signExponent)
    {
        bool sign = (signExponent & 0x8000) != 0;
        int exponent = signExponent & Special;
        if (exponent == Special)
        {
            if ((significand & Unpacked.TopBit) == 0)
                return new Unpacked { Class = FloatClass.Invalid, Sign = sign };
            if (significand == Unpacked.TopBit)
                return Unpacked.Infinity(sign);
            return new Unpacked
            {
                Class = (significand & Unpacked.QuietBit) != 0 ? FloatClass.QuietNaN : FloatClass.SignalingNaN,
                Sign = sign,
                Significand = significand,
            };
        }

        if (exponent != 0)
        {
            return (significand & Unpacked.TopBit) == 0
                ? new Unpacked { Class = FloatClass.Invalid, Sign = sign }
                : new Unpacked { Class = FloatClass.Normal, Sign = sign, Exponent = exponent - Largest, Significand = significand };
        }

        if (significand == 0)
            return Unpacked.Zero(sign);
        int zeros = BitOperations.LeadingZeroCount(significand);
        return new Unpacked
        {
            Class = FloatClass.Normal,
            Sign = sign,
            IsDenormal = true,
            Exponent = 1 - Largest - zeros,
            Significand = significand << zeros,
        };
    }

    /// <summary>Puts a number together that was rounded to this format; NaNs come out quiet.</summary>
    public static (ulong Significand, ushort SignExponent) Pack(in Unpacked x)
    {
        int sign = x.Sign ? 0x8000 : 0;
        return x.Class switch
        {
            FloatClass.Zero => (0, (ushort)sign),
            FloatClass.Infinity => (Unpacked.TopBit, (ushort)(sign | Special)),
            FloatClass.Invalid => (Unpacked.TopBit | Unpacked.QuietBit, 0xFFFF),
            FloatClass.Normal => (x.Significand, (ushort)(sign | ((x.Significand & Unpacked.TopBit) == 0 ? 0 : (x.Exponent + Largest) & Special))),
            _ => (x.Significand | Unpacked.QuietBit, (ushort)(sign | Special)),
        };
    }
}
