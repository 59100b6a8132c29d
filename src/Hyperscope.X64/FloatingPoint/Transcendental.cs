namespace Hyperscope.X64.FloatingPoint;

/// <summary>Elementary functions to more than 110 bits: series on reduced arguments.</summary>
internal static class Transcendental
{
    private const int Enough = 130; // a term this many powers of two below the sum no longer counts

    public static readonly Wide Pi = Wide.Constant(1, 0xC90F_DAA2_2168_C234, 0xC4C6_628B_80DC_1CD1);
    public static readonly Wide LogOf2 = Wide.Constant(-1, 0xB172_17F7_D1CF_79AB, 0xC9E3_B398_03F2_F6AF);

    // pi/2 in units of 2^-65: the 66 bits that x87 processors reduce with.
    private static readonly UInt128 _halfPi66 = new(0x3, 0x243F_6A88_85A3_08D3);

    private static readonly Wide[] _arcTangents = MakeArcTangents();

    /// <summary>Sine and cosine of a number below 2^63, reduced with the processor's 66-bit pi.</summary>
    public static void SineCosine(in Unpacked x, out Wide sine, out Wide cosine)
    {
        Wide reduced = Reduce(x, out int quadrant);
        Wide square = reduced * reduced;
        Wide sin = Alternating(reduced, square, 2), cos = Alternating(Wide.One, square, 1);
        (sine, cosine) = (quadrant & 1) == 0 ? (sin, cos) : (cos, sin);
        if ((quadrant & 2) != 0)
            sine = sine.Negated();
        if (quadrant is 1 or 2)
            cosine = cosine.Negated();
    }

    /// <summary>The angle of a point, from 0 to pi, of the absolute value of y.</summary>
    public static Wide ArcTangent(in Unpacked y, in Unpacked x)
    {
        Wide a = Absolute(Wide.From(y)), b = Absolute(Wide.From(x));
        bool isSteep = a.Exponent > b.Exponent || (a.Exponent == b.Exponent && a.Significand > b.Significand);
        Wide angle = ArcTangent(isSteep ? b / a : a / b);
        if (isSteep)
            angle = Pi.Scaled(-1) - angle;
        return x.Sign ? Pi - angle : angle;
    }

    /// <summary>2^x - 1 for x from -1 to 1.</summary>
    public static Wide PowerMinusOne(in Unpacked x)
    {
        Wide y = Wide.From(x) * LogOf2, term = y, sum = y;
        for (uint n = 2; term.Exponent > sum.Exponent - Enough && !term.IsZero; n++)
        {
            term = term * y / n;
            sum += term;
        }

        return sum;
    }

    /// <summary>Logarithm to base 2 of a positive number.</summary>
    public static Wide Log2(Wide x)
    {
        int exponent = x.Exponent;
        var mantissa = new Wide(false, 0, x.Significand);
        if (x.Significand > new UInt128(0xB504_F333_F9DE_6484, 0))
        {
            mantissa = mantissa.Scaled(-1);
            exponent++;
        }

        Wide logarithm = FromRatio((mantissa - Wide.One) / (mantissa + Wide.One));
        return Wide.FromInteger(exponent) + logarithm;
    }

    /// <summary>Logarithm to base 2 of 1 + x, for x above -1.</summary>
    public static Wide Log2Of1Plus(Wide x)
    {
        if (x.IsZero)
            return default;
        return x.Exponent < -1 ? FromRatio(x / (x + Wide.FromInteger(2))) : Log2(x + Wide.One);
    }

    // log2((1 + s) / (1 - s)) = 2 atanh(s) / ln 2
    private static Wide FromRatio(Wide s) => (Odd(s, s * s, alternates: false) / LogOf2).Scaled(1);

    private static Wide Absolute(Wide x) => x.Sign ? x.Negated() : x;

    // x - x^3 / (2 * 3) + ..., or 1 - x^2 / (1 * 2) + ...
    private static Wide Alternating(Wide first, Wide square, uint next)
    {
        Wide term = first, sum = first;
        for (uint n = next; !term.IsZero && term.Exponent > sum.Exponent - Enough; n += 2)
        {
            term = (term * square / (n * (n + 1))).Negated();
            sum += term;
        }

        return sum;
    }

    // s + s^3 / 3 + s^5 / 5 + ..., or with alternating signs
    private static Wide Odd(Wide s, Wide square, bool alternates)
    {
        Wide power = s, sum = s;
        for (uint n = 3; !power.IsZero && power.Exponent > sum.Exponent - Enough; n += 2)
        {
            power *= square;
            if (alternates)
                power = power.Negated();
            sum += power / n;
        }

        return sum;
    }

    // For t from 0 to 1: the nearest eighth from the table, the rest by the series.
    private static Wide ArcTangent(Wide t)
    {
        int eighths = t.IsZero || t.Exponent < -5 ? 0 : (int)Math.Round((double)(ulong)(t.Significand >> 64) * Math.ScaleB(1, t.Exponent - 63 + 3));
        if (eighths == 0)
            return Odd(t, t * t, alternates: true);
        Wide near = Wide.FromInteger(eighths).Scaled(-3);
        Wide rest = (t - near) / (Wide.One + (t * near));
        return _arcTangents[eighths] + Odd(rest, rest * rest, alternates: true);
    }

    private static Wide[] MakeArcTangents()
    {
        var table = new Wide[9];
        for (int eighths = 1; eighths <= 4; eighths++)
        {
            Wide t = Wide.FromInteger(eighths).Scaled(-3);
            table[eighths] = Odd(t, t * t, alternates: true);
        }

        Wide half = Wide.One.Scaled(-1);
        for (int eighths = 5; eighths <= 8; eighths++)
        {
            Wide t = Wide.FromInteger(eighths).Scaled(-3), rest = (t - half) / (Wide.One + (t * half));
            table[eighths] = table[4] + Odd(rest, rest * rest, alternates: true);
        }

        return table;
    }

    // x minus a multiple of pi/2, at most pi/4 in magnitude; quadrant: that multiple modulo 4.
    private static Wide Reduce(in Unpacked x, out int quadrant)
    {
        quadrant = 0;
        if (x.Class == FloatClass.Zero || x.Exponent < -1)
            return Wide.From(x);
        UInt128 remainder = x.Significand;
        int quotient = 0;
        for (int bit = x.Exponent + 2; ; bit--)
        {
            quotient <<= 1;
            if (remainder >= _halfPi66)
            {
                remainder -= _halfPi66;
                quotient |= 1;
            }

            if (bit == 0)
                break;
            remainder <<= 1;
        }

        bool isNegative = false;
        if (remainder << 1 > _halfPi66)
        {
            remainder = _halfPi66 - remainder;
            isNegative = true;
            quotient++;
        }

        quadrant = (x.Sign ? -quotient : quotient) & 3;
        return Wide.Normalized(isNegative != x.Sign, 127 - 65, remainder);
    }
}
