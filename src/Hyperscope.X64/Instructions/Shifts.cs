using System.Numerics;
using System.Runtime.CompilerServices;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>ROL ROR RCL RCR SHL SHR SAR SHLD SHRD.</summary>
/// <remarks>Counts are masked to 5 bits, or 6 for 64-bit operands; a count of zero leaves every flag alone (SDM vol. 2, "SAL/SAR/SHL/SHR").
/// Where the architecture leaves OF undefined (counts above 1), it is what the formula for a count of 1 gives.</remarks>
internal static unsafe class Shifts
{
    private const int Cl = 1 * 8;

    public static void Register(OpcodeMap map)
    {
        const ulong Rotated = Rflags.Cf | Rflags.Of;
        Add<RotateLeft>(map, 0, "rol", Rotated, undefined: 0, reads: 0);
        Add<RotateRight>(map, 1, "ror", Rotated, undefined: 0, reads: 0);
        Add<RotateCarryLeft>(map, 2, "rcl", Rotated, undefined: 0, reads: Rflags.Cf);
        Add<RotateCarryRight>(map, 3, "rcr", Rotated, undefined: 0, reads: Rflags.Cf);
        Add<ShiftLeft>(map, 4, "shl", Rflags.Arithmetic, undefined: Rflags.Af, reads: 0);
        Add<ShiftRight>(map, 5, "shr", Rflags.Arithmetic, undefined: Rflags.Af, reads: 0);
        Add<ShiftLeft>(map, 6, "sal", Rflags.Arithmetic, undefined: Rflags.Af, reads: 0);
        Add<ShiftRightArithmetic>(map, 7, "sar", Rflags.Arithmetic, undefined: Rflags.Af, reads: 0);
        AddDouble<DoubleLeft>(map, 0x0FA4, "shld");
        AddDouble<DoubleRight>(map, 0x0FAC, "shrd");
    }

    // Member n of the groups C0 C1 (imm8), D0 D1 (1) and D2 D3 (CL). OF is defined for a count of 1 only, CF not beyond the operand's width.
    private static void Add<TOp>(OpcodeMap map, int number, string name, ulong writes, ulong undefined, ulong reads)
        where TOp : struct, IShift
    {
        OpcodeRow Row(Encoding encoding, HandlerSelector select, bool isByOne) =>
            new(name, Encoding.RmD | encoding, select) { Writes = writes, Undefined = undefined | (isByOne ? 0 : Rflags.Of), Reads = reads };

        map.AddGroup(0xC0, number, Row(Encoding.Byte | Encoding.Imm8, Form<TOp, ByImmediate>, false));
        map.AddGroup(0xC1, number, Row(Encoding.Imm8, Form<TOp, ByImmediate>, false));
        map.AddGroup(0xD0, number, Row(Encoding.Byte, Form<TOp, ByOne>, true));
        map.AddGroup(0xD1, number, Row(Encoding.None, Form<TOp, ByOne>, true));
        map.AddGroup(0xD2, number, Row(Encoding.Byte, Form<TOp, ByCl>, false));
        map.AddGroup(0xD3, number, Row(Encoding.None, Form<TOp, ByCl>, false));
    }

    private static void AddDouble<TOp>(OpcodeMap map, int opcode, string name)
        where TOp : struct, IDoubleShift
    {
        OpcodeRow Row(Encoding encoding, HandlerSelector select) =>
            new(name, Encoding.RmD | Encoding.RegS | encoding, select) { Writes = Rflags.Arithmetic, Undefined = Rflags.Af | Rflags.Of };

        map.Add(opcode, Row(Encoding.Imm8, DoubleForm<TOp, ByImmediate>));
        map.Add(opcode + 1, Row(Encoding.None, DoubleForm<TOp, ByCl>));
    }

    private static delegate*<CpuState*, Op*, Op*> Form<TOp, TCount>(in Insn insn)
        where TOp : struct, IShift
        where TCount : struct, ICount =>
        insn.IsMemory ? Handlers.Sized<ShiftMemory<TOp, TCount>>(insn) : Handlers.Sized<ShiftRegister<TOp, TCount>>(insn);

    private static delegate*<CpuState*, Op*, Op*> DoubleForm<TOp, TCount>(in Insn insn)
        where TOp : struct, IDoubleShift
        where TCount : struct, ICount =>
        insn.IsMemory ? Handlers.Sized<DoubleMemory<TOp, TCount>>(insn) : Handlers.Sized<DoubleRegister<TOp, TCount>>(insn);

    private interface ICount
    {
        static abstract int Get(CpuState* c, Op* o);
    }

