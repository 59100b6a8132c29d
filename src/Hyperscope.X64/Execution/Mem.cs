using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Hyperscope.X64.Execution;

/// <summary>Data accesses of instructions: the hit path inline, everything else in <see cref="SoftwareVcpu"/>.</summary>
/// <remarks>
/// <para>Each method answers null or false when the access stops the instruction; the reason is then recorded and nothing has happened.
/// A handler makes all its accesses, reads before writes, before it changes a register or a flag.</para>
/// <para>A read gives a pointer that is good for one load of the type asked for. A read-modify-write gives a pointer to load from and
/// store to, then <see cref="Commit"/>; by then nothing can go wrong any more.</para>
/// </remarks>
internal static unsafe class Mem
{
    /// <summary>The operand of the instruction, to be read.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T* Read<T, TAddressing>(CpuState* c, Op* o)
        where T : unmanaged
        where TAddressing : struct, IAddressing => ReadLinear<T>(c, o, TAddressing.Linear(c, o, sizeof(T), isWrite: false));

    /// <summary>Stores into the operand of the instruction.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Write<T, TAddressing>(CpuState* c, Op* o, T value)
        where T : unmanaged, IBinaryInteger<T>
        where TAddressing : struct, IAddressing => WriteLinear<T, TAddressing>(c, o, TAddressing.Linear(c, o, sizeof(T), isWrite: true), value);

    /// <summary>The operand of the instruction, to be read and written. Call <see cref="Commit"/> after the store.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T* Modify<T, TAddressing>(CpuState* c, Op* o)
        where T : unmanaged
        where TAddressing : struct, IAddressing => ModifyLinear<T>(c, o, TAddressing.Linear(c, o, sizeof(T), isWrite: true));

    /// <summary>Loads the operand of the instruction. False: stopped.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryLoad<T, TAddressing>(CpuState* c, Op* o, out T value)
        where T : unmanaged
        where TAddressing : struct, IAddressing => TryLoadLinear<T, TAddressing>(c, o, TAddressing.Linear(c, o, sizeof(T), isWrite: false), out value);

    /// <summary>Loads from an address; of the addressing, only whether it is tentative counts.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryLoadLinear<T, TAddressing>(CpuState* c, Op* o, ulong linear, out T value)
        where T : unmanaged
        where TAddressing : struct, IAddressing
    {
        TlbEntry* entry = Entry(c, linear);
        if (TAddressing.IsTentative)
        {
            if (entry->ReadTag != (linear + (ulong)(sizeof(T) - 1)) >> 12)
            {
                value = default;
                return false;
            }

            value = *(T*)(linear + (ulong)entry->Addend);
            return true;
        }

        T* pointer = ReadLinear<T>(c, o, linear);
        value = pointer != null ? *pointer : default;
        return pointer != null;
    }

