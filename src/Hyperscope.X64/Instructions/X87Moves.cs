using System.Runtime.InteropServices;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;
using Hyperscope.X64.FloatingPoint;

namespace Hyperscope.X64.Instructions;

/// <summary>FLD, FST, FSTP, FILD, FIST, FISTP, FISTTP, FBLD, FBSTP, constants, FXCH, FCMOVcc.</summary>
internal static unsafe class X87Moves
{
    public static void Register(OpcodeMap map)
    {
        X87Handlers.AddMemory<Load<X87Arithmetic.FromSingle>>(map, 0xD9, 0, "fld");
        X87Handlers.AddMemory<Load<X87Arithmetic.FromDouble>>(map, 0xDD, 0, "fld");
        X87Handlers.AddMemory<LoadExtended>(map, 0xDB, 5, "fld");
        X87Handlers.AddMemory<Load<X87Arithmetic.FromInt16>>(map, 0xDF, 0, "fild");
        X87Handlers.AddMemory<Load<X87Arithmetic.FromInt32>>(map, 0xDB, 0, "fild");
        X87Handlers.AddMemory<Load<X87Arithmetic.FromInt64>>(map, 0xDF, 5, "fild");
        X87Handlers.AddMemory<LoadDecimal>(map, 0xDF, 4, "fbld");
        X87Handlers.AddMemory<StoreFloat<SingleFormat, X87Arithmetic.NoPop>>(map, 0xD9, 2, "fst");
        X87Handlers.AddMemory<StoreFloat<SingleFormat, X87Arithmetic.OnePop>>(map, 0xD9, 3, "fstp");
        X87Handlers.AddMemory<StoreFloat<DoubleFormat, X87Arithmetic.NoPop>>(map, 0xDD, 2, "fst");
        X87Handlers.AddMemory<StoreFloat<DoubleFormat, X87Arithmetic.OnePop>>(map, 0xDD, 3, "fstp");
        X87Handlers.AddMemory<StoreExtended>(map, 0xDB, 7, "fstp");
        X87Handlers.AddMemory<StoreInteger<Bytes2, Rounded, X87Arithmetic.NoPop>>(map, 0xDF, 2, "fist");
        X87Handlers.AddMemory<StoreInteger<Bytes2, Rounded, X87Arithmetic.OnePop>>(map, 0xDF, 3, "fistp");
        X87Handlers.AddMemory<StoreInteger<Bytes4, Rounded, X87Arithmetic.NoPop>>(map, 0xDB, 2, "fist");
        X87Handlers.AddMemory<StoreInteger<Bytes4, Rounded, X87Arithmetic.OnePop>>(map, 0xDB, 3, "fistp");
        X87Handlers.AddMemory<StoreInteger<Bytes8, Rounded, X87Arithmetic.OnePop>>(map, 0xDF, 7, "fistp");
        X87Handlers.AddMemory<StoreInteger<Bytes2, Truncated, X87Arithmetic.OnePop>>(map, 0xDF, 1, "fisttp");
        X87Handlers.AddMemory<StoreInteger<Bytes4, Truncated, X87Arithmetic.OnePop>>(map, 0xDB, 1, "fisttp");
        X87Handlers.AddMemory<StoreInteger<Bytes8, Truncated, X87Arithmetic.OnePop>>(map, 0xDD, 1, "fisttp");
        X87Handlers.AddMemory<StoreDecimal>(map, 0xDF, 6, "fbstp");

        X87Handlers.AddRegisters<Duplicate>(map, 0xD9, 0, "fld");
        X87Handlers.AddRegisters<Copy<X87Arithmetic.NoPop>>(map, 0xDD, 2, "fst");
        X87Handlers.AddRegisters<Copy<X87Arithmetic.OnePop>>(map, 0xDD, 3, "fstp");
        X87Handlers.AddRegisters<CopyUnchecked>(map, 0xD9, 3, "fstpnce");
        X87Handlers.AddRegisters<Copy<X87Arithmetic.OnePop>>(map, 0xDF, 2, "fstp");
        X87Handlers.AddRegisters<Copy<X87Arithmetic.OnePop>>(map, 0xDF, 3, "fstp");
        X87Handlers.AddRegisters<Exchange>(map, 0xD9, 1, "fxch");
        X87Handlers.AddRegisters<Exchange>(map, 0xDD, 1, "fxch");
        X87Handlers.AddRegisters<Exchange>(map, 0xDF, 1, "fxch");
        X87Handlers.AddOne<Constant<One>>(map, 0xD9, 0xE8, "fld1");
        X87Handlers.AddOne<Constant<Log2Of10>>(map, 0xD9, 0xE9, "fldl2t");
        X87Handlers.AddOne<Constant<Log2OfE>>(map, 0xD9, 0xEA, "fldl2e");
        X87Handlers.AddOne<Constant<Pi>>(map, 0xD9, 0xEB, "fldpi");
        X87Handlers.AddOne<Constant<Log10Of2>>(map, 0xD9, 0xEC, "fldlg2");
        X87Handlers.AddOne<Constant<LogEOf2>>(map, 0xD9, 0xED, "fldln2");
        X87Handlers.AddOne<Constant<Zero>>(map, 0xD9, 0xEE, "fldz");

        AddConditional<IfBelow, IfNotBelow>(map, 0, "fcmovb");
        AddConditional<IfZero, IfNotZero>(map, 1, "fcmove");
        AddConditional<IfBelowOrEqual, IfNotBelowOrEqual>(map, 2, "fcmovbe");
        AddConditional<IfParity, IfNotParity>(map, 3, "fcmovu");
    }

