using System.Numerics;
using System.Runtime.CompilerServices;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>MUL, IMUL with one, two and three operands, DIV, IDIV.</summary>
internal static unsafe class Multiplication
{
    private const int Rax = 0, Rdx = 2 * 8;
    private const ulong NotCarryOverflow = Rflags.Arithmetic & ~(Rflags.Cf | Rflags.Of);

    public static void Register(OpcodeMap map)
    {
        Add<Multiply>(map, 4, "mul", NotCarryOverflow);
        Add<MultiplySigned>(map, 5, "imul", NotCarryOverflow);
        Add<Divide>(map, 6, "div", Rflags.Arithmetic);
        Add<DivideSigned>(map, 7, "idiv", Rflags.Arithmetic);
        map.Add(0x0FAF, Truncating<ByRegister>(Encoding.None));
        map.Add(0x69, Truncating<ByConstant>(Encoding.ImmZ));
        map.Add(0x6B, Truncating<ByConstant>(Encoding.Imm8Signed));
    }

    private static void Add<TReader>(OpcodeMap map, int reg, string name, ulong undefined)
        where TReader : struct, IReader
    {
        map.AddGroup(0xF6, reg, new OpcodeRow(name, Encoding.RmD | Encoding.Byte, Sources.Rm<TReader>)
        { Writes = Rflags.Arithmetic, Undefined = undefined });
        map.AddGroup(0xF7, reg, new OpcodeRow(name, Encoding.RmD, Sources.Rm<TReader>)
        { Writes = Rflags.Arithmetic, Undefined = undefined });
    }

    private static OpcodeRow Truncating<TReader>(Encoding immediate)
        where TReader : struct, IReader =>
        new("imul", Encoding.RegD | Encoding.RmS | immediate, Sources.Rm<TReader>) { Writes = Rflags.Arithmetic, Undefined = NotCarryOverflow };

    // The double-width result: AX for bytes, else (r)DX:(r)AX.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetProduct<T>(CpuState* c, T low, T high)
        where T : unmanaged, IBinaryInteger<T>
    {
        if (sizeof(T) == 1)
        {
            *(byte*)c->R = byte.CreateTruncating(low);
            *((byte*)c->R + 1) = byte.CreateTruncating(high);
            return;
        }

        Handlers.Set(c, Rax, low);
        Handlers.Set(c, Rdx, high);
    }

    private static T High<T>(CpuState* c)
        where T : unmanaged => sizeof(T) == 1 ? Handlers.Get<T>(c, 1) : Handlers.Get<T>(c, Rdx);

    private readonly struct Multiply : IReader
    {
        public static bool Apply<T>(CpuState* c, Op* o, T operand)
            where T : unmanaged, IBinaryInteger<T>
        {
            ulong left = ulong.CreateTruncating(Handlers.Get<T>(c, Rax)), right = ulong.CreateTruncating(operand);
            ulong high = sizeof(T) == 8 ? Math.BigMul(left, right, out ulong low) : (low = left * right) >> (sizeof(T) * 8);
            SetProduct(c, T.CreateTruncating(low), T.CreateTruncating(high));
            Flags.SetResult(c, T.CreateTruncating(low), carry: high != 0, overflow: high != 0);
            return true;
        }
    }

    private readonly struct MultiplySigned : IReader
    {
        public static bool Apply<T>(CpuState* c, Op* o, T operand)
            where T : unmanaged, IBinaryInteger<T>
        {
            var left = (long)Flags.SignExtend(Handlers.Get<T>(c, Rax));
            var right = (long)Flags.SignExtend(operand);
            long high = sizeof(T) == 8 ? Math.BigMul(left, right, out long low) : (low = left * right) >> (sizeof(T) * 8);
            T result = T.CreateTruncating(low);
            SetProduct(c, result, T.CreateTruncating(high));
            bool isLong = high != (long)Flags.SignExtend(result) >> 63;
            Flags.SetResult(c, result, isLong, isLong);
            return true;
        }
    }

    private readonly struct ByRegister : IReader
    {
        public static bool Apply<T>(CpuState* c, Op* o, T operand)
            where T : unmanaged, IBinaryInteger<T>
        {
            Truncated(c, o, Handlers.Get<T>(c, o->D), operand);
            return true;
        }
    }

