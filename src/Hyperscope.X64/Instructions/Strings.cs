using System.Numerics;
using System.Runtime.CompilerServices;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>MOVS CMPS SCAS LODS STOS, alone and repeated.</summary>
/// <remarks>Each element is an instruction of its own: when one stops, rcx, rsi and rdi account for those before it and rip stays. Where the
/// translation cache allows it, the elements up to the end of a page are done in one go.</remarks>
internal static unsafe class Strings
{
    public const int Rcx = 1, Rsi = 6, Rdi = 7;

    public static void Register(OpcodeMap map)
    {
        Add<Move>(map, 0xA4, "movs", 0);
        Add<Compare>(map, 0xA6, "cmps", Rflags.Arithmetic);
        Add<Store>(map, 0xAA, "stos", 0);
        Add<Load>(map, 0xAC, "lods", 0);
        Add<Scan>(map, 0xAE, "scas", Rflags.Arithmetic);
    }

    private static void Add<TString>(OpcodeMap map, int opcode, string name, ulong writes)
        where TString : struct, ISized
    {
        map.Add(opcode, new OpcodeRow(name, Encoding.Byte, Handlers.Sized<TString>) { Writes = writes });
        map.Add(opcode + 1, new OpcodeRow(name, Encoding.None, Handlers.Sized<TString>) { Writes = writes });
    }

    /// <summary>Elements left to do: 1 without a repeat prefix, else the count register cut to the address size.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Count(CpuState* c, Op* o)
    {
        if ((o->Bits & (OpBits.Rep | OpBits.RepNe)) == 0)
            return 1;
        ulong count = c->R[Rcx] & OpBits.AddressMask(o->Bits);
        if (count == 0)
            SetAddress(c, o, Rcx, 0); // a 32-bit count is zero-extended even if nothing is done
        return count;
    }

    /// <summary>Takes elements off the count register. True if there is no repeat prefix.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Counted(CpuState* c, Op* o, ulong elements)
    {
        if ((o->Bits & (OpBits.Rep | OpBits.RepNe)) == 0)
            return true;
        SetAddress(c, o, Rcx, c->R[Rcx] - elements);
        return false;
    }

    /// <summary>Moves an index register over elements, up or down by DF.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Advance(CpuState* c, Op* o, int register, int size, ulong elements)
    {
        ulong distance = elements * (ulong)size;
        SetAddress(c, o, register, (c->SystemFlags & Rflags.Df) == 0 ? c->R[register] + distance : c->R[register] - distance);
    }

    /// <summary>True, with the instruction stopped to be resumed, if the run loop is to look around: it was asked to, or the budget is used up.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool MustPause(CpuState* c, Op* o) => (c->Attention | (c->Budget - ++c->Repeated)) < 0 && !c->StopAt(o, StopReason.None);

    /// <summary>The linear address of the element at rsi.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Source(CpuState* c, Op* o, int size) =>
        Segmented.At(c, o, o->Segment, c->R[Rsi] & OpBits.AddressMask(o->Bits), size, isWrite: false);

    /// <summary>The linear address of the element at rdi, always in ES.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Destination(CpuState* c, Op* o, int size, bool isWrite)
    {
        ulong offset = c->R[Rdi] & OpBits.AddressMask(o->Bits);
        return (o->Bits & (OpBits.Code16 | OpBits.Code32)) == 0 ? offset : Segmented.Checked(c, o, SegmentIndex.Es, offset, size, isWrite);
    }

    private static void SetAddress(CpuState* c, Op* o, int register, ulong value)
    {
        if ((o->Bits & OpBits.AddressSize16) != 0)
            *(ushort*)(c->R + register) = (ushort)value;
        else if ((o->Bits & OpBits.AddressSize32) != 0)
            c->R[register] = (uint)value;
        else
            c->R[register] = value;
    }

    /// <summary>How many elements from a linear address upwards can be done in one go: on one page, inside the segment, without a wrap.</summary>
    /// <returns>At least 1, which the caller does the long way.</returns>
    private static ulong Run(CpuState* c, Op* o, SegmentIndex segment, int register, ulong linear, int size, bool isWrite, ulong wanted)
    {
        if (wanted == 1 || c->Attention < 0 || (c->SystemFlags & Rflags.Df) != 0)
            return 1;
        ulong mask = OpBits.AddressMask(o->Bits), offset = c->R[register] & mask;
        ulong elements = Math.Min(wanted, (4096 - (linear & 0xFFF)) / (ulong)size);
        if (mask != ulong.MaxValue)
            elements = Math.Min(elements, (mask - offset + 1) / (ulong)size);
        if (elements <= 1)
            return 1;
        return (o->Bits & (OpBits.Code16 | OpBits.Code32)) == 0 || Segmented.Fits(c, segment, offset, elements * (ulong)size, isWrite) ? elements : 1;
    }

    // With a count of zero and 32-bit addresses, processors cut the index registers of MOVS and STOS, and no others.
    private static void TruncateIndexes(CpuState* c, Op* o, bool isMove)
    {
        SetAddress(c, o, Rdi, c->R[Rdi]);
        if (isMove)
            SetAddress(c, o, Rsi, c->R[Rsi]);
    }