    private static void AddConditional<TCondition, TNegated>(OpcodeMap map, int reg, string name)
        where TCondition : struct, ICondition
        where TNegated : struct, ICondition
    {
        X87Handlers.AddRegisters<ConditionalMove<TCondition>>(map, 0xDA, reg, name);
        X87Handlers.AddRegisters<ConditionalMove<TNegated>>(map, 0xDB, reg, name.Replace("fcmov", "fcmovn", StringComparison.Ordinal));
    }

    // Room for one more register; with a full stack the default NaN goes in if that is masked.
    private static bool HasRoom(CpuState* c)
    {
        if (X87Unit.IsEmpty(c, 7))
            return true;
        if (X87Unit.StackError(c, isOverflow: true))
        {
            X87Unit.Descend(c);
            X87Unit.Set(c, 0, Unpacked.Invalid);
        }

        return false;
    }

    private static void Push(CpuState* c, ulong significand, ushort signExponent)
    {
        X87Unit.Complete(c, 0, false);
        X87Unit.Descend(c);
        X87Unit.SetRaw(c, 0, significand, signExponent);
    }

    private readonly struct Load<TNumber> : IX87Memory
        where TNumber : struct, X87Arithmetic.IMemoryNumber
    {
        public static int Size => TNumber.Size;

        public static bool IsStore => false;

        public static bool Run(CpuState* c, Op* o, ulong linear)
        {
            if (!TNumber.TryRead(c, o, linear, out Unpacked value))
                return false;
            if (!HasRoom(c))
                return true;
            FloatContext f = X87Unit.Context(c);
            if (!X87Unit.TryPropagate(ref f, value, value, out _) && value.IsDenormal)
                f.Flags |= FloatFlags.Denormal;
            X87Unit.Complete(c, f);
            if ((f.Flags & FloatFlags.Invalid & ~f.Masks) == 0)
            {
                // An unmasked denormal exception is reported behind the load.
                X87Unit.Descend(c);
                X87Unit.Set(c, 0, value);
            }

            return true;
        }
    }

    [StructLayout(LayoutKind.Sequential, Pack = 1)]
    private struct Ten
    {
        public ulong Significand;
        public ushort SignExponent;
    }

    // Bits pass unchanged: no exception but that of the stack.
    private readonly struct LoadExtended : IX87Memory
    {
        public static int Size => 10;

        public static bool IsStore => false;

        public static bool Run(CpuState* c, Op* o, ulong linear)
        {
            Ten* source = Mem.ReadLinear<Ten>(c, o, linear);
            if (source == null)
                return false;
            Ten value = *source;
            if (HasRoom(c))
                Push(c, value.Significand, value.SignExponent);
            return true;
        }
    }

    private readonly struct LoadDecimal : IX87Memory
    {
        public static int Size => 10;

        public static bool IsStore => false;

        public static bool Run(CpuState* c, Op* o, ulong linear)
        {
            Ten* source = Mem.ReadLinear<Ten>(c, o, linear);
            if (source == null)
                return false;
            Ten value = *source;
            if (!HasRoom(c))
                return true;
            long number = ((value.SignExponent >> 4 & 15) * 10) + (value.SignExponent & 15);
            for (int digit = 15; digit >= 0; digit--)
                number = (number * 10) + (long)(value.Significand >> (digit * 4) & 15);
            Unpacked unpacked = Unpacked.FromInteger(number);
            unpacked.Sign = (value.SignExponent & 0x8000) != 0;
            (ulong significand, ushort signExponent) = ExtendedFormat.Pack(unpacked);
            Push(c, significand, signExponent);
            return true;
        }
    }

