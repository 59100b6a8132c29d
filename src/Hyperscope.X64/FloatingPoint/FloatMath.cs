namespace Hyperscope.X64.FloatingPoint;

/// <summary>Exact arithmetic on numbers taken apart, and the one place that rounds. Operands are never NaN.</summary>
/// <remarks>Results are exact up to <see cref="Unpacked.Rest"/>; <see cref="Round"/> makes them fit a format. Source: IEEE 754, and SDM vol. 1,
/// "Floating-Point Exceptions" for tininess (after rounding) and masked responses.</remarks>
internal static class FloatMath
{
    /// <summary>What the exponent of an unmasked x87 overflow or underflow is moved by.</summary>
    private const int ExponentWrap = 24576;

    private const ulong Half = 1UL << 63;

    public static Unpacked Add(ref FloatContext f, in Unpacked a, in Unpacked b)
    {
        if (a.Class == FloatClass.Infinity)
            return b.Class == FloatClass.Infinity && a.Sign != b.Sign ? Unpacked.Invalid : Unpacked.Infinity(a.Sign);
        if (b.Class == FloatClass.Infinity)
            return Unpacked.Infinity(b.Sign);
        if (a.Class == FloatClass.Zero)
        {
            if (b.Class == FloatClass.Zero)
                return Unpacked.Zero(a.Sign == b.Sign ? a.Sign : f.Rounding == Rounding.Down);
            return b;
        }

        if (b.Class == FloatClass.Zero)
            return a;
        bool isSwapped = a.Exponent < b.Exponent || (a.Exponent == b.Exponent && a.Significand < b.Significand);
        Unpacked large = isSwapped ? b : a, small = isSwapped ? a : b;
        UInt128 left = new UInt128(large.Significand, 0) >> 1;
        UInt128 right = ShiftRightJam(new UInt128(small.Significand, 0), large.Exponent - small.Exponent + 1);
        if (a.Sign == b.Sign)
            return Unpacked.FromWide(a.Sign, large.Exponent + 1, left + right);
        UInt128 difference = left - right;
        return difference == UInt128.Zero ? Unpacked.Zero(f.Rounding == Rounding.Down) : Unpacked.FromWide(large.Sign, large.Exponent + 1, difference);
    }

    public static Unpacked Subtract(ref FloatContext f, in Unpacked a, in Unpacked b)
    {
        Unpacked negated = b;
        negated.Sign = !b.Sign;
        return Add(ref f, a, negated);
    }

    public static Unpacked Multiply(in Unpacked a, in Unpacked b)
    {
        bool sign = a.Sign != b.Sign;
        if (a.Class == FloatClass.Infinity || b.Class == FloatClass.Infinity)
            return a.Class == FloatClass.Zero || b.Class == FloatClass.Zero ? Unpacked.Invalid : Unpacked.Infinity(sign);
        if (a.Class == FloatClass.Zero || b.Class == FloatClass.Zero)
            return Unpacked.Zero(sign);
        ulong high = Math.BigMul(a.Significand, b.Significand, out ulong low);
        return Unpacked.FromWide(sign, a.Exponent + b.Exponent + 1, new UInt128(high, low));
    }

    public static Unpacked Divide(ref FloatContext f, in Unpacked a, in Unpacked b)
    {
        bool sign = a.Sign != b.Sign;
        if (a.Class == FloatClass.Infinity)
            return b.Class == FloatClass.Infinity ? Unpacked.Invalid : Unpacked.Infinity(sign);
        if (b.Class == FloatClass.Infinity)
            return Unpacked.Zero(sign);
        if (b.Class == FloatClass.Zero)
        {
            if (a.Class == FloatClass.Zero)
                return Unpacked.Invalid;
            f.Flags |= FloatFlags.ZeroDivide;
            return Unpacked.Infinity(sign);
        }

        if (a.Class == FloatClass.Zero)
            return Unpacked.Zero(sign);
        bool isBelow = a.Significand < b.Significand;
        UInt128 dividend = isBelow ? new UInt128(a.Significand, 0) : new UInt128(a.Significand >> 1, a.Significand << 63);
        UInt128 quotient = dividend / b.Significand;
        ulong remainder = (ulong)(dividend - (quotient * b.Significand));
        return new Unpacked
        {
            Class = FloatClass.Normal,
            Sign = sign,
            Exponent = a.Exponent - b.Exponent - (isBelow ? 1 : 0),
            Significand = (ulong)quotient,
            Rest = RestOf(remainder, b.Significand),
        };
    }

