using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;
using Hyperscope.X64.FloatingPoint;

namespace Hyperscope.X64.Instructions;

/// <summary>FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1.</summary>
internal static unsafe class X87Functions
{
    public static void Register(OpcodeMap map)
    {
        X87Handlers.AddOne<Sine>(map, 0xD9, 0xFE, "fsin");
        X87Handlers.AddOne<Cosine>(map, 0xD9, 0xFF, "fcos");
        X87Handlers.AddOne<SineCosine>(map, 0xD9, 0xFB, "fsincos");
        X87Handlers.AddOne<Tangent>(map, 0xD9, 0xF2, "fptan");
        X87Handlers.AddOne<ArcTangent>(map, 0xD9, 0xF3, "fpatan");
        X87Handlers.AddOne<PowerMinusOne>(map, 0xD9, 0xF0, "f2xm1");
        X87Handlers.AddOne<Logarithm>(map, 0xD9, 0xF1, "fyl2x");
        X87Handlers.AddOne<LogarithmOf1Plus>(map, 0xD9, 0xF9, "fyl2xp1");
    }

    private static Unpacked Rounded(ref FloatContext f, in Unpacked exact) =>
        FloatMath.Round(ref f, exact, ExtendedFormat.Precision, ExtendedFormat.Largest);

    private static bool IsOutside(in Unpacked a) => a.Class == FloatClass.Normal && a.Exponent >= 63;

    // One or two results of one argument: the first replaces ST0, the second is pushed.
    private interface IAngle
    {
        static abstract bool HasSecond { get; }

        static abstract Unpacked First(ref FloatContext f, in Unpacked x, Wide sine, Wide cosine);

        static abstract Unpacked Second(ref FloatContext f, in Unpacked x, Wide sine, Wide cosine);
    }

    private static void OfAngle<TAngle>(CpuState* c)
        where TAngle : struct, IAngle
    {
        bool isEmpty = X87Unit.IsEmpty(c, 0);
        if (isEmpty || (TAngle.HasSecond && !X87Unit.IsEmpty(c, 7)))
        {
            c->X87Status &= unchecked((ushort)~X87Unit.C2);
            if (!X87Unit.StackError(c, isOverflow: !isEmpty))
                return;
            X87Unit.Set(c, 0, Unpacked.Invalid);
            if (TAngle.HasSecond)
            {
                X87Unit.Descend(c);
                X87Unit.Set(c, 0, Unpacked.Invalid);
            }

            return;
        }

        Unpacked x = X87Unit.Get(c, 0);
        if (IsOutside(x))
        {
            X87Unit.Complete(c, 0, false);
            c->X87Status |= X87Unit.C2;
            return;
        }

        FloatContext f = X87Unit.Context(c);
        Unpacked second = default;
        if (X87Unit.TryPropagate(ref f, x, x, out Unpacked first))
        {
            second = first;
        }
        else if (x.Class == FloatClass.Infinity)
        {
            f.Flags |= FloatFlags.Invalid;
            first = second = Unpacked.Invalid;
        }
        else
        {
            if (x.IsDenormal)
                f.Flags |= FloatFlags.Denormal;
            if (X87Unit.Proceeds(f))
            {
                Transcendental.SineCosine(x, out Wide sine, out Wide cosine);
                if (TAngle.HasSecond)
                    second = TAngle.Second(ref f, x, sine, cosine);
                first = TAngle.First(ref f, x, sine, cosine);
            }
        }

        c->X87Status &= unchecked((ushort)~X87Unit.C2);
        X87Unit.Complete(c, f);
        if (!X87Unit.Proceeds(f))
            return;
        X87Unit.Set(c, 0, first);
        if (TAngle.HasSecond)
        {
            X87Unit.Descend(c);
            X87Unit.Set(c, 0, second);
        }
    }

    // Zero is exact: its sine and tangent are zero, its cosine is one.
    private static Unpacked OddResult(ref FloatContext f, in Unpacked x, Wide value) =>
        x.Class == FloatClass.Zero ? x : Rounded(ref f, value.ToInexact());

    private static Unpacked EvenResult(ref FloatContext f, in Unpacked x, Wide value) =>
        x.Class == FloatClass.Zero ? Unpacked.FromInteger(1) : Rounded(ref f, value.ToInexact());

    private readonly struct Sine : IX87, IAngle
    {
        public static bool HasSecond => false;

        public static void Run(CpuState* c, Op* o) => OfAngle<Sine>(c);

        public static Unpacked First(ref FloatContext f, in Unpacked x, Wide sine, Wide cosine) => OddResult(ref f, x, sine);

        public static Unpacked Second(ref FloatContext f, in Unpacked x, Wide sine, Wide cosine) => default;
    }