    private static bool WriteTen(CpuState* c, Op* o, ulong linear, ulong low, ushort high)
    {
        *(ulong*)c->Staging = low;
        *(ushort*)(c->Staging + 8) = high;
        return Mem.WriteStaged(c, o, linear, 10);
    }

    // The end of a store: flags and the pop, after memory has been written (or must not be).
    private static void FinishStore(CpuState* c, in FloatContext f, bool isStored, int pops)
    {
        X87Unit.Complete(c, f);
        for (; isStored && pops > 0; pops--)
            X87Unit.Pop(c);
    }

    // A store of an empty register: the indefinite value if that is masked. True: go on and store.
    private static FloatContext Source(CpuState* c, out Unpacked value, out bool isEmpty)
    {
        FloatContext f = X87Unit.Context(c);
        f.WrapsExponent = false;
        isEmpty = X87Unit.IsEmpty(c, 0);
        value = isEmpty ? Unpacked.Invalid : X87Unit.Get(c, 0);
        return f;
    }

    private readonly struct StoreFloat<TFormat, TPops> : IX87Memory
        where TFormat : struct, IFloatFormat
        where TPops : struct, X87Arithmetic.IPops
    {
        public static int Size => TFormat.Size;

        public static bool IsStore => true;

        public static bool Run(CpuState* c, Op* o, ulong linear)
        {
            FloatContext f = Source(c, out Unpacked value, out bool isEmpty);
            if (!isEmpty && X87Unit.TryPropagate(ref f, value, value, out Unpacked result))
                value = result;
            else if (isEmpty)
                f.Flags |= FloatFlags.Invalid;
            else
                value = FloatMath.Round(ref f, value, TFormat.Precision, TFormat.Largest);
            bool stores = X87Unit.Stores(f);
            ulong raw = FloatFormat.Pack<TFormat>(value);
            if (stores && !(TFormat.Size == 4 ? Mem.WriteLinear(c, o, linear, (uint)raw) : Mem.WriteLinear(c, o, linear, raw)))
                return false;
            if (!stores && !c->Owner.ProbeWrite(o, linear, TFormat.Size))
                return false;
            if (isEmpty)
                c->X87Status |= X87Unit.StackFault;
            if (!stores)
            {
                f.RoundedUp = false;
                f.Flags &= ~FloatFlags.Inexact;
            }

            FinishStore(c, f, stores, TPops.Count);
            return true;
        }
    }

    private readonly struct StoreExtended : IX87Memory
    {
        public static int Size => 10;

        public static bool IsStore => true;

        public static bool Run(CpuState* c, Op* o, ulong linear)
        {
            int physical = X87Unit.Physical(c, 0);
            FloatContext f = X87Unit.Context(c);
            bool isEmpty = X87Unit.IsEmpty(c, 0);
            (ulong significand, ushort signExponent) = isEmpty
                ? ExtendedFormat.Pack(Unpacked.Invalid) : (c->X87[physical * 2], (ushort)c->X87[(physical * 2) + 1]);
            if (isEmpty)
                f.Flags |= FloatFlags.Invalid;
            bool stores = X87Unit.Stores(f);
            if (!(stores ? WriteTen(c, o, linear, significand, signExponent) : c->Owner.ProbeWrite(o, linear, 10)))
                return false;
            if (isEmpty)
                c->X87Status |= X87Unit.StackFault;
            FinishStore(c, f, stores, 1);
            return true;
        }
    }

    private interface IBytes
    {
        static abstract int Size { get; }
    }

    private readonly struct Bytes2 : IBytes { public static int Size => 2; }

    private readonly struct Bytes4 : IBytes { public static int Size => 4; }

    private readonly struct Bytes8 : IBytes { public static int Size => 8; }

    private interface IMode
    {
        static abstract bool IsTruncating { get; }
    }

    private readonly struct Rounded : IMode { public static bool IsTruncating => false; }

    private readonly struct Truncated : IMode { public static bool IsTruncating => true; }

