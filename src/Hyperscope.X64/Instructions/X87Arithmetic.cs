using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;
using Hyperscope.X64.FloatingPoint;

namespace Hyperscope.X64.Instructions;

/// <summary>FADD, FMUL, FSUB, FSUBR, FDIV, FDIVR, FCOM, FUCOM, FCOMI, FTST, FXAM, FSQRT, FABS, FCHS, FRNDINT, FSCALE, FXTRACT, FPREM.</summary>
internal static unsafe class X87Arithmetic
{
    public static void Register(OpcodeMap map)
    {
        AddBinary<Add>(map, 0, 0, "fadd");
        AddBinary<Multiply>(map, 1, 1, "fmul");
        AddBinary<Subtract>(map, 4, 5, "fsub");
        AddBinary<Reversed<Subtract>>(map, 5, 4, "fsubr");
        AddBinary<Divide>(map, 6, 7, "fdiv");
        AddBinary<Reversed<Divide>>(map, 7, 6, "fdivr");
        AddCompare<NoPop>(map, 2, "fcom");
        AddCompare<OnePop>(map, 3, "fcomp");
        X87Handlers.AddRegisters<CompareRegister<Signaling, NoPop>>(map, 0xDC, 2, "fcom");
        X87Handlers.AddRegisters<CompareRegister<Signaling, OnePop>>(map, 0xDC, 3, "fcomp");
        X87Handlers.AddRegisters<CompareRegister<Signaling, OnePop>>(map, 0xDE, 2, "fcomp");
        X87Handlers.AddOne<CompareRegister<Signaling, TwoPops>>(map, 0xDE, 0xD9, "fcompp");
        X87Handlers.AddRegisters<CompareRegister<Quiet, NoPop>>(map, 0xDD, 4, "fucom");
        X87Handlers.AddRegisters<CompareRegister<Quiet, OnePop>>(map, 0xDD, 5, "fucomp");
        X87Handlers.AddOne<CompareRegister<Quiet, TwoPops>>(map, 0xDA, 0xE9, "fucompp");
        X87Handlers.AddRegisters<CompareToFlags<Signaling, NoPop>>(map, 0xDB, 6, "fcomi", Rflags.Arithmetic);
        X87Handlers.AddRegisters<CompareToFlags<Quiet, NoPop>>(map, 0xDB, 5, "fucomi", Rflags.Arithmetic);
        X87Handlers.AddRegisters<CompareToFlags<Signaling, OnePop>>(map, 0xDF, 6, "fcomip", Rflags.Arithmetic);
        X87Handlers.AddRegisters<CompareToFlags<Quiet, OnePop>>(map, 0xDF, 5, "fucomip", Rflags.Arithmetic);
        X87Handlers.AddOne<Test>(map, 0xD9, 0xE4, "ftst");
        X87Handlers.AddOne<Examine>(map, 0xD9, 0xE5, "fxam");
        X87Handlers.AddOne<ChangeSign>(map, 0xD9, 0xE0, "fchs");
        X87Handlers.AddOne<Absolute>(map, 0xD9, 0xE1, "fabs");
        X87Handlers.AddOne<Root>(map, 0xD9, 0xFA, "fsqrt");
        X87Handlers.AddOne<RoundToInteger>(map, 0xD9, 0xFC, "frndint");
        X87Handlers.AddOne<Scale>(map, 0xD9, 0xFD, "fscale");
        X87Handlers.AddOne<Extract>(map, 0xD9, 0xF4, "fxtract");
        X87Handlers.AddOne<Remainder<Truncated>>(map, 0xD9, 0xF8, "fprem");
        X87Handlers.AddOne<Remainder<ToNearest>>(map, 0xD9, 0xF5, "fprem1");
    }

