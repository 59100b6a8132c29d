namespace Hyperscope.X64.FloatingPoint;

/// <summary>A number with a 128-bit significand: value = Significand * 2^(Exponent - 127), top bit set, or zero. For functions, not for rounding.</summary>
internal readonly struct Wide(bool sign, int exponent, UInt128 significand)
{
    public static readonly Wide One = FromInteger(1);

    public readonly bool Sign = sign;
    public readonly int Exponent = exponent;
    public readonly UInt128 Significand = significand;

    public bool IsZero => Significand == UInt128.Zero;

    /// <summary>A constant from its first 128 bits.</summary>
    public static Wide Constant(int exponent, ulong high, ulong low) => new(false, exponent, new UInt128(high, low));

    public static Wide FromInteger(long value) => From(Unpacked.FromInteger(value));

    public static Wide From(in Unpacked x) =>
        x.Class == FloatClass.Zero ? default : new Wide(x.Sign, x.Exponent, new UInt128(x.Significand, x.Rest));

    /// <summary>Any integer times a power of two: value * 2^(exponent - 127).</summary>
    public static Wide Normalized(bool sign, int exponent, UInt128 value)
    {
        if (value == UInt128.Zero)
            return default;
        int zeros = (int)UInt128.LeadingZeroCount(value);
        return new Wide(sign, exponent - zeros, value << zeros);
    }

    /// <summary>An inexact result: its Rest is never zero.</summary>
    public Unpacked ToInexact() => IsZero ? Unpacked.Zero(Sign) : new Unpacked
    {
        Class = FloatClass.Normal,
        Sign = Sign,
        Exponent = Exponent,
        Significand = (ulong)(Significand >> 64),
        Rest = (ulong)Significand | 1,
    };

    public Wide Negated() => new(!Sign, Exponent, Significand);

    /// <summary>Times a power of two.</summary>
    public Wide Scaled(int power) => IsZero ? this : new Wide(Sign, Exponent + power, Significand);

    public static Wide operator +(Wide a, Wide b)
    {
        if (a.IsZero)
            return b;
        if (b.IsZero)
            return a;
        if (a.Exponent < b.Exponent || (a.Exponent == b.Exponent && a.Significand < b.Significand))
            (a, b) = (b, a);
        int shift = a.Exponent - b.Exponent;
        UInt128 small = shift >= 128 ? UInt128.Zero : b.Significand >> shift;
        if (a.Sign != b.Sign)
            return Normalized(a.Sign, a.Exponent, a.Significand - small);
        UInt128 sum = unchecked(a.Significand + small);
        return sum < a.Significand
            ? new Wide(a.Sign, a.Exponent + 1, (sum >> 1) | new UInt128(1UL << 63, 0))
            : new Wide(a.Sign, a.Exponent, sum);
    }

    public static Wide operator -(Wide a, Wide b) => a + b.Negated();

    public static Wide operator *(Wide a, Wide b)
    {
        if (a.IsZero || b.IsZero)
            return default;
        ulong a1 = (ulong)(a.Significand >> 64), a0 = (ulong)a.Significand, b1 = (ulong)(b.Significand >> 64), b0 = (ulong)b.Significand;
        UInt128 low = Product(a0, b0), middle1 = Product(a1, b0), middle2 = Product(a0, b1), high = Product(a1, b1);
        UInt128 carry = (low >> 64) + (ulong)middle1 + (ulong)middle2;
        high += (middle1 >> 64) + (middle2 >> 64) + (carry >> 64);
        return Normalized(a.Sign != b.Sign, a.Exponent + b.Exponent + 1, high);
    }

    public static Wide operator /(Wide a, Wide b)
    {
        // Newton: each step doubles the 53 bits of the first guess.
        double guess = 1.0 / (double)(ulong)(b.Significand >> 64) * 9223372036854775808.0; // 1 / (significand as 1.x)
        long scaled = (long)(guess * 4611686018427387904.0);
        Wide reciprocal = FromInteger(scaled).Scaled(-62);
        var unit = new Wide(false, 0, b.Significand);
        for (int step = 0; step < 2; step++)
            reciprocal += reciprocal * (One - (unit * reciprocal));
        Wide quotient = a * reciprocal;
        return new Wide(a.Sign != b.Sign, quotient.Exponent - b.Exponent, quotient.Significand);
    }

    public static Wide operator /(Wide a, uint divisor) => Normalized(a.Sign, a.Exponent, a.Significand / divisor);

    private static UInt128 Product(ulong a, ulong b)
    {
        ulong high = Math.BigMul(a, b, out ulong low);
        return new UInt128(high, low);
    }
}