    /// <summary>Gives the operand of the instruction to be read and written. False: stopped. Call <see cref="Commit"/> after the store.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryModify<T, TAddressing>(CpuState* c, Op* o, out T* memory)
        where T : unmanaged
        where TAddressing : struct, IAddressing
    {
        ulong linear = TAddressing.Linear(c, o, sizeof(T), isWrite: true);
        if (TAddressing.IsTentative)
        {
            TlbEntry* entry = Entry(c, linear);
            memory = (T*)(linear + (ulong)entry->Addend);
            return entry->WriteTag == (linear + (ulong)(sizeof(T) - 1)) >> 12;
        }

        memory = ModifyLinear<T>(c, o, linear);
        return memory != null;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T* ReadLinear<T>(CpuState* c, Op* o, ulong linear)
        where T : unmanaged
    {
        TlbEntry* entry = Entry(c, linear);
        if (entry->ReadTag == (linear + (ulong)(sizeof(T) - 1)) >> 12)
            return (T*)(linear + (ulong)entry->Addend);
        return (T*)ReadSlow(c, o, linear, sizeof(T));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool WriteLinear<T>(CpuState* c, Op* o, ulong linear, T value)
        where T : unmanaged, IBinaryInteger<T> => WriteLinear<T, Flat>(c, o, linear, value);

    /// <summary>Stores at an address; of the addressing, only whether it is tentative counts.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool WriteLinear<T, TAddressing>(CpuState* c, Op* o, ulong linear, T value)
        where T : unmanaged, IBinaryInteger<T>
        where TAddressing : struct, IAddressing
    {
        TlbEntry* entry = Entry(c, linear);
        if (entry->WriteTag != (linear + (ulong)(sizeof(T) - 1)) >> 12)
            return !TAddressing.IsTentative && WriteSlow(c, o, linear, sizeof(T), ulong.CreateTruncating(value));
        *(T*)(linear + (ulong)entry->Addend) = value;
        return true;
    }

    /// <summary>Stores 16 bytes, all or nothing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool WriteVector(CpuState* c, Op* o, ulong linear, Vector128<byte> value)
    {
        TlbEntry* entry = Entry(c, linear);
        if (entry->WriteTag == (linear + 15) >> 12)
        {
            *(Vector128<byte>*)(linear + (ulong)entry->Addend) = value;
            return true;
        }

        return WriteVectorSlow(c, o, linear, value.AsUInt64().GetElement(0), value.AsUInt64().GetElement(1));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T* ModifyLinear<T>(CpuState* c, Op* o, ulong linear)
        where T : unmanaged
    {
        TlbEntry* entry = Entry(c, linear);
        if (entry->WriteTag == (linear + (ulong)(sizeof(T) - 1)) >> 12)
            return (T*)(linear + (ulong)entry->Addend);
        return (T*)ModifySlow(c, o, linear, sizeof(T));
    }

    /// <summary>The byte at a linear address, if reading the rest of its page needs no check; else null.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Readable(CpuState* c, ulong linear)
    {
        TlbEntry* entry = Entry(c, linear);
        return entry->ReadTag == linear >> 12 ? (byte*)(linear + (ulong)entry->Addend) : null;
    }

    /// <summary>The byte at a linear address, if writing the rest of its page needs no check; else null.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Writable(CpuState* c, ulong linear)
    {
        TlbEntry* entry = Entry(c, linear);
        return entry->WriteTag == linear >> 12 ? (byte*)(linear + (ulong)entry->Addend) : null;
    }

    /// <summary>Ends a read-modify-write: carries a staged value to where it belongs. Cannot fail.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Commit(CpuState* c, void* pointer)
    {
        if (pointer == c->Staging)
            CommitSlow(c);
    }

    /// <summary>The same behind <see cref="Modify"/>: a tentative access is never staged.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Commit<TAddressing>(CpuState* c, void* pointer)
        where TAddressing : struct, IAddressing
    {
        if (!TAddressing.IsTentative)
            Commit(c, pointer);
    }

    /// <summary>Reads any number of bytes up to 4096 into the start of <see cref="CpuState.Staging"/>, or gives a direct pointer.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static byte* ReadSlow(CpuState* c, Op* o, ulong linear, int size) => c->Owner.ReadSlow(o, linear, size);

    /// <summary>Stores up to 8 bytes.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool WriteSlow(CpuState* c, Op* o, ulong linear, int size, ulong value)
    {
        *(ulong*)c->Staging = value;
        return c->Owner.WriteStaged(o, linear, size);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool WriteVectorSlow(CpuState* c, Op* o, ulong linear, ulong low, ulong high)
    {
        ((ulong*)c->Staging)[0] = low;
        ((ulong*)c->Staging)[1] = high;
        return c->Owner.WriteStaged(o, linear, 16);
    }

    /// <summary>Stores the first <paramref name="size"/> bytes of <see cref="CpuState.Staging"/>, up to 4096; all or nothing.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool WriteStaged(CpuState* c, Op* o, ulong linear, int size) => c->Owner.WriteStaged(o, linear, size);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static byte* ModifySlow(CpuState* c, Op* o, ulong linear, int size) => c->Owner.ModifySlow(o, linear, size);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void CommitSlow(CpuState* c) => c->Owner.CommitStaged();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TlbEntry* Entry(CpuState* c, ulong linear) =>
        (TlbEntry*)((byte*)c->Tlb + ((linear >> (12 - 5)) & (Tlb.IndexMask << 5)));
}