    private static void AddBinary<TOp>(OpcodeMap map, int reg, int reversedReg, string name)
        where TOp : struct, IFloatCompute
    {
        X87Handlers.AddMemory<WithMemory<TOp, FromSingle>>(map, 0xD8, reg, name);
        X87Handlers.AddMemory<WithMemory<TOp, FromDouble>>(map, 0xDC, reg, name);
        X87Handlers.AddMemory<WithMemory<TOp, FromInt32>>(map, 0xDA, reg, "fi" + name[1..]);
        X87Handlers.AddMemory<WithMemory<TOp, FromInt16>>(map, 0xDE, reg, "fi" + name[1..]);
        X87Handlers.AddRegisters<ToTop<TOp>>(map, 0xD8, reg, name);
        X87Handlers.AddRegisters<ToOther<TOp, NoPop>>(map, 0xDC, reversedReg, name);
        X87Handlers.AddRegisters<ToOther<TOp, OnePop>>(map, 0xDE, reversedReg, name + "p");
    }

    private static void AddCompare<TPops>(OpcodeMap map, int reg, string name)
        where TPops : struct, IPops
    {
        X87Handlers.AddMemory<CompareMemory<FromSingle, TPops>>(map, 0xD8, reg, name);
        X87Handlers.AddMemory<CompareMemory<FromDouble, TPops>>(map, 0xDC, reg, name);
        X87Handlers.AddMemory<CompareMemory<FromInt32, TPops>>(map, 0xDA, reg, "fi" + name[1..]);
        X87Handlers.AddMemory<CompareMemory<FromInt16, TPops>>(map, 0xDE, reg, "fi" + name[1..]);
        X87Handlers.AddRegisters<CompareRegister<Signaling, TPops>>(map, 0xD8, reg, name);
    }

    internal interface IPops
    {
        static abstract int Count { get; }
    }

    internal readonly struct NoPop : IPops { public static int Count => 0; }

    internal readonly struct OnePop : IPops { public static int Count => 1; }

    internal readonly struct TwoPops : IPops { public static int Count => 2; }

    /// <summary>A number in memory.</summary>
    internal interface IMemoryNumber
    {
        static abstract int Size { get; }

        static abstract bool TryRead(CpuState* c, Op* o, ulong linear, out Unpacked value);
    }

    internal readonly struct FromSingle : IMemoryNumber
    {
        public static int Size => 4;

        public static bool TryRead(CpuState* c, Op* o, ulong linear, out Unpacked value)
        {
            uint* source = Mem.ReadLinear<uint>(c, o, linear);
            value = source == null ? default : FloatFormat.Unpack<SingleFormat>(*source);
            return source != null;
        }
    }

    internal readonly struct FromDouble : IMemoryNumber
    {
        public static int Size => 8;

        public static bool TryRead(CpuState* c, Op* o, ulong linear, out Unpacked value)
        {
            ulong* source = Mem.ReadLinear<ulong>(c, o, linear);
            value = source == null ? default : FloatFormat.Unpack<DoubleFormat>(*source);
            return source != null;
        }
    }

    internal readonly struct FromInt16 : IMemoryNumber
    {
        public static int Size => 2;

        public static bool TryRead(CpuState* c, Op* o, ulong linear, out Unpacked value)
        {
            short* source = Mem.ReadLinear<short>(c, o, linear);
            value = source == null ? default : Unpacked.FromInteger(*source);
            return source != null;
        }
    }

    internal readonly struct FromInt32 : IMemoryNumber
    {
        public static int Size => 4;

        public static bool TryRead(CpuState* c, Op* o, ulong linear, out Unpacked value)
        {
            int* source = Mem.ReadLinear<int>(c, o, linear);
            value = source == null ? default : Unpacked.FromInteger(*source);
            return source != null;
        }
    }

    internal readonly struct FromInt64 : IMemoryNumber
    {
        public static int Size => 8;

        public static bool TryRead(CpuState* c, Op* o, ulong linear, out Unpacked value)
        {
            long* source = Mem.ReadLinear<long>(c, o, linear);
            value = source == null ? default : Unpacked.FromInteger(*source);
            return source != null;
        }
    }