    private readonly struct Cosine : IX87, IAngle
    {
        public static bool HasSecond => false;

        public static void Run(CpuState* c, Op* o) => OfAngle<Cosine>(c);

        public static Unpacked First(ref FloatContext f, in Unpacked x, Wide sine, Wide cosine) => EvenResult(ref f, x, cosine);

        public static Unpacked Second(ref FloatContext f, in Unpacked x, Wide sine, Wide cosine) => default;
    }

    private readonly struct SineCosine : IX87, IAngle
    {
        public static bool HasSecond => true;

        public static void Run(CpuState* c, Op* o) => OfAngle<SineCosine>(c);

        public static Unpacked First(ref FloatContext f, in Unpacked x, Wide sine, Wide cosine) => OddResult(ref f, x, sine);

        public static Unpacked Second(ref FloatContext f, in Unpacked x, Wide sine, Wide cosine) => EvenResult(ref f, x, cosine);
    }

    private readonly struct Tangent : IX87, IAngle
    {
        public static bool HasSecond => true;

        public static void Run(CpuState* c, Op* o) => OfAngle<Tangent>(c);

        public static Unpacked First(ref FloatContext f, in Unpacked x, Wide sine, Wide cosine) =>
            x.Class == FloatClass.Zero ? x : Rounded(ref f, (sine / cosine).ToInexact());

        public static Unpacked Second(ref FloatContext f, in Unpacked x, Wide sine, Wide cosine) => Unpacked.FromInteger(1);
    }

    // A function of ST1 and ST0 whose result replaces ST1, ST0 being popped.
    private interface IOfTwo
    {
        /// <summary>The exact result; invalid operations come out as such.</summary>
        static abstract Unpacked Compute(ref FloatContext f, in Unpacked y, in Unpacked x);
    }

    private static void OfTwo<TFunction>(CpuState* c)
        where TFunction : struct, IOfTwo
    {
        if (X87Unit.IsEmpty(c, 0) || X87Unit.IsEmpty(c, 1))
        {
            if (X87Unit.StackError(c, isOverflow: false))
            {
                X87Unit.Set(c, 1, Unpacked.Invalid);
                X87Unit.Pop(c);
            }

            return;
        }

        Unpacked y = X87Unit.Get(c, 1), x = X87Unit.Get(c, 0);
        FloatContext f = X87Unit.Context(c);
        if (!X87Unit.TryPropagate(ref f, y, x, out Unpacked result))
        {
            result = TFunction.Compute(ref f, y, x);
            if (result.Class == FloatClass.Invalid)
                f.Flags |= FloatFlags.Invalid;
            else if ((y.IsDenormal || x.IsDenormal) && (f.Flags & FloatFlags.ZeroDivide) == 0)
                f.Flags |= FloatFlags.Denormal;
            if (X87Unit.Proceeds(f))
                result = Rounded(ref f, result);
        }

        X87Unit.Complete(c, f);
        if (!X87Unit.Proceeds(f))
            return;
        X87Unit.Set(c, 1, result);
        X87Unit.Pop(c);
    }

    private static Unpacked Signed(Unpacked value, bool sign)
    {
        value.Sign = sign;
        return value;
    }

    private readonly struct ArcTangent : IX87, IOfTwo
    {
        public static void Run(CpuState* c, Op* o) => OfTwo<ArcTangent>(c);

        public static Unpacked Compute(ref FloatContext f, in Unpacked y, in Unpacked x)
        {
            Wide pi = Transcendental.Pi;
            if (y.Class == FloatClass.Infinity)
            {
                Wide angle = x.Class != FloatClass.Infinity ? pi.Scaled(-1) : x.Sign ? pi.Scaled(-2) + pi.Scaled(-1) : pi.Scaled(-2);
                return Signed(angle.ToInexact(), y.Sign);
            }

            if (y.Class == FloatClass.Zero || x.Class == FloatClass.Infinity)
                return x.Sign ? Signed(pi.ToInexact(), y.Sign) : Unpacked.Zero(y.Sign);
            if (x.Class == FloatClass.Zero)
                return Signed(pi.Scaled(-1).ToInexact(), y.Sign);
            return Signed(Transcendental.ArcTangent(y, x).ToInexact(), y.Sign);
        }
    }