    private readonly struct StoreInteger<TBytes, TMode, TPops> : IX87Memory
        where TBytes : struct, IBytes
        where TMode : struct, IMode
        where TPops : struct, X87Arithmetic.IPops
    {
        public static int Size => TBytes.Size;

        public static bool IsStore => true;

        public static bool Run(CpuState* c, Op* o, ulong linear)
        {
            FloatContext f = Source(c, out Unpacked value, out bool isEmpty);
            ulong limit = 1UL << ((TBytes.Size * 8) - 1);
            bool isInexact = false, isTooLarge = true;
            ulong magnitude = 0;
            if (value.Class is FloatClass.Zero or FloatClass.Normal)
                magnitude = FloatMath.ToInteger(value, TMode.IsTruncating ? Rounding.Zero : f.Rounding, out isInexact, out isTooLarge, out f.RoundedUp);
            ulong raw = value.Sign ? 0UL - magnitude : magnitude;
            if (isTooLarge || magnitude > limit - (value.Sign ? 0UL : 1UL))
            {
                f.Flags |= FloatFlags.Invalid;
                f.RoundedUp = false;
                raw = limit;
            }
            else if (isInexact)
            {
                f.Flags |= FloatFlags.Inexact;
            }

            bool stores = X87Unit.Stores(f);
            if (!(stores ? Store(c, o, linear, raw) : c->Owner.ProbeWrite(o, linear, TBytes.Size)))
                return false;
            if (isEmpty)
                c->X87Status |= X87Unit.StackFault;
            FinishStore(c, f, stores, TPops.Count);
            return true;
        }

        private static bool Store(CpuState* c, Op* o, ulong linear, ulong raw) => TBytes.Size switch
        {
            2 => Mem.WriteLinear(c, o, linear, (ushort)raw),
            4 => Mem.WriteLinear(c, o, linear, (uint)raw),
            _ => Mem.WriteLinear(c, o, linear, raw),
        };
    }

    private readonly struct StoreDecimal : IX87Memory
    {
        public static int Size => 10;

        public static bool IsStore => true;

        public static bool Run(CpuState* c, Op* o, ulong linear)
        {
            const ulong Limit = 1_000_000_000_000_000_000;
            FloatContext f = Source(c, out Unpacked value, out bool isEmpty);
            bool isInexact = false, isTooLarge = true;
            ulong magnitude = 0;
            if (value.Class is FloatClass.Zero or FloatClass.Normal)
                magnitude = FloatMath.ToInteger(value, f.Rounding, out isInexact, out isTooLarge, out f.RoundedUp);
            ulong low = 0xC000_0000_0000_0000;
            int high = 0xFFFF;
            if (isTooLarge || magnitude >= Limit)
            {
                f.Flags |= FloatFlags.Invalid;
                f.RoundedUp = false;
            }
            else
            {
                if (isInexact)
                    f.Flags |= FloatFlags.Inexact;
                low = 0;
                for (int digit = 0; digit < 16; digit++, magnitude /= 10)
                    low |= magnitude % 10 << (digit * 4);
                high = (int)(magnitude % 10) | ((int)(magnitude / 10 % 10) << 4) | (value.Sign ? 0x8000 : 0);
            }

            bool stores = X87Unit.Stores(f);
            if (!(stores ? WriteTen(c, o, linear, low, (ushort)high) : c->Owner.ProbeWrite(o, linear, 10)))
                return false;
            if (isEmpty)
                c->X87Status |= X87Unit.StackFault;
            FinishStore(c, f, stores, 1);
            return true;
        }
    }

    private readonly struct Duplicate : IX87
    {
        public static void Run(CpuState* c, Op* o)
        {
            int index = X87Handlers.Index(o), physical = X87Unit.Physical(c, index);
            if (X87Unit.IsEmpty(c, index))
            {
                if (X87Unit.StackError(c, isOverflow: false))
                {
                    X87Unit.Descend(c);
                    X87Unit.Set(c, 0, Unpacked.Invalid);
                }

                return;
            }

            if (HasRoom(c))
                Push(c, c->X87[physical * 2], (ushort)c->X87[(physical * 2) + 1]);
        }
    }

    private readonly struct Copy<TPops> : IX87
        where TPops : struct, X87Arithmetic.IPops
    {
        public static void Run(CpuState* c, Op* o)
        {
            int physical = X87Unit.Physical(c, 0);
            if (X87Unit.IsEmpty(c, 0))
            {
                if (!X87Unit.StackError(c, isOverflow: false))
                    return;
                X87Unit.Set(c, X87Handlers.Index(o), Unpacked.Invalid);
            }
            else
            {
                X87Unit.Complete(c, 0, false);
                X87Unit.SetRaw(c, X87Handlers.Index(o), c->X87[physical * 2], (ushort)c->X87[(physical * 2) + 1]);
            }

            if (TPops.Count != 0)
                X87Unit.Pop(c);
        }
    }

