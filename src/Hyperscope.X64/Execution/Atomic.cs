using System.Numerics;
using System.Runtime.CompilerServices;

namespace Hyperscope.X64.Execution;

/// <summary>Atomic operations on guest memory, for every operand size and any alignment.</summary>
internal static unsafe class Atomic
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Exchange<T>(T* memory, T value)
        where T : unmanaged, IBinaryInteger<T>
    {
        if (typeof(T) == typeof(byte))
            return T.CreateTruncating(Interlocked.Exchange(ref *(byte*)memory, byte.CreateTruncating(value)));
        if (typeof(T) == typeof(ushort))
            return T.CreateTruncating(Interlocked.Exchange(ref *(ushort*)memory, ushort.CreateTruncating(value)));
        if (typeof(T) == typeof(uint))
            return T.CreateTruncating(Interlocked.Exchange(ref *(uint*)memory, uint.CreateTruncating(value)));
        return T.CreateTruncating(Interlocked.Exchange(ref *(ulong*)memory, ulong.CreateTruncating(value)));
    }

    /// <summary>Stores <paramref name="value"/> if the memory holds <paramref name="expected"/>; gives what it held.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T CompareExchange<T>(T* memory, T value, T expected)
        where T : unmanaged, IBinaryInteger<T>
    {
        if (typeof(T) == typeof(byte))
            return T.CreateTruncating(Interlocked.CompareExchange(ref *(byte*)memory, byte.CreateTruncating(value), byte.CreateTruncating(expected)));
        if (typeof(T) == typeof(ushort))
            return T.CreateTruncating(Interlocked.CompareExchange(ref *(ushort*)memory, ushort.CreateTruncating(value), ushort.CreateTruncating(expected)));
        if (typeof(T) == typeof(uint))
            return T.CreateTruncating(Interlocked.CompareExchange(ref *(uint*)memory, uint.CreateTruncating(value), uint.CreateTruncating(expected)));
        return T.CreateTruncating(Interlocked.CompareExchange(ref *(ulong*)memory, ulong.CreateTruncating(value), ulong.CreateTruncating(expected)));
    }
}
