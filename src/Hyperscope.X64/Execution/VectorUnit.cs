using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using V = System.Runtime.Intrinsics.Vector128<byte>;

namespace Hyperscope.X64.Execution;

/// <summary>What every SSE instruction starts with: the one check of CR0 and CR4, operands, alignment.</summary>
/// <remarks>The vector families compute with the host's own SSE4.2; a host without it is refused when a vCPU is made.</remarks>
internal static unsafe class VectorUnit
{
    /// <summary>MXCSR after reset: everything masked, round to nearest.</summary>
    public const uint InitialMxcsr = 0x1F80;

    /// <summary>MXCSR_MASK: the bits that exist, DAZ among them.</summary>
    public const uint MxcsrMask = 0xFFFF;

    /// <summary>True if SSE instructions fault. Goes to <see cref="RaiseBlocked"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsBlocked(CpuState* c) => ((c->Cr0 & (Cr0.Em | Cr0.Ts)) | (~c->Cr4 & Cr4.OsFxsr)) != 0;

    /// <summary>#UD for CR0.EM or no CR4.OSFXSR, else #NM for CR0.TS.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool RaiseBlocked(CpuState* c, Op* o) =>
        (c->Cr0 & Cr0.Em) != 0 || (c->Cr4 & Cr4.OsFxsr) == 0 ? c->RaiseUd(o) : c->Raise(o, X64.Vector.DeviceNotAvailable);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Get(CpuState* c, int offset) => *(V*)((byte*)c + offset);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Set(CpuState* c, int offset, V value) => *(V*)((byte*)c + offset) = value;

    /// <summary>A memory source of the size of <typeparamref name="T"/>; null when stopped. <c>Vector128&lt;byte&gt;</c> must be aligned.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T* Read<T, TAddressing>(CpuState* c, Op* o)
        where T : unmanaged
        where TAddressing : struct, IAddressing
    {
        ulong linear = TAddressing.Linear(c, o, sizeof(T), isWrite: false);
        if (typeof(T) == typeof(V) && (linear & 15) != 0)
            return (T*)Misaligned(c, o);
        return Mem.ReadLinear<T>(c, o, linear);
    }

    /// <summary>The source widened to a register, what is not read being zero.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Widen<T>(T* source)
        where T : unmanaged
    {
        if (sizeof(T) == 16)
            return *(V*)source;
        if (sizeof(T) == 8)
            return Vector128.CreateScalar(*(ulong*)source).AsByte();
        if (sizeof(T) == 4)
            return Vector128.CreateScalar(*(uint*)source).AsByte();
        return Vector128.CreateScalar(*(ushort*)source).AsByte();
    }

    /// <summary>Stores 16 bytes at an address that must be aligned.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool WriteAligned<TAddressing>(CpuState* c, Op* o, V value)
        where TAddressing : struct, IAddressing
    {
        ulong linear = TAddressing.Linear(c, o, 16, isWrite: true);
        if ((linear & 15) != 0)
            return Misaligned(c, o) != null;
        return Mem.WriteVector(c, o, linear, value);
    }

    /// <summary>Stores 16 bytes at any address.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool WriteUnaligned<TAddressing>(CpuState* c, Op* o, V value)
        where TAddressing : struct, IAddressing => Mem.WriteVector(c, o, TAddressing.Linear(c, o, 16, isWrite: true), value);

    /// <summary>#GP(0) of an operand that is not aligned; a fault of the address itself stays.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static void* Misaligned(CpuState* c, Op* o)
    {
        if (c->Stop == StopReason.None)
            _ = c->RaiseGp(o);
        return null;
    }

    /// <summary>Linear address of the operand at DS:rDI (MASKMOVQ, MASKMOVDQU), or one nothing matches.</summary>
    public static ulong LinearAtDi(CpuState* c, Op* o, int size)
    {
        ulong offset = c->R[7] & OpBits.AddressMask(o->Bits);
        return (o->Bits & (OpBits.Code16 | OpBits.Code32)) == 0
            ? offset + c->SegmentBase[(int)o->Segment]
            : Segmented.Checked(c, o, o->Segment, offset, size, isWrite: true);
    }

    /// <summary>Stores at DS:rDI the bytes whose bit in <paramref name="mask"/> is set; all or nothing.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool WriteMasked(CpuState* c, Op* o, ulong valueLow, ulong valueHigh, uint mask, int size)
    {
        if (mask == 0)
            return true;
        ulong linear = LinearAtDi(c, o, size);
        SoftwareVcpu owner = c->Owner;
        if (!owner.ProbeWrite(o, linear, size))
            return false;
        for (int index = 0; index < size;)
        {
            if ((mask >> index & 1) == 0)
            {
                index++;
                continue;
            }

            int first = index;
            for (; index < size && (mask >> index & 1) != 0; index++)
                c->Staging[index - first] = (byte)(index < 8 ? valueLow >> (index * 8) : valueHigh >> ((index - 8) * 8));
            if (!owner.WriteStaged(o, linear + (ulong)first, index - first))
                return false;
        }

        return true;
    }
}

/// <summary>Sixteen bytes at any address: a memory operand type without the alignment check.</summary>
internal readonly struct Unaligned128
{
    private readonly ulong _low, _high;

    public Unaligned128(ulong low, ulong high) => (_low, _high) = (low, high);

    public (ulong Low, ulong High) Halves => (_low, _high);
}
