using System.Runtime.CompilerServices;

namespace Hyperscope.X64.Execution;

/// <summary>How the linear address of a memory operand comes about.</summary>
internal unsafe interface IAddressing
{
    /// <summary>The linear address of an access; one that no translation matches if a limit or right was violated (the fault is then recorded).</summary>
    static abstract ulong Linear(CpuState* c, Op* o, int size, bool isWrite);

    /// <summary>True: an access that misses the translation cache stops the instruction without a reason, to be executed anew on the slow path.</summary>
    static abstract bool IsTentative { get; }
}

/// <summary>A first attempt at <see cref="Flat"/> without an index register.</summary>
internal readonly unsafe struct QuickBase : IAddressing
{
    public static bool IsTentative => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Linear(CpuState* c, Op* o, int size, bool isWrite) => *(ulong*)((byte*)c + o->B) + (ulong)o->Displacement;
}

/// <summary>A first attempt at <see cref="Flat"/>.</summary>
internal readonly unsafe struct QuickIndexed : IAddressing
{
    public static bool IsTentative => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Linear(CpuState* c, Op* o, int size, bool isWrite) => Flat.Linear(c, o, size, isWrite);
}

/// <summary>A first attempt at FS or GS in 64-bit code with 64-bit addresses.</summary>
internal readonly unsafe struct QuickSegment : IAddressing
{
    public static bool IsTentative => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Linear(CpuState* c, Op* o, int size, bool isWrite) =>
        Flat.Linear(c, o, size, isWrite) + c->SegmentBase[(int)o->Segment];
}

/// <summary>64-bit code, 64-bit addresses, a segment whose base is zero: nothing to check.</summary>
internal readonly unsafe struct Flat : IAddressing
{
    public static bool IsTentative => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Linear(CpuState* c, Op* o, int size, bool isWrite) =>
        Register(c, o->B) + (Register(c, o->X) << o->Scale) + (ulong)o->Displacement;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Register(CpuState* c, int offset) => *(ulong*)((byte*)c + offset);
}

/// <summary>Everything else: FS and GS, 16 and 32-bit addresses, segmented code.</summary>
internal readonly unsafe struct Segmented : IAddressing
{
    public static bool IsTentative => false;

    /// <summary>An address that is not canonical, so it is in no translation cache.</summary>
    public const ulong NoAddress = 1UL << 63;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Linear(CpuState* c, Op* o, int size, bool isWrite)
    {
        return At(c, o, o->Segment, Flat.Linear(c, o, size, isWrite) & OpBits.AddressMask(o->Bits), size, isWrite);
    }

    /// <summary>The linear address of an access at <paramref name="offset"/>, already cut to the address size, in a segment.</summary>
    /// <remarks>In 64-bit code the segment is FS, GS or none; the others have no base there.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong At(CpuState* c, Op* o, SegmentIndex index, ulong offset, int size, bool isWrite) =>
        (o->Bits & (OpBits.Code16 | OpBits.Code32)) == 0 ? offset + c->SegmentBase[(int)index] : Checked(c, o, index, offset, size, isWrite);

    /// <summary>Segment checks of 16 and 32-bit code (SDM vol. 3, "Limit Checking", "Type Checking").</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static ulong Checked(CpuState* c, Op* o, SegmentIndex index, ulong offset, int size, bool isWrite)
    {
        if (Fits(c, index, offset, (ulong)size, isWrite))
            return (offset + (&c->Es + (int)index)->Base) & 0xFFFF_FFFF;
        _ = c->Raise(o, index == SegmentIndex.Ss ? X64.Vector.StackFault : X64.Vector.GeneralProtection, 0, true);
        return NoAddress;
    }

    /// <summary>True if 16 or 32-bit code may access bytes of a segment.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool Fits(CpuState* c, SegmentIndex index, ulong offset, ulong size, bool isWrite)
    {
        Segment* segment = &c->Es + (int)index;
        ulong last = offset + size - 1;
        bool ok = !segment->Unusable;
        if (segment->IsExpandDown)
            ok &= offset > segment->Limit && last <= (segment->Default32 ? 0xFFFF_FFFFUL : 0xFFFFUL);
        else
            ok &= last <= segment->Limit;
        if (c->IsProtected && !c->IsVirtual8086)
            ok &= isWrite ? segment->IsWritableData : segment->IsReadable;
        return ok;
    }
}