    public static Unpacked SquareRoot(in Unpacked a)
    {
        if (a.Class == FloatClass.Zero)
            return a;
        if (a.Sign)
            return Unpacked.Invalid;
        if (a.Class == FloatClass.Infinity)
            return a;
        bool isOdd = (a.Exponent & 1) != 0;
        UInt128 square = isOdd ? new UInt128(a.Significand, 0) : new UInt128(a.Significand >> 1, a.Significand << 63);
        ulong root = IntegerRoot(square, out UInt128 remainder);
        return new Unpacked
        {
            Class = FloatClass.Normal,
            Exponent = (a.Exponent - (isOdd ? 1 : 0)) / 2,
            Significand = root,
            Rest = remainder == UInt128.Zero ? 0 : remainder > root ? Half + 1 : 1,
        };
    }

    /// <summary>-1, 0 or 1; zeros are equal.</summary>
    public static int Compare(in Unpacked a, in Unpacked b)
    {
        if (a.Class == FloatClass.Zero && b.Class == FloatClass.Zero)
            return 0;
        if (a.Class == FloatClass.Zero)
            return b.Sign ? 1 : -1;
        if (b.Class == FloatClass.Zero)
            return a.Sign ? -1 : 1;
        if (a.Sign != b.Sign)
            return a.Sign ? -1 : 1;
        int magnitude = CompareMagnitude(a, b);
        return a.Sign ? -magnitude : magnitude;
    }

    /// <summary>Rounds to an integer, which stays exact: no flag but the caller's reading of <paramref name="isInexact"/>.</summary>
    /// <returns>The magnitude; meaningless (and <paramref name="isTooLarge"/>) at 2^64 and above.</returns>
    public static ulong ToInteger(in Unpacked a, Rounding rounding, out bool isInexact, out bool isTooLarge, out bool isRoundedUp)
    {
        isInexact = isTooLarge = isRoundedUp = false;
        if (a.Class == FloatClass.Zero)
            return 0;
        if (a.Class != FloatClass.Normal || a.Exponent > 63)
        {
            isTooLarge = true;
            return 0;
        }

        ulong whole, below;
        if (a.Exponent < -1)
        {
            whole = 0;
            below = 1;
        }
        else if (a.Exponent == -1)
        {
            whole = 0;
            below = a.Significand | (a.Rest != 0 ? 1UL : 0);
        }
        else
        {
            int shift = 63 - a.Exponent;
            whole = a.Significand >> shift;
            below = shift == 0 ? a.Rest : (a.Significand << (64 - shift)) | (a.Rest != 0 ? 1UL : 0);
        }

        isInexact = below != 0;
        isRoundedUp = IsUp(rounding, a.Sign, (whole & 1) != 0, below);
        if (isRoundedUp && ++whole == 0)
            isTooLarge = true;
        return whole;
    }

    /// <summary>Makes a finite number fit; infinities and zeros pass. Raises overflow, underflow and inexact.</summary>
    /// <param name="f">Modes and flags.</param>
    /// <param name="x">The exact number.</param>
    /// <param name="precision">Bits of the significand.</param>
    /// <param name="largest">The largest exponent: 127, 1023 or 16383.</param>
    /// <returns>A number without Rest. A denormal has the smallest exponent and the top bit of its significand clear.</returns>
    public static Unpacked Round(ref FloatContext f, Unpacked x, int precision, int largest)
    {
        f.RoundedUp = false;
        if (x.Class != FloatClass.Normal)
            return x;
        int smallest = 1 - largest;
        bool isTiny = false;
        if (x.Exponent < smallest)
        {
            isTiny = true;
            if (x.Exponent == smallest - 1)
            {
                Unpacked unbounded = x;
                _ = Cut(ref f, ref unbounded, precision);
                isTiny = unbounded.Exponent < smallest;
            }

            bool isUnmasked = isTiny && !f.IsMasked(FloatFlags.Underflow);
            if (isUnmasked)
                f.Flags |= FloatFlags.Underflow;
            if (isUnmasked && f.WrapsExponent)
            {
                x.Exponent += ExponentWrap;
                if (x.Exponent < smallest)
                {
                    f.Flags |= FloatFlags.Inexact;
                    return Unpacked.Zero(x.Sign); // FSCALE can go further than the wrap brings back
                }

                isTiny = false;
            }
            else if (isUnmasked)
            {
                // Nothing is stored; inexact is judged as if the exponent had no bounds.
                if (Cut(ref f, ref x, precision))
                    f.Flags |= FloatFlags.Inexact;
                return x;
            }
            else if (isTiny && f.FlushToZero)
            {
                f.Flags |= FloatFlags.Underflow | FloatFlags.Inexact;
                return Unpacked.Zero(x.Sign);
            }
            else
            {
                UInt128 shifted = ShiftRightJam(new UInt128(x.Significand, x.Rest), smallest - x.Exponent);
                x.Significand = (ulong)(shifted >> 64);
                x.Rest = (ulong)shifted;
                x.Exponent = smallest;
            }
        }

        if (Cut(ref f, ref x, precision))
            f.Flags |= FloatFlags.Inexact | (isTiny ? FloatFlags.Underflow : 0);
        if (x.Significand == 0)
            return Unpacked.Zero(x.Sign);
        if (x.Exponent > largest)
            return Overflow(ref f, x, precision, largest);
        return x;
    }