    private readonly struct Add : IFloatCompute
    {
        public static Unpacked Compute(ref FloatContext f, in Unpacked a, in Unpacked b) => FloatMath.Add(ref f, a, b);
    }

    private readonly struct Subtract : IFloatCompute
    {
        public static Unpacked Compute(ref FloatContext f, in Unpacked a, in Unpacked b) => FloatMath.Subtract(ref f, a, b);
    }

    private readonly struct Multiply : IFloatCompute
    {
        public static Unpacked Compute(ref FloatContext f, in Unpacked a, in Unpacked b) => FloatMath.Multiply(a, b);
    }

    private readonly struct Divide : IFloatCompute
    {
        public static Unpacked Compute(ref FloatContext f, in Unpacked a, in Unpacked b) => FloatMath.Divide(ref f, a, b);
    }

    private readonly struct Reversed<TOp> : IFloatCompute
        where TOp : struct, IFloatCompute
    {
        public static Unpacked Compute(ref FloatContext f, in Unpacked a, in Unpacked b) => TOp.Compute(ref f, b, a);
    }

    private readonly struct SquareRoot : IFloatCompute
    {
        public static Unpacked Compute(ref FloatContext f, in Unpacked a, in Unpacked b) => FloatMath.SquareRoot(a);
    }

    /// <summary>The flow of an arithmetic instruction whose operands are there: NaNs, operation, denormals, rounding, store, pops.</summary>
    private static void Calculate<TOp>(CpuState* c, in Unpacked a, in Unpacked b, int target, int pops)
        where TOp : struct, IFloatCompute
    {
        FloatContext f = X87Unit.Context(c);
        if (!X87Unit.TryPropagate(ref f, a, b, out Unpacked result))
        {
            result = TOp.Compute(ref f, a, b);
            if (result.Class == FloatClass.Invalid)
            {
                f.Flags |= FloatFlags.Invalid;
            }
            else
            {
                if ((a.IsDenormal || b.IsDenormal) && (f.Flags & FloatFlags.ZeroDivide) == 0)
                    f.Flags |= FloatFlags.Denormal;
                if (X87Unit.Proceeds(f))
                    result = FloatMath.Round(ref f, result, X87Unit.Precision(c), ExtendedFormat.Largest);
            }
        }

        X87Unit.Complete(c, f);
        if (!X87Unit.Proceeds(f))
            return;
        X87Unit.Set(c, target, result);
        PopAll(c, pops);
    }

    private static void PopAll(CpuState* c, int pops)
    {
        for (; pops > 0; pops--)
            X87Unit.Pop(c);
    }

    /// <summary>Checks that registers are there; otherwise the default NaN goes to <paramref name="target"/> if that is masked.</summary>
    private static bool HasOperands(CpuState* c, int first, int second, int target, int pops)
    {
        if (!X87Unit.IsEmpty(c, first) && !X87Unit.IsEmpty(c, second))
            return true;
        if (X87Unit.StackError(c, isOverflow: false))
        {
            X87Unit.Set(c, target, Unpacked.Invalid);
            PopAll(c, pops);
        }

        return false;
    }

    private readonly struct WithMemory<TOp, TNumber> : IX87Memory
        where TOp : struct, IFloatCompute
        where TNumber : struct, IMemoryNumber
    {
        public static int Size => TNumber.Size;

        public static bool IsStore => false;

        public static bool Run(CpuState* c, Op* o, ulong linear)
        {
            if (!TNumber.TryRead(c, o, linear, out Unpacked value))
                return false;
            if (HasOperands(c, 0, 0, 0, 0))
                Calculate<TOp>(c, X87Unit.Get(c, 0), value, 0, 0);
            return true;
        }
    }

    private readonly struct ToTop<TOp> : IX87
        where TOp : struct, IFloatCompute
    {
        public static void Run(CpuState* c, Op* o)
        {
            int index = X87Handlers.Index(o);
            if (HasOperands(c, 0, index, 0, 0))
                Calculate<TOp>(c, X87Unit.Get(c, 0), X87Unit.Get(c, index), 0, 0);
        }
    }

