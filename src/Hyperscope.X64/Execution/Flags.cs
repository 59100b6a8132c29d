using System.Numerics;
using System.Runtime.CompilerServices;

namespace Hyperscope.X64.Execution;

/// <summary>The six arithmetic flags, kept as (result, aux) and worked out only when something asks.</summary>
/// <remarks>
/// <para><c>FlagResult</c> is the result sign-extended to 64 bits; <c>FlagAux</c> has CF in bit 63, CF xor OF in bit 62 (for an addition:
/// the carry into the sign bit), AF in bit 3, a correction of the parity byte in bits 8 to 15 and of the sign in bit 0. So
/// ZF = (result == 0), SF = sign(result) xor bit 0, PF = even parity of (result xor correction).</para>
/// <para>Any combination of the six flags can be represented, and every condition is a few operations without a table of rules.</para>
/// </remarks>
internal static unsafe class Flags
{
    private const ulong CarryBit = 1UL << 63, OverflowDelta = 1UL << 62, AdjustBit = 1 << 3, SignDelta = 1, ParityDelta = 1 << 8;

    /// <summary>After r = a + b (+ carry).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetAdd<T>(CpuState* c, T a, T b, T r)
        where T : unmanaged, IBinaryInteger<T> => SetCarries(c, r, (a & b) | ((a | b) & ~r));

    /// <summary>After r = a - b (- borrow).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetSub<T>(CpuState* c, T a, T b, T r)
        where T : unmanaged, IBinaryInteger<T> => SetCarries(c, r, (~a & b) | ((~a | b) & r));

    /// <summary>After a logical operation: CF = OF = AF = 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetLogic<T>(CpuState* c, T r)
        where T : unmanaged, IBinaryInteger<T>
    {
        c->FlagResult = SignExtend(r);
        c->FlagAux = 0;
    }

    /// <summary>All flags from a result and explicit CF, OF and AF.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetResult<T>(CpuState* c, T r, bool carry, bool overflow, bool adjust = false)
        where T : unmanaged, IBinaryInteger<T>
    {
        c->FlagResult = SignExtend(r);
        c->FlagAux = Aux(carry, overflow) | (adjust ? AdjustBit : 0);
    }

    /// <summary>INC and DEC: all but CF.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetKeepingCarry<T>(CpuState* c, T r, bool overflow, bool adjust)
        where T : unmanaged, IBinaryInteger<T>
    {
        bool carry = (long)c->FlagAux < 0;
        c->FlagResult = SignExtend(r);
        c->FlagAux = Aux(carry, overflow) | (adjust ? AdjustBit : 0);
    }

    /// <summary>CF and OF only.</summary>
    public static void SetCarryOverflow(CpuState* c, bool carry, bool overflow) =>
        c->FlagAux = (c->FlagAux & ~(CarryBit | OverflowDelta)) | Aux(carry, overflow);

    /// <summary>CF only.</summary>
    public static void SetCarry(CpuState* c, bool carry) => SetCarryOverflow(c, carry, Overflow(c));

    /// <summary>ZF only.</summary>
    public static void SetZero(CpuState* c, bool zero) => Load(c, zero ? Get(c) | Rflags.Zf : Get(c) & ~Rflags.Zf);

    /// <summary>True if CF is set.</summary>
    public static bool Carry(CpuState* c) => (long)c->FlagAux < 0;

    /// <summary>True if OF is set.</summary>
    public static bool Overflow(CpuState* c) => (long)(c->FlagAux ^ (c->FlagAux << 1)) < 0;

    /// <summary>True if AF is set.</summary>
    public static bool Adjust(CpuState* c) => (c->FlagAux & AdjustBit) != 0;

    /// <summary>True if ZF is set.</summary>
    public static bool Zero(CpuState* c) => c->FlagResult == 0;

    /// <summary>True if SF is set.</summary>
    public static bool Sign(CpuState* c) => (long)(c->FlagResult ^ (c->FlagAux << 63)) < 0;

    /// <summary>True if PF is set.</summary>
    public static bool Parity(CpuState* c) => (BitOperations.PopCount((byte)(c->FlagResult ^ (c->FlagAux >> 8))) & 1) == 0;

    /// <summary>The six flags at their RFLAGS positions.</summary>
    public static ulong Get(CpuState* c) => (Carry(c) ? Rflags.Cf : 0) | (Parity(c) ? Rflags.Pf : 0) | (Adjust(c) ? Rflags.Af : 0)
        | (Zero(c) ? Rflags.Zf : 0) | (Sign(c) ? Rflags.Sf : 0) | (Overflow(c) ? Rflags.Of : 0);

    /// <summary>Sets the six flags from their RFLAGS positions; other bits are ignored.</summary>
    public static void Load(CpuState* c, ulong flags)
    {
        bool zero = (flags & Rflags.Zf) != 0, parity = (flags & Rflags.Pf) != 0;
        c->FlagResult = zero ? 0UL : 1UL;          // parity of 0 is even, of 1 is odd
        c->FlagAux = Aux((flags & Rflags.Cf) != 0, (flags & Rflags.Of) != 0) | ((flags & Rflags.Af) != 0 ? AdjustBit : 0)
            | ((flags & Rflags.Sf) != 0 ? SignDelta : 0) | (parity != zero ? ParityDelta : 0);
    }

    /// <summary>The whole RFLAGS register.</summary>
    public static ulong GetAll(CpuState* c) => Get(c) | c->SystemFlags | Rflags.Fixed;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong SignExtend<T>(T value)
        where T : unmanaged, IBinaryInteger<T>
    {
        if (typeof(T) == typeof(byte))
            return (ulong)(long)(sbyte)byte.CreateTruncating(value);
        if (typeof(T) == typeof(ushort))
            return (ulong)(long)(short)ushort.CreateTruncating(value);
        if (typeof(T) == typeof(uint))
            return (ulong)(long)(int)uint.CreateTruncating(value);
        return ulong.CreateTruncating(value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetCarries<T>(CpuState* c, T r, T carries)
        where T : unmanaged, IBinaryInteger<T>
    {
        ulong vector = ulong.CreateTruncating(carries);
        c->FlagResult = SignExtend(r);
        if (typeof(T) == typeof(ulong))
            c->FlagAux = vector & (CarryBit | OverflowDelta | AdjustBit);
        else
            c->FlagAux = ((vector << (64 - (sizeof(T) * 8))) & (CarryBit | OverflowDelta)) | (vector & AdjustBit);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Aux(bool carry, bool overflow) => (carry ? CarryBit : 0) | (carry != overflow ? OverflowDelta : 0);
}

/// <summary>One of the sixteen conditions of Jcc, SETcc and CMOVcc.</summary>
internal unsafe interface ICondition
{
    /// <summary>Evaluates the condition on the lazy flags.</summary>
    static abstract bool Test(CpuState* c);

    /// <summary>Evaluates the condition as if CMP <paramref name="a"/>, <paramref name="b"/> had just run.</summary>
    static abstract bool AfterCompare<T>(T a, T b)
        where T : unmanaged, IBinaryInteger<T>;

    /// <summary>Evaluates the condition as if a logical operation had just given <paramref name="r"/>.</summary>
    static abstract bool AfterLogic<T>(T r)
        where T : unmanaged, IBinaryInteger<T>;
}