    private readonly struct Move : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            ulong count = Count(c, o);
            if (count == 0)
                TruncateIndexes(c, o, isMove: true);
            while (count != 0)
            {
                ulong done = Some<T>(c, o, count);
                if (done == 0)
                    return false;
                Advance(c, o, Rsi, sizeof(T), done);
                Advance(c, o, Rdi, sizeof(T), done);
                count -= done;
                if (!Counted(c, o, done) && count != 0 && MustPause(c, o))
                    return false;
            }

            return true;
        }

        // The elements done; 0 if stopped.
        private static ulong Some<T>(CpuState* c, Op* o, ulong count)
            where T : unmanaged, IBinaryInteger<T>
        {
            ulong from = Source(c, o, sizeof(T));
            if (c->Stop != StopReason.None)
                return 0;
            ulong to = Destination(c, o, sizeof(T), isWrite: true);
            ulong elements = Strings.Run(c, o, o->Segment, Rsi, from, sizeof(T), isWrite: false, count);
            elements = Strings.Run(c, o, SegmentIndex.Es, Rdi, to, sizeof(T), isWrite: true, elements);
            if (elements > 1)
            {
                byte* source = Mem.Readable(c, from), destination = Mem.Writable(c, to);
                if (source != null && destination != null)
                {
                    Copy<T>(source, destination, elements);
                    return elements;
                }
            }

            T* element = Mem.ReadLinear<T>(c, o, from);
            return element != null && Mem.WriteLinear(c, o, to, *element) ? 1UL : 0;
        }

        // A destination that starts inside the source repeats what is between them, element by element, as the processor does.
        private static void Copy<T>(byte* source, byte* destination, ulong elements)
            where T : unmanaged
        {
            ulong bytes = elements * (ulong)sizeof(T);
            if ((ulong)(destination - source) >= bytes)
            {
                Buffer.MemoryCopy(source, destination, bytes, bytes);
                return;
            }

            var from = (T*)source;
            var to = (T*)destination;
            for (ulong index = 0; index < elements; index++)
                to[index] = from[index];
        }
    }

    private readonly struct Store : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            T value = Handlers.Get<T>(c, 0);
            ulong count = Count(c, o);
            if (count == 0)
                TruncateIndexes(c, o, isMove: false);
            while (count != 0)
            {
                ulong linear = Destination(c, o, sizeof(T), isWrite: true);
                ulong done = Strings.Run(c, o, SegmentIndex.Es, Rdi, linear, sizeof(T), isWrite: true, count);
                byte* destination = done > 1 ? Mem.Writable(c, linear) : null;
                if (destination != null)
                {
                    new Span<T>(destination, (int)done).Fill(value);
                }
                else
                {
                    if (!Mem.WriteLinear(c, o, linear, value))
                        return false;
                    done = 1;
                }

                Advance(c, o, Rdi, sizeof(T), done);
                count -= done;
                if (!Counted(c, o, done) && count != 0 && MustPause(c, o))
                    return false;
            }

            return true;
        }
    }

    private readonly struct Load : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            for (ulong count = Count(c, o); count != 0; count--)
            {
                T* element = Mem.ReadLinear<T>(c, o, Source(c, o, sizeof(T)));
                if (element == null)
                    return false;
                Handlers.Set(c, 0, *element);
                Advance(c, o, Rsi, sizeof(T), 1);
                if (!Counted(c, o, 1) && count != 1 && MustPause(c, o))
                    return false;
            }

            return true;
        }
    }

    // REPE goes on while equal, REPNE while not; the flags are those of the last comparison.
    private static bool IsLast(Op* o, bool isEqual) => isEqual ? (o->Bits & OpBits.RepNe) != 0 : (o->Bits & OpBits.Rep) != 0;

    private readonly struct Compare : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            for (ulong count = Count(c, o); count != 0; count--)
            {
                T* element = Mem.ReadLinear<T>(c, o, Source(c, o, sizeof(T)));
                if (element == null)
                    return false;
                T left = *element;
                element = Mem.ReadLinear<T>(c, o, Destination(c, o, sizeof(T), isWrite: false));
                if (element == null)
                    return false;
                T right = *element;
                Flags.SetSub(c, left, right, unchecked(left - right));
                Advance(c, o, Rsi, sizeof(T), 1);
                Advance(c, o, Rdi, sizeof(T), 1);
                if (Counted(c, o, 1) || IsLast(o, left == right))
                    return true;
                if (count != 1 && MustPause(c, o))
                    return false;
            }

            return true;
        }
    }

    private readonly struct Scan : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            T left = Handlers.Get<T>(c, 0);
            for (ulong count = Count(c, o); count != 0; count--)
            {
                T* element = Mem.ReadLinear<T>(c, o, Destination(c, o, sizeof(T), isWrite: false));
                if (element == null)
                    return false;
                T right = *element;
                Flags.SetSub(c, left, right, unchecked(left - right));
                Advance(c, o, Rdi, sizeof(T), 1);
                if (Counted(c, o, 1) || IsLast(o, left == right))
                    return true;
                if (count != 1 && MustPause(c, o))
                    return false;
            }

            return true;
        }
    }
}