    private readonly struct ByOne : ICount
    {
        public static int Get(CpuState* c, Op* o) => 1;
    }

    private readonly struct ByCl : ICount
    {
        public static int Get(CpuState* c, Op* o) => *((byte*)c + Cl);
    }

    private readonly struct ByImmediate : ICount
    {
        public static int Get(CpuState* c, Op* o) => (int)o->Immediate;
    }

    private interface IShift
    {
        /// <summary>Shifts by 1 to 31 (63 for 64-bit operands) and sets the flags.</summary>
        static abstract T Apply<T>(CpuState* c, T value, int count)
            where T : unmanaged, IBinaryInteger<T>;
    }

    private interface IDoubleShift
    {
        /// <summary>Shifts bits of <paramref name="filler"/> into <paramref name="value"/> and sets the flags.</summary>
        static abstract T Apply<T>(CpuState* c, T value, T filler, int count)
            where T : unmanaged, IBinaryInteger<T>;
    }

    private readonly struct ShiftLeft : IShift
    {
        public static T Apply<T>(CpuState* c, T value, int count)
            where T : unmanaged, IBinaryInteger<T>
        {
            ulong wide = ulong.CreateTruncating(value);
            T result = T.CreateTruncating(wide << count);
            bool carry = sizeof(T) == 8 ? Bit(wide, 64 - count) : Bit(wide << count, sizeof(T) * 8);
            Flags.SetResult(c, result, carry, carry != Compare.IsNegative(result));
            return result;
        }
    }

    private readonly struct ShiftRight : IShift
    {
        public static T Apply<T>(CpuState* c, T value, int count)
            where T : unmanaged, IBinaryInteger<T>
        {
            ulong wide = ulong.CreateTruncating(value);
            T result = T.CreateTruncating(wide >> count);
            Flags.SetResult(c, result, Bit(wide, count - 1), TopBitsDiffer(result));
            return result;
        }
    }

    private readonly struct ShiftRightArithmetic : IShift
    {
        public static T Apply<T>(CpuState* c, T value, int count)
            where T : unmanaged, IBinaryInteger<T>
        {
            var wide = (long)Flags.SignExtend(value);
            T result = T.CreateTruncating(wide >> count);
            Flags.SetResult(c, result, Bit((ulong)wide, count - 1), overflow: false);
            return result;
        }
    }

    private readonly struct RotateLeft : IShift
    {
        public static T Apply<T>(CpuState* c, T value, int count)
            where T : unmanaged, IBinaryInteger<T>
        {
            T result = Rotate(value, count);
            bool carry = Bit(ulong.CreateTruncating(result), 0);
            Flags.SetCarryOverflow(c, carry, carry != Compare.IsNegative(result));
            return result;
        }
    }

    private readonly struct RotateRight : IShift
    {
        public static T Apply<T>(CpuState* c, T value, int count)
            where T : unmanaged, IBinaryInteger<T>
        {
            T result = Rotate(value, -count);
            Flags.SetCarryOverflow(c, Compare.IsNegative(result), TopBitsDiffer(result));
            return result;
        }
    }

    // The carry is one more bit of what rotates, so 8 and 16-bit operands come round after 9 and 17.
    private readonly struct RotateCarryLeft : IShift
    {
        public static T Apply<T>(CpuState* c, T value, int count)
            where T : unmanaged, IBinaryInteger<T>
        {
            int bits = sizeof(T) * 8;
            count %= bits + 1;
            if (count == 0)
                return value;
            ulong wide = ulong.CreateTruncating(value), carryIn = Flags.Carry(c) ? 1UL : 0;
            ulong low = count == 1 ? carryIn : (carryIn << (count - 1)) | (wide >> (bits + 1 - count));
            T result = T.CreateTruncating((wide << count) | low);
            bool carry = Bit(wide, bits - count);
            Flags.SetCarryOverflow(c, carry, carry != Compare.IsNegative(result));
            return result;
        }
    }

    private readonly struct RotateCarryRight : IShift
    {
        public static T Apply<T>(CpuState* c, T value, int count)
            where T : unmanaged, IBinaryInteger<T>
        {
            int bits = sizeof(T) * 8;
            count %= bits + 1;
            if (count == 0)
                return value;
            ulong wide = ulong.CreateTruncating(value), carryIn = Flags.Carry(c) ? 1UL : 0;
            ulong high = (carryIn << (bits - count)) | (count == 1 ? 0 : wide << (bits + 1 - count));
            T result = T.CreateTruncating((wide >> count) | high);
            Flags.SetCarryOverflow(c, Bit(wide, count - 1), TopBitsDiffer(result));
            return result;
        }
    }