    private readonly struct PowerMinusOne : IX87
    {
        public static void Run(CpuState* c, Op* o)
        {
            if (X87Unit.IsEmpty(c, 0))
            {
                if (X87Unit.StackError(c, isOverflow: false))
                    X87Unit.Set(c, 0, Unpacked.Invalid);
                return;
            }

            Unpacked x = X87Unit.Get(c, 0);
            FloatContext f = X87Unit.Context(c);
            if (!X87Unit.TryPropagate(ref f, x, x, out Unpacked result))
            {
                if (x.IsDenormal)
                    f.Flags |= FloatFlags.Denormal;
                if (X87Unit.Proceeds(f))
                    result = Compute(ref f, x);
            }

            X87Unit.Complete(c, f);
            if (X87Unit.Proceeds(f))
                X87Unit.Set(c, 0, result);
        }

        private static Unpacked Compute(ref FloatContext f, in Unpacked x)
        {
            if (x.Class == FloatClass.Zero)
                return x;
            bool isOne = x.Class == FloatClass.Normal && x.Exponent == 0 && x.Significand == Unpacked.TopBit;
            if (x.Class == FloatClass.Infinity)
                return x.Sign ? Unpacked.FromInteger(-1) : x;
            if (isOne)
                return x.Sign ? new Unpacked { Class = FloatClass.Normal, Sign = true, Exponent = -1, Significand = Unpacked.TopBit } : x;
            return x.Exponent >= 0 ? x : Rounded(ref f, Transcendental.PowerMinusOne(x).ToInexact()); // outside -1 to 1: undefined
        }
    }

    // y times a logarithm. Exact logarithms (powers of two) give exact products, yet processors report them as inexact.
    private static Unpacked Product(ref FloatContext f, in Unpacked y, Wide logarithm)
    {
        f.Flags |= FloatFlags.Inexact;
        bool isShort = (ulong)logarithm.Significand == 0;
        if (!isShort)
            return (Wide.From(y) * logarithm).ToInexact();
        Unpacked factor = Unpacked.FromWide(logarithm.Sign, logarithm.Exponent, logarithm.Significand);
        Unpacked product = FloatMath.Multiply(y, factor);
        if (product.Exponent < 1 - ExtendedFormat.Largest)
            product.Rest |= 1; // so a tiny one is an underflow
        return product;
    }

    private readonly struct Logarithm : IX87, IOfTwo
    {
        public static void Run(CpuState* c, Op* o) => OfTwo<Logarithm>(c);

        public static Unpacked Compute(ref FloatContext f, in Unpacked y, in Unpacked x)
        {
            if (x.Class == FloatClass.Zero)
            {
                if (y.Class == FloatClass.Zero)
                    return Unpacked.Invalid;
                if (y.Class != FloatClass.Infinity)
                    f.Flags |= FloatFlags.ZeroDivide;
                return Unpacked.Infinity(!y.Sign);
            }

            if (x.Sign)
                return Unpacked.Invalid;
            if (x.Class == FloatClass.Infinity)
                return y.Class == FloatClass.Zero ? Unpacked.Invalid : Unpacked.Infinity(y.Sign);
            bool isOne = x.Exponent == 0 && x.Significand == Unpacked.TopBit, isBelow = x.Exponent < 0;
            if (y.Class == FloatClass.Infinity)
                return isOne ? Unpacked.Invalid : Unpacked.Infinity(y.Sign != isBelow);
            if (y.Class == FloatClass.Zero || isOne)
                return Unpacked.Zero(y.Sign != isBelow);
            return Product(ref f, y, Transcendental.Log2(Wide.From(x)));
        }
    }

    private readonly struct LogarithmOf1Plus : IX87, IOfTwo
    {
        public static void Run(CpuState* c, Op* o) => OfTwo<LogarithmOf1Plus>(c);

        public static Unpacked Compute(ref FloatContext f, in Unpacked y, in Unpacked x)
        {
            if (x.Class == FloatClass.Zero)
                return y.Class == FloatClass.Infinity ? Unpacked.Invalid : Unpacked.Zero(x.Sign != y.Sign);
            if (x.Class == FloatClass.Infinity)
                return x.Sign || y.Class == FloatClass.Zero ? Unpacked.Invalid : Unpacked.Infinity(y.Sign);
            if (y.Class == FloatClass.Infinity)
                return Unpacked.Infinity(x.Sign != y.Sign);
            if (y.Class == FloatClass.Zero)
                return Unpacked.Zero(x.Sign != y.Sign);
            if (x.Sign && x.Exponent >= 0)
                return Unpacked.Invalid; // at or below -1: outside the documented range
            return (Wide.From(y) * Transcendental.Log2Of1Plus(Wide.From(x))).ToInexact();
        }
    }
}
