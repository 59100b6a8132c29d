using System.Numerics;
using System.Runtime.CompilerServices;

namespace Hyperscope.X64.Execution;

// The sixteen conditions in encoding order; each odd one is the negation of the one before it.

internal readonly unsafe struct IfOverflow : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Test(CpuState* c) => Flags.Overflow(c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterCompare<T>(T a, T b)
        where T : unmanaged, IBinaryInteger<T> => Compare.Overflow(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterLogic<T>(T r)
        where T : unmanaged, IBinaryInteger<T> => false;
}

internal readonly unsafe struct IfNotOverflow : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Test(CpuState* c) => !(Flags.Overflow(c));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterCompare<T>(T a, T b)
        where T : unmanaged, IBinaryInteger<T> => !(Compare.Overflow(a, b));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterLogic<T>(T r)
        where T : unmanaged, IBinaryInteger<T> => true;
}

internal readonly unsafe struct IfBelow : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Test(CpuState* c) => Flags.Carry(c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterCompare<T>(T a, T b)
        where T : unmanaged, IBinaryInteger<T> => a < b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterLogic<T>(T r)
        where T : unmanaged, IBinaryInteger<T> => false;
}

internal readonly unsafe struct IfNotBelow : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Test(CpuState* c) => !(Flags.Carry(c));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterCompare<T>(T a, T b)
        where T : unmanaged, IBinaryInteger<T> => !(a < b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterLogic<T>(T r)
        where T : unmanaged, IBinaryInteger<T> => true;
}

internal readonly unsafe struct IfZero : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Test(CpuState* c) => Flags.Zero(c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterCompare<T>(T a, T b)
        where T : unmanaged, IBinaryInteger<T> => a == b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterLogic<T>(T r)
        where T : unmanaged, IBinaryInteger<T> => r == T.Zero;
}

internal readonly unsafe struct IfNotZero : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Test(CpuState* c) => !(Flags.Zero(c));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterCompare<T>(T a, T b)
        where T : unmanaged, IBinaryInteger<T> => !(a == b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterLogic<T>(T r)
        where T : unmanaged, IBinaryInteger<T> => !(r == T.Zero);
}

internal readonly unsafe struct IfBelowOrEqual : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Test(CpuState* c) => Flags.Carry(c) | Flags.Zero(c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterCompare<T>(T a, T b)
        where T : unmanaged, IBinaryInteger<T> => a <= b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterLogic<T>(T r)
        where T : unmanaged, IBinaryInteger<T> => r == T.Zero;
}

internal readonly unsafe struct IfNotBelowOrEqual : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Test(CpuState* c) => !(Flags.Carry(c) | Flags.Zero(c));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterCompare<T>(T a, T b)
        where T : unmanaged, IBinaryInteger<T> => !(a <= b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterLogic<T>(T r)
        where T : unmanaged, IBinaryInteger<T> => !(r == T.Zero);
}

internal readonly unsafe struct IfSign : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Test(CpuState* c) => Flags.Sign(c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterCompare<T>(T a, T b)
        where T : unmanaged, IBinaryInteger<T> => Compare.IsNegative(unchecked(a - b));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterLogic<T>(T r)
        where T : unmanaged, IBinaryInteger<T> => Compare.IsNegative(r);
}

internal readonly unsafe struct IfNotSign : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Test(CpuState* c) => !(Flags.Sign(c));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterCompare<T>(T a, T b)
        where T : unmanaged, IBinaryInteger<T> => !(Compare.IsNegative(unchecked(a - b)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterLogic<T>(T r)
        where T : unmanaged, IBinaryInteger<T> => !(Compare.IsNegative(r));
}

internal readonly unsafe struct IfParity : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Test(CpuState* c) => Flags.Parity(c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterCompare<T>(T a, T b)
        where T : unmanaged, IBinaryInteger<T> => Compare.EvenParity(unchecked(a - b));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterLogic<T>(T r)
        where T : unmanaged, IBinaryInteger<T> => Compare.EvenParity(r);
}

internal readonly unsafe struct IfNotParity : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Test(CpuState* c) => !(Flags.Parity(c));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterCompare<T>(T a, T b)
        where T : unmanaged, IBinaryInteger<T> => !(Compare.EvenParity(unchecked(a - b)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterLogic<T>(T r)
        where T : unmanaged, IBinaryInteger<T> => !(Compare.EvenParity(r));
}

internal readonly unsafe struct IfLess : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Test(CpuState* c) => Flags.Sign(c) != Flags.Overflow(c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterCompare<T>(T a, T b)
        where T : unmanaged, IBinaryInteger<T> => Compare.SignedLess(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterLogic<T>(T r)
        where T : unmanaged, IBinaryInteger<T> => Compare.IsNegative(r);
}

internal readonly unsafe struct IfNotLess : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Test(CpuState* c) => !(Flags.Sign(c) != Flags.Overflow(c));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterCompare<T>(T a, T b)
        where T : unmanaged, IBinaryInteger<T> => !(Compare.SignedLess(a, b));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterLogic<T>(T r)
        where T : unmanaged, IBinaryInteger<T> => !(Compare.IsNegative(r));
}

internal readonly unsafe struct IfLessOrEqual : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Test(CpuState* c) => Flags.Zero(c) | (Flags.Sign(c) != Flags.Overflow(c));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterCompare<T>(T a, T b)
        where T : unmanaged, IBinaryInteger<T> => !Compare.SignedLess(b, a);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterLogic<T>(T r)
        where T : unmanaged, IBinaryInteger<T> => r == T.Zero || Compare.IsNegative(r);
}

internal readonly unsafe struct IfNotLessOrEqual : ICondition
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Test(CpuState* c) => !(Flags.Zero(c) | (Flags.Sign(c) != Flags.Overflow(c)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterCompare<T>(T a, T b)
        where T : unmanaged, IBinaryInteger<T> => !(!Compare.SignedLess(b, a));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AfterLogic<T>(T r)
        where T : unmanaged, IBinaryInteger<T> => !(r == T.Zero || Compare.IsNegative(r));
}

/// <summary>Comparisons of operands taken as bit patterns.</summary>
internal static class Compare
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsNegative<T>(T value)
        where T : unmanaged, IBinaryInteger<T> => (long)Flags.SignExtend(value) < 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool SignedLess<T>(T a, T b)
        where T : unmanaged, IBinaryInteger<T> => (long)Flags.SignExtend(a) < (long)Flags.SignExtend(b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Overflow<T>(T a, T b)
        where T : unmanaged, IBinaryInteger<T> => IsNegative((a ^ b) & (a ^ unchecked(a - b)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool EvenParity<T>(T value)
        where T : unmanaged, IBinaryInteger<T> => (BitOperations.PopCount(byte.CreateTruncating(value)) & 1) == 0;
}