    private readonly struct ToOther<TOp, TPops> : IX87
        where TOp : struct, IFloatCompute
        where TPops : struct, IPops
    {
        public static void Run(CpuState* c, Op* o)
        {
            int index = X87Handlers.Index(o);
            if (HasOperands(c, 0, index, index, TPops.Count))
                Calculate<TOp>(c, X87Unit.Get(c, index), X87Unit.Get(c, 0), index, TPops.Count);
        }
    }

    internal interface INaNRule
    {
        static abstract bool IsSignaling { get; }
    }

    internal readonly struct Quiet : INaNRule { public static bool IsSignaling => false; }

    internal readonly struct Signaling : INaNRule { public static bool IsSignaling => true; }

    // C0 less, C3 equal, all three unordered.
    private static ushort Order(ref FloatContext f, in Unpacked a, in Unpacked b, bool isSignaling)
    {
        bool isUnsupported = a.Class == FloatClass.Invalid || b.Class == FloatClass.Invalid;
        if (a.IsNaN || b.IsNaN || isUnsupported)
        {
            if (isSignaling || isUnsupported || a.Class == FloatClass.SignalingNaN || b.Class == FloatClass.SignalingNaN)
                f.Flags |= FloatFlags.Invalid;
            return X87Unit.C0 | X87Unit.C2 | X87Unit.C3;
        }

        if (a.IsDenormal || b.IsDenormal)
            f.Flags |= FloatFlags.Denormal;
        int order = FloatMath.Compare(a, b);
        return order < 0 ? X87Unit.C0 : order == 0 ? X87Unit.C3 : (ushort)0;
    }

    private static void CompareNumbers(CpuState* c, in Unpacked a, in Unpacked b, bool isSignaling, int pops)
    {
        FloatContext f = X87Unit.Context(c);
        ushort order = Order(ref f, a, b, isSignaling);
        X87Unit.SetConditions(c, order); // even where an unmasked exception keeps the pops away
        X87Unit.Complete(c, f);
        if (X87Unit.Proceeds(f))
            PopAll(c, pops);
    }

    private static bool HasComparands(CpuState* c, int first, int second, int pops)
    {
        if (!X87Unit.IsEmpty(c, first) && !X87Unit.IsEmpty(c, second))
            return true;
        X87Unit.SetConditions(c, X87Unit.C0 | X87Unit.C2 | X87Unit.C3);
        if (X87Unit.StackError(c, isOverflow: false))
            PopAll(c, pops);
        return false;
    }

    private readonly struct CompareMemory<TNumber, TPops> : IX87Memory
        where TNumber : struct, IMemoryNumber
        where TPops : struct, IPops
    {
        public static int Size => TNumber.Size;

        public static bool IsStore => false;

        public static bool Run(CpuState* c, Op* o, ulong linear)
        {
            if (!TNumber.TryRead(c, o, linear, out Unpacked value))
                return false;
            if (HasComparands(c, 0, 0, TPops.Count))
                CompareNumbers(c, X87Unit.Get(c, 0), value, isSignaling: true, TPops.Count);
            return true;
        }
    }

    private readonly struct CompareRegister<TRule, TPops> : IX87
        where TRule : struct, INaNRule
        where TPops : struct, IPops
    {
        public static void Run(CpuState* c, Op* o)
        {
            int index = TPops.Count == 2 ? 1 : X87Handlers.Index(o);
            if (HasComparands(c, 0, index, TPops.Count))
                CompareNumbers(c, X87Unit.Get(c, 0), X87Unit.Get(c, index), TRule.IsSignaling, TPops.Count);
        }
    }