    // An alias of FSTP that raises nothing: of an empty register only the pop is left.
    private readonly struct CopyUnchecked : IX87
    {
        public static void Run(CpuState* c, Op* o)
        {
            int physical = X87Unit.Physical(c, 0);
            X87Unit.Complete(c, 0, false);
            if (!X87Unit.IsEmpty(c, 0))
                X87Unit.SetRaw(c, X87Handlers.Index(o), c->X87[physical * 2], (ushort)c->X87[(physical * 2) + 1]);
            X87Unit.Pop(c);
        }
    }

    // An empty register counts as the default NaN, if that is masked.
    private readonly struct Exchange : IX87
    {
        public static void Run(CpuState* c, Op* o)
        {
            int index = X87Handlers.Index(o), other = X87Unit.Physical(c, index), top = X87Unit.Physical(c, 0);
            bool isTopEmpty = X87Unit.IsEmpty(c, 0), isOtherEmpty = X87Unit.IsEmpty(c, index);
            if (isTopEmpty || isOtherEmpty)
            {
                if (!X87Unit.StackError(c, isOverflow: false))
                    return;
                if (isTopEmpty)
                    X87Unit.Set(c, 0, Unpacked.Invalid);
                if (isOtherEmpty)
                    X87Unit.Set(c, index, Unpacked.Invalid);
            }
            else
            {
                X87Unit.Complete(c, 0, false);
            }

            for (int half = 0; half < 2; half++)
                (c->X87[(top * 2) + half], c->X87[(other * 2) + half]) = (c->X87[(other * 2) + half], c->X87[(top * 2) + half]);
        }
    }

    private interface IConstant
    {
        static abstract Unpacked Value { get; }
    }

    private static Unpacked Number(int exponent, ulong significand, ulong rest) =>
        new() { Class = FloatClass.Normal, Exponent = exponent, Significand = significand, Rest = rest };

    private readonly struct One : IConstant { public static Unpacked Value => Number(0, Unpacked.TopBit, 0); }

    private readonly struct Zero : IConstant { public static Unpacked Value => Unpacked.Zero(false); }

    private readonly struct Log2Of10 : IConstant { public static Unpacked Value => Number(1, 0xD49A_784B_CD1B_8AFE, 0x492B_F6FF_4DAF_DB4C); }

    private readonly struct Log2OfE : IConstant { public static Unpacked Value => Number(0, 0xB8AA_3B29_5C17_F0BB, 0xBE87_FED0_691D_3E88); }

    private readonly struct Pi : IConstant { public static Unpacked Value => Number(1, 0xC90F_DAA2_2168_C234, 0xC4C6_628B_80DC_1CD1); }

    private readonly struct Log10Of2 : IConstant { public static Unpacked Value => Number(-2, 0x9A20_9A84_FBCF_F798, 0x8F89_59AC_0B7C_9178); }

    private readonly struct LogEOf2 : IConstant { public static Unpacked Value => Number(-1, 0xB172_17F7_D1CF_79AB, 0xC9E3_B398_03F2_F6AF); }

    // Rounding control applies, precision control does not, and nothing is raised.
    private readonly struct Constant<TConstant> : IX87
        where TConstant : struct, IConstant
    {
        public static void Run(CpuState* c, Op* o)
        {
            if (!HasRoom(c))
                return;
            FloatContext f = X87Unit.Context(c);
            (ulong significand, ushort signExponent) =
                ExtendedFormat.Pack(FloatMath.Round(ref f, TConstant.Value, ExtendedFormat.Precision, ExtendedFormat.Largest));
            Push(c, significand, signExponent);
        }
    }

    private readonly struct ConditionalMove<TCondition> : IX87
        where TCondition : struct, ICondition
    {
        public static void Run(CpuState* c, Op* o)
        {
            int index = X87Handlers.Index(o), physical = X87Unit.Physical(c, index);
            if (X87Unit.IsEmpty(c, 0) || X87Unit.IsEmpty(c, index))
            {
                if (X87Unit.StackError(c, isOverflow: false))
                    X87Unit.Set(c, 0, Unpacked.Invalid);
                return;
            }

            if (TCondition.Test(c))
                X87Unit.SetRaw(c, 0, c->X87[physical * 2], (ushort)c->X87[(physical * 2) + 1]);
        }
    }
}
