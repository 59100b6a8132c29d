namespace Hyperscope.X64.FloatingPoint;

/// <summary>Exception bits, the same in MXCSR and the x87 status and control words.</summary>
internal static class FloatFlags
{
    public const uint Invalid = 1, Denormal = 2, ZeroDivide = 4, Overflow = 8, Underflow = 16, Inexact = 32, All = 63;
}

/// <summary>Rounding modes as MXCSR and the x87 control word encode them.</summary>
internal enum Rounding
{
    Nearest,
    Down,
    Up,
    Zero,
}

/// <summary>How operations round, and what they raised.</summary>
internal struct FloatContext
{
    private const int Daz = 1 << 6, Ftz = 1 << 15;

    /// <summary>Raised so far; see <see cref="FloatFlags"/>.</summary>
    public uint Flags;

    /// <summary>Exceptions that have a masked response.</summary>
    public uint Masks;
    public Rounding Rounding;
    public bool DenormalsAreZero, FlushToZero;

    /// <summary>x87 registers: an unmasked overflow or underflow gives a result with the exponent moved by 24576.</summary>
    public bool WrapsExponent;

    /// <summary>The last rounding went away from zero (x87 C1).</summary>
    public bool RoundedUp;

    public static FloatContext FromMxcsr(uint mxcsr) => new()
    {
        Masks = mxcsr >> 7 & FloatFlags.All,
        Rounding = (Rounding)(mxcsr >> 13 & 3),
        DenormalsAreZero = (mxcsr & Daz) != 0,
        FlushToZero = (mxcsr & Ftz) != 0,
    };

    public readonly bool IsMasked(uint flag) => (Masks & flag) != 0;
}

/// <summary>What kind of value a number is.</summary>
internal enum FloatClass : byte
{
    Zero,
    Normal,
    Infinity,
    QuietNaN,
    SignalingNaN,

    /// <summary>x87 encodings that are no longer numbers; as a result: the default NaN of an invalid operation.</summary>
    Invalid,
}

/// <summary>A number taken apart. Finite: (Significand + Rest / 2^64) * 2^(Exponent - 63), top bit of the significand set.</summary>
/// <remarks>A NaN keeps its payload in the significand, quiet bit at 62, whatever format it came from. Rest is what an exact result has below
/// its 64 bits; only its being zero, below, at or above one half counts.</remarks>
internal struct Unpacked
{
    public FloatClass Class;
    public bool Sign;

    /// <summary>The operand was denormal (before normalisation).</summary>
    public bool IsDenormal;
    public int Exponent;
    public ulong Significand, Rest;

    public const ulong TopBit = 1UL << 63, QuietBit = 1UL << 62;

    public readonly bool IsNaN => Class is FloatClass.QuietNaN or FloatClass.SignalingNaN;

    public static Unpacked Zero(bool sign) => new() { Class = FloatClass.Zero, Sign = sign };

    public static Unpacked Infinity(bool sign) => new() { Class = FloatClass.Infinity, Sign = sign };

    public static Unpacked Invalid => new() { Class = FloatClass.Invalid };

    /// <summary>A signed integer.</summary>
    public static Unpacked FromInteger(long value)
    {
        if (value == 0)
            return Zero(false);
        ulong magnitude = value < 0 ? 0UL - (ulong)value : (ulong)value;
        int zeros = System.Numerics.BitOperations.LeadingZeroCount(magnitude);
        return new Unpacked { Class = FloatClass.Normal, Sign = value < 0, Exponent = 63 - zeros, Significand = magnitude << zeros };
    }

    /// <summary>A 128-bit significand of any weight: value = wide * 2^(exponent - 127).</summary>
    public static Unpacked FromWide(bool sign, int exponent, UInt128 wide)
    {
        if (wide == UInt128.Zero)
            return Zero(sign);
        int zeros = (int)UInt128.LeadingZeroCount(wide);
        wide <<= zeros;
        return new Unpacked
        {
            Class = FloatClass.Normal,
            Sign = sign,
            Exponent = exponent - zeros,
            Significand = (ulong)(wide >> 64),
            Rest = (ulong)wide,
        };
    }
}