    private readonly struct CompareToFlags<TRule, TPops> : IX87
        where TRule : struct, INaNRule
        where TPops : struct, IPops
    {
        public static void Run(CpuState* c, Op* o)
        {
            const ulong Unordered = Rflags.Zf | Rflags.Pf | Rflags.Cf;
            int index = X87Handlers.Index(o);
            if (X87Unit.IsEmpty(c, 0) || X87Unit.IsEmpty(c, index))
            {
                Flags.Load(c, Unordered);
                if (X87Unit.StackError(c, isOverflow: false))
                    PopAll(c, TPops.Count);
                return;
            }

            FloatContext f = X87Unit.Context(c);
            ushort order = Order(ref f, X87Unit.Get(c, 0), X87Unit.Get(c, index), TRule.IsSignaling);
            X87Unit.Complete(c, f.Flags, (c->X87Status & X87Unit.C1) != 0);
            Flags.Load(c, order switch { X87Unit.C0 => Rflags.Cf, X87Unit.C3 => Rflags.Zf, 0 => 0, _ => Unordered });
            if (X87Unit.Proceeds(f))
                PopAll(c, TPops.Count);
        }
    }

    private readonly struct Test : IX87
    {
        public static void Run(CpuState* c, Op* o)
        {
            if (HasComparands(c, 0, 0, 0))
                CompareNumbers(c, X87Unit.Get(c, 0), Unpacked.Zero(false), isSignaling: true, 0);
        }
    }

    private readonly struct Examine : IX87
    {
        public static void Run(CpuState* c, Op* o)
        {
            Unpacked a = X87Unit.Get(c, 0);
            bool isEmpty = X87Unit.IsEmpty(c, 0);
            int kind = isEmpty ? X87Unit.C3 | X87Unit.C0 : a.Class switch
            {
                FloatClass.Invalid => 0,
                FloatClass.Zero => X87Unit.C3,
                FloatClass.Infinity => X87Unit.C2 | X87Unit.C0,
                FloatClass.Normal => a.IsDenormal ? X87Unit.C3 | X87Unit.C2 : X87Unit.C2,
                _ => X87Unit.C0,
            };
            bool sign = (c->X87[(X87Unit.Physical(c, 0) * 2) + 1] & 0x8000) != 0;
            X87Unit.SetConditions(c, (ushort)(kind | (sign ? X87Unit.C1 : 0)));
        }
    }

    private static void FlipSign(CpuState* c, ulong and, ulong xor)
    {
        if (!HasOperands(c, 0, 0, 0, 0))
            return;
        ulong* signExponent = &c->X87[(X87Unit.Physical(c, 0) * 2) + 1];
        *signExponent = (*signExponent & and) ^ xor;
        X87Unit.Complete(c, 0, false);
    }

    private readonly struct ChangeSign : IX87 { public static void Run(CpuState* c, Op* o) => FlipSign(c, 0xFFFF, 0x8000); }

    private readonly struct Absolute : IX87 { public static void Run(CpuState* c, Op* o) => FlipSign(c, 0x7FFF, 0); }

    private readonly struct Root : IX87
    {
        public static void Run(CpuState* c, Op* o)
        {
            if (!HasOperands(c, 0, 0, 0, 0))
                return;
            Unpacked a = X87Unit.Get(c, 0);
            Calculate<SquareRoot>(c, a, a, 0, 0);
        }
    }

    private readonly struct RoundToInteger : IX87
    {
        public static void Run(CpuState* c, Op* o)
        {
            if (!HasOperands(c, 0, 0, 0, 0))
                return;
            Unpacked a = X87Unit.Get(c, 0);
            FloatContext f = X87Unit.Context(c);
            if (!X87Unit.TryPropagate(ref f, a, a, out Unpacked result))
            {
                if (a.IsDenormal)
                    f.Flags |= FloatFlags.Denormal;
                if (a.Class == FloatClass.Normal && a.Exponent < 63 && X87Unit.Proceeds(f))
                {
                    ulong whole = FloatMath.ToInteger(a, f.Rounding, out bool isInexact, out _, out f.RoundedUp);
                    if (isInexact)
                        f.Flags |= FloatFlags.Inexact;
                    result = Unpacked.FromWide(a.Sign, 127, whole);
                }
            }

            X87Unit.Complete(c, f);
            if (X87Unit.Proceeds(f))
                X87Unit.Set(c, 0, result);
        }
    }