    // A 16-bit operand with a count above 16 has no defined result; processors shift through destination, source, destination.
    private readonly struct DoubleLeft : IDoubleShift
    {
        public static T Apply<T>(CpuState* c, T value, T filler, int count)
            where T : unmanaged, IBinaryInteger<T>
        {
            ulong high = ulong.CreateTruncating(value), low = ulong.CreateTruncating(filler);
            T result;
            bool carry;
            if (sizeof(T) == 2)
            {
                ulong all = (high << 32) | (low << 16) | high;
                result = T.CreateTruncating((all << count) >> 32);
                carry = Bit(all, 48 - count);
            }
            else
            {
                result = T.CreateTruncating((high << count) | (low >> ((sizeof(T) * 8) - count)));
                carry = Bit(high, (sizeof(T) * 8) - count);
            }

            Flags.SetResult(c, result, carry, carry != Compare.IsNegative(result));
            return result;
        }
    }

    private readonly struct DoubleRight : IDoubleShift
    {
        public static T Apply<T>(CpuState* c, T value, T filler, int count)
            where T : unmanaged, IBinaryInteger<T>
        {
            ulong low = ulong.CreateTruncating(value), high = ulong.CreateTruncating(filler);
            ulong all = sizeof(T) == 2 ? (low << 32) | (high << 16) | low : low;
            T result = sizeof(T) == 2
                ? T.CreateTruncating(all >> count)
                : T.CreateTruncating((low >> count) | (high << ((sizeof(T) * 8) - count)));
            Flags.SetResult(c, result, Bit(all, count - 1), TopBitsDiffer(result));
            return result;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool Bit(ulong value, int index) => ((value >> index) & 1) != 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool TopBitsDiffer<T>(T value)
        where T : unmanaged, IBinaryInteger<T>
    {
        ulong wide = Flags.SignExtend(value);
        return (long)(wide ^ (wide << (64 - (sizeof(T) * 8) + 1))) < 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T Rotate<T>(T value, int count)
        where T : unmanaged, IBinaryInteger<T>
    {
        if (sizeof(T) == 8)
            return T.CreateTruncating(BitOperations.RotateLeft(ulong.CreateTruncating(value), count));
        if (sizeof(T) == 4)
            return T.CreateTruncating(BitOperations.RotateLeft(uint.CreateTruncating(value), count));
        int bits = sizeof(T) * 8, left = count & (bits - 1);
        uint wide = uint.CreateTruncating(value);
        return T.CreateTruncating((wide << left) | (wide >> (bits - left)));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Masked<T>(int count)
        where T : unmanaged => count & (sizeof(T) == 8 ? 63 : 31);

    private readonly struct ShiftRegister<TOp, TCount> : ISized
        where TOp : struct, IShift
        where TCount : struct, ICount
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            int count = Masked<T>(TCount.Get(c, o));
            T value = Handlers.Get<T>(c, o->D);
            Handlers.Set(c, o->D, count == 0 ? value : TOp.Apply(c, value, count));
            return true;
        }
    }

    // The destination must be writable even if the count is zero.
    private readonly struct ShiftMemory<TOp, TCount> : ISized
        where TOp : struct, IShift
        where TCount : struct, ICount
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            T* memory = Mem.Modify<T, TAddressing>(c, o);
            if (memory == null)
                return false;
            int count = Masked<T>(TCount.Get(c, o));
            if (count == 0)
                return true;
            *memory = TOp.Apply(c, *memory, count);
            Mem.Commit(c, memory);
            return true;
        }
    }

    private readonly struct DoubleRegister<TOp, TCount> : ISized
        where TOp : struct, IDoubleShift
        where TCount : struct, ICount
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            int count = Masked<T>(TCount.Get(c, o));
            T value = Handlers.Get<T>(c, o->D);
            Handlers.Set(c, o->D, count == 0 ? value : TOp.Apply(c, value, Handlers.Get<T>(c, o->S), count));
            return true;
        }
    }

    private readonly struct DoubleMemory<TOp, TCount> : ISized
        where TOp : struct, IDoubleShift
        where TCount : struct, ICount
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            T* memory = Mem.Modify<T, TAddressing>(c, o);
            if (memory == null)
                return false;
            int count = Masked<T>(TCount.Get(c, o));
            if (count == 0)
                return true;
            *memory = TOp.Apply(c, *memory, Handlers.Get<T>(c, o->S), count);
            Mem.Commit(c, memory);
            return true;
        }
    }
}