    /// <summary>What is left of <paramref name="remainder"/> / <paramref name="divisor"/>, as <see cref="Unpacked.Rest"/>.</summary>
    public static ulong RestOf(ulong remainder, ulong divisor)
    {
        if (remainder == 0)
            return 0;
        ulong other = divisor - remainder;
        return remainder < other ? 1 : remainder == other ? Half : Half + 1;
    }

    public static int CompareMagnitude(in Unpacked a, in Unpacked b)
    {
        if (a.Class == FloatClass.Infinity || b.Class == FloatClass.Infinity)
            return (a.Class == FloatClass.Infinity ? 1 : 0) - (b.Class == FloatClass.Infinity ? 1 : 0);
        if (a.Exponent != b.Exponent)
            return a.Exponent < b.Exponent ? -1 : 1;
        return a.Significand.CompareTo(b.Significand);
    }

    private static Unpacked Overflow(ref FloatContext f, Unpacked x, int precision, int largest)
    {
        f.Flags |= FloatFlags.Overflow;
        if (!f.IsMasked(FloatFlags.Overflow))
        {
            if (!f.WrapsExponent)
                return x;
            x.Exponent -= ExponentWrap;
            if (x.Exponent <= largest)
                return x;
            f.Flags |= FloatFlags.Inexact;
            f.RoundedUp = true;
            return Unpacked.Infinity(x.Sign); // FSCALE again
        }

        f.Flags |= FloatFlags.Inexact;
        f.RoundedUp = f.Rounding == Rounding.Nearest || (f.Rounding == Rounding.Up && !x.Sign) || (f.Rounding == Rounding.Down && x.Sign);
        if (f.RoundedUp)
            return Unpacked.Infinity(x.Sign);
        x.Exponent = largest;
        x.Significand = ulong.MaxValue << (64 - precision);
        return x;
    }

    // Rounds the significand to its first bits; true if anything was lost.
    private static bool Cut(ref FloatContext f, ref Unpacked x, int precision)
    {
        int drop = 64 - precision;
        ulong below = drop == 0 ? x.Rest : (x.Significand << precision) | (x.Rest != 0 ? 1UL : 0);
        ulong unit = 1UL << drop;
        x.Significand &= ~(unit - 1);
        x.Rest = 0;
        f.RoundedUp = IsUp(f.Rounding, x.Sign, (x.Significand & unit) != 0, below);
        if (f.RoundedUp)
        {
            x.Significand += unit;
            if (x.Significand < unit)
            {
                x.Significand = Unpacked.TopBit;
                x.Exponent++;
            }
        }

        return below != 0;
    }

    private static bool IsUp(Rounding rounding, bool sign, bool isOdd, ulong below) => below != 0 && rounding switch
    {
        Rounding.Nearest => below > Half || (below == Half && isOdd),
        Rounding.Down => sign,
        Rounding.Up => !sign,
        _ => false,
    };

    /// <summary>Shifts right; bits that fall out are kept as a one in the lowest place.</summary>
    public static UInt128 ShiftRightJam(UInt128 value, int count)
    {
        if (count <= 0)
            return value;
        if (count >= 128)
            return value != UInt128.Zero ? UInt128.One : UInt128.Zero;
        UInt128 shifted = value >> count;
        return (shifted << count) != value ? shifted | UInt128.One : shifted;
    }

    // The root of a number of at least 126 bits, rounded down.
    private static ulong IntegerRoot(UInt128 square, out UInt128 remainder)
    {
        double estimate = Math.Sqrt((double)(ulong)(square >> 64)) * 4294967296.0;
        ulong root = estimate >= 18446744073709549568.0 ? ulong.MaxValue : (ulong)estimate;
        UInt128 next = (square / root) + root >> 1;
        root = next > ulong.MaxValue ? ulong.MaxValue : (ulong)next;
        while ((UInt128)root * root > square)
            root--;
        remainder = square - ((UInt128)root * root);
        while (remainder > (UInt128)root << 1 && root != ulong.MaxValue)
        {
            remainder -= ((UInt128)root << 1) + 1;
            root++;
        }

        return root;
    }
}