    // ST0 times two to the power of ST1, which is truncated to an integer.
    private readonly struct Scale : IX87
    {
        public static void Run(CpuState* c, Op* o)
        {
            if (!HasOperands(c, 0, 1, 0, 0))
                return;
            Unpacked a = X87Unit.Get(c, 0), b = X87Unit.Get(c, 1);
            FloatContext f = X87Unit.Context(c);
            if (!X87Unit.TryPropagate(ref f, a, b, out Unpacked result))
            {
                result = Scaled(a, b);
                if (result.Class == FloatClass.Invalid)
                    f.Flags |= FloatFlags.Invalid;
                else if (a.IsDenormal || b.IsDenormal)
                    f.Flags |= FloatFlags.Denormal;
                if (X87Unit.Proceeds(f))
                    result = FloatMath.Round(ref f, result, ExtendedFormat.Precision, ExtendedFormat.Largest);
            }

            X87Unit.Complete(c, f);
            if (X87Unit.Proceeds(f))
                X87Unit.Set(c, 0, result);
        }

        private static Unpacked Scaled(in Unpacked a, in Unpacked b)
        {
            const int Limit = 0x1_0000; // more than any exponent can be moved
            if (b.Class == FloatClass.Infinity)
            {
                if (!b.Sign)
                    return a.Class == FloatClass.Zero ? Unpacked.Invalid : Unpacked.Infinity(a.Sign);
                return a.Class == FloatClass.Infinity ? Unpacked.Invalid : Unpacked.Zero(a.Sign);
            }

            if (a.Class != FloatClass.Normal || b.Class != FloatClass.Normal)
                return a;
            ulong whole = FloatMath.ToInteger(b, Rounding.Zero, out _, out bool isTooLarge, out _);
            int amount = isTooLarge || whole > Limit ? Limit : (int)whole;
            Unpacked scaled = a;
            scaled.Exponent += b.Sign ? -amount : amount;
            return scaled;
        }
    }

    // The exponent replaces ST0, the significand is pushed.
    private readonly struct Extract : IX87
    {
        public static void Run(CpuState* c, Op* o)
        {
            bool isFull = !X87Unit.IsEmpty(c, 7);
            if (X87Unit.IsEmpty(c, 0) || isFull)
            {
                if (X87Unit.StackError(c, isOverflow: !X87Unit.IsEmpty(c, 0)))
                {
                    X87Unit.Set(c, 0, Unpacked.Invalid);
                    X87Unit.Descend(c);
                    X87Unit.Set(c, 0, Unpacked.Invalid);
                }

                return;
            }

            Unpacked a = X87Unit.Get(c, 0);
            FloatContext f = X87Unit.Context(c);
            Unpacked exponent;
            if (X87Unit.TryPropagate(ref f, a, a, out Unpacked significand))
            {
                exponent = significand;
            }
            else if (a.Class == FloatClass.Zero)
            {
                f.Flags |= FloatFlags.ZeroDivide;
                exponent = Unpacked.Infinity(true);
            }
            else if (a.Class == FloatClass.Infinity)
            {
                exponent = Unpacked.Infinity(false);
            }
            else
            {
                if (a.IsDenormal)
                    f.Flags |= FloatFlags.Denormal;
                exponent = Unpacked.FromInteger(a.Exponent);
                significand.Exponent = 0;
            }

            X87Unit.Complete(c, f);
            if (!X87Unit.Proceeds(f))
                return;
            X87Unit.Set(c, 0, exponent);
            X87Unit.Descend(c);
            X87Unit.Set(c, 0, significand);
        }
    }

    private interface IQuotient
    {
        static abstract bool IsNearest { get; }
    }

    private readonly struct Truncated : IQuotient { public static bool IsNearest => false; }

    private readonly struct ToNearest : IQuotient { public static bool IsNearest => true; }