    private readonly struct ByConstant : IReader
    {
        public static bool Apply<T>(CpuState* c, Op* o, T operand)
            where T : unmanaged, IBinaryInteger<T>
        {
            Truncated(c, o, operand, T.CreateTruncating(o->Immediate));
            return true;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Truncated<T>(CpuState* c, Op* o, T a, T b)
        where T : unmanaged, IBinaryInteger<T>
    {
        long left = (long)Flags.SignExtend(a), right = (long)Flags.SignExtend(b), low = unchecked(left * right);
        T result = T.CreateTruncating(low);
        bool isLong = sizeof(T) == 8 ? Math.BigMul(left, right, out long _) != low >> 63 : low != (long)Flags.SignExtend(result);
        Handlers.Set(c, o->D, result);
        Flags.SetResult(c, result, isLong, isLong);
    }

    // A quotient that does not fit is #DE, as is a divisor of zero. The flags are undefined; they stay as they are.
    private readonly struct Divide : IReader
    {
        public static bool Apply<T>(CpuState* c, Op* o, T operand)
            where T : unmanaged, IBinaryInteger<T>
        {
            ulong divisor = ulong.CreateTruncating(operand);
            ulong high = ulong.CreateTruncating(High<T>(c)), low = ulong.CreateTruncating(Handlers.Get<T>(c, Rax));
            if (high >= divisor)
                return c->Raise(o, X64.Vector.DivideError);
            if (sizeof(T) == 8 && high != 0)
                return DivideWide(c, high, low, divisor);
            ulong dividend = sizeof(T) == 8 ? low : (high << (sizeof(T) * 8)) | low;
            SetProduct(c, T.CreateTruncating(dividend / divisor), T.CreateTruncating(dividend % divisor));
            return true;
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool DivideWide(CpuState* c, ulong high, ulong low, ulong divisor)
    {
        (UInt128 quotient, UInt128 remainder) = UInt128.DivRem(new UInt128(high, low), divisor);
        SetProduct(c, (ulong)quotient, (ulong)remainder);
        return true;
    }

    private readonly struct DivideSigned : IReader
    {
        public static bool Apply<T>(CpuState* c, Op* o, T operand)
            where T : unmanaged, IBinaryInteger<T>
        {
            var divisor = (long)Flags.SignExtend(operand);
            T high = High<T>(c), low = Handlers.Get<T>(c, Rax);
            if (divisor == 0)
                return c->Raise(o, X64.Vector.DivideError);
            if (sizeof(T) == 8 && Flags.SignExtend(high) != (ulong)((long)ulong.CreateTruncating(low) >> 63))
                return DivideSignedWide(c, o, ulong.CreateTruncating(high), ulong.CreateTruncating(low), divisor);
            long dividend = sizeof(T) == 8
                ? (long)ulong.CreateTruncating(low)
                : (long)((Flags.SignExtend(high) << (sizeof(T) * 8)) | ulong.CreateTruncating(low));

            // The host's own division faults on the smallest number divided by -1; so does the guest's, unless it is wider.
            if (divisor == -1 && dividend == long.MinValue)
                return c->Raise(o, X64.Vector.DivideError);
            long quotient = dividend / divisor;
            T result = T.CreateTruncating(quotient);
            if ((long)Flags.SignExtend(result) != quotient)
                return c->Raise(o, X64.Vector.DivideError);
            SetProduct(c, result, T.CreateTruncating(dividend - (quotient * divisor)));
            return true;
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool DivideSignedWide(CpuState* c, Op* o, ulong high, ulong low, long divisor)
    {
        bool isNegative = (long)high < 0, isQuotientNegative = isNegative != (divisor < 0);
        var magnitude = new UInt128(high, low);
        if (isNegative)
            magnitude = unchecked(UInt128.Zero - magnitude);
        ulong divisorMagnitude = divisor < 0 ? unchecked(0 - (ulong)divisor) : (ulong)divisor;
        (UInt128 quotient, UInt128 remainder) = UInt128.DivRem(magnitude, divisorMagnitude);
        if (quotient > (isQuotientNegative ? 1UL << 63 : long.MaxValue))
            return c->Raise(o, X64.Vector.DivideError);
        ulong result = (ulong)quotient, rest = (ulong)remainder;
        SetProduct(c, isQuotientNegative ? unchecked(0 - result) : result, isNegative ? unchecked(0 - rest) : rest);
        return true;
    }
}