    // FPREM and FPREM1: the remainder, or for exponents 64 or more apart a step towards it with C2 set.
    private readonly struct Remainder<TQuotient> : IX87
        where TQuotient : struct, IQuotient
    {
        public static void Run(CpuState* c, Op* o)
        {
            c->X87Status &= unchecked((ushort)~X87Unit.C2);
            if (!HasOperands(c, 0, 1, 0, 0))
                return;
            Unpacked a = X87Unit.Get(c, 0), b = X87Unit.Get(c, 1);
            FloatContext f = X87Unit.Context(c);
            ushort conditions = 0, written = X87Unit.C2;
            if (!X87Unit.TryPropagate(ref f, a, b, out Unpacked result))
            {
                if (a.Class == FloatClass.Infinity || b.Class == FloatClass.Zero)
                {
                    f.Flags |= FloatFlags.Invalid;
                    result = Unpacked.Invalid;
                }
                else
                {
                    if (a.IsDenormal || b.IsDenormal)
                        f.Flags |= FloatFlags.Denormal;
                    if (X87Unit.Proceeds(f))
                    {
                        written = X87Unit.Conditions;
                        if (a.Class == FloatClass.Normal && b.Class == FloatClass.Normal)
                            result = Reduce(a, b, out conditions);
                        result = FloatMath.Round(ref f, result, ExtendedFormat.Precision, ExtendedFormat.Largest);
                    }
                }
            }

            c->X87Status &= (ushort)~written;
            X87Unit.Complete(c, f);
            if (!X87Unit.Proceeds(f))
                return;
            c->X87Status |= conditions;
            X87Unit.Set(c, 0, result);
        }

        private static Unpacked Reduce(in Unpacked a, in Unpacked b, out ushort conditions)
        {
            conditions = 0;
            int difference = a.Exponent - b.Exponent;
            if (difference < -1 || (difference < 0 && !TQuotient.IsNearest))
                return a;
            if (difference >= 64)
            {
                // The processor's step: 32 to 63 bits of the quotient.
                int step = 32 + (difference & 31);
                UInt128 partial = Divided(a.Significand, b.Significand, step, out _);
                conditions = X87Unit.C2;
                return partial == UInt128.Zero ? Unpacked.Zero(a.Sign) : Unpacked.FromWide(a.Sign, b.Exponent + difference - step, partial << 64);
            }

            ulong quotient = 0;
            UInt128 remainder;
            bool sign = a.Sign;
            int exponent = b.Exponent;
            if (difference == -1)
            {
                // Less than one divisor: a counts in halves of b's unit.
                remainder = a.Significand;
                if (remainder > b.Significand)
                {
                    remainder = ((UInt128)b.Significand << 1) - remainder;
                    quotient = 1;
                    sign = !sign;
                }

                exponent--;
            }
            else
            {
                remainder = Divided(a.Significand, b.Significand, difference, out quotient);
                if (TQuotient.IsNearest)
                {
                    UInt128 twice = remainder << 1;
                    if (twice > b.Significand || (twice == b.Significand && (quotient & 1) != 0))
                    {
                        remainder = b.Significand - remainder;
                        quotient++;
                        sign = !sign;
                    }
                }
            }

            conditions = (ushort)(((quotient & 4) != 0 ? X87Unit.C0 : 0) | ((quotient & 2) != 0 ? X87Unit.C3 : 0) | ((quotient & 1) != 0 ? X87Unit.C1 : 0));
            return remainder == UInt128.Zero ? Unpacked.Zero(a.Sign) : Unpacked.FromWide(sign, exponent, remainder << 64);
        }

        // Long division of dividend * 2^shift; the quotient's low 64 bits.
        private static UInt128 Divided(ulong dividend, ulong divisor, int shift, out ulong quotient)
        {
            UInt128 remainder = dividend;
            quotient = 0;
            for (int bit = shift; ; bit--)
            {
                quotient <<= 1;
                if (remainder >= divisor)
                {
                    remainder -= divisor;
                    quotient |= 1;
                }

                if (bit == 0)
                    return remainder;
                remainder <<= 1;
            }
        }
    }
}
