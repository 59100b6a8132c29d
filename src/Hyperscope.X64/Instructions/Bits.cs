using System.Numerics;
using System.Runtime.CompilerServices;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>BT BTS BTR BTC BSF BSR POPCNT.</summary>
internal static unsafe class Bits
{
    public static void Register(OpcodeMap map)
    {
        Add<Keep>(map, 0x0FA3, 4, "bt", RowFlags.None);
        Add<Set>(map, 0x0FAB, 5, "bts", RowFlags.Lockable);
        Add<Reset>(map, 0x0FB3, 6, "btr", RowFlags.Lockable);
        Add<Complement>(map, 0x0FBB, 7, "btc", RowFlags.Lockable);

        // Without BMI1 and LZCNT a F3 prefix in front of BSF and BSR is ignored.
        const ulong Undefined = Rflags.Arithmetic & ~Rflags.Zf;
        map.Add(0x0FBC, new OpcodeRow("bsf", Encoding.RegD | Encoding.RmS, Sources.Rm<ScanForward>)
        { Writes = Rflags.Arithmetic, Undefined = Undefined });
        map.Add(0x0FBD, new OpcodeRow("bsr", Encoding.RegD | Encoding.RmS, Sources.Rm<ScanReverse>)
        { Writes = Rflags.Arithmetic, Undefined = Undefined });
        map.Add(0xF3, 0x0FB8, new OpcodeRow("popcnt", Encoding.RegD | Encoding.RmS, Sources.Rm<PopulationCount>)
        { Writes = Rflags.Arithmetic, Feature = "POPCNT" });
    }

    // Bit offset in a register at the opcode; in an immediate byte, member n of 0F BA.
    private static void Add<TOp>(OpcodeMap map, int opcode, int reg, string name, RowFlags flags)
        where TOp : struct, IBitOp
    {
        const ulong Undefined = Rflags.Of | Rflags.Sf | Rflags.Af | Rflags.Pf;
        map.Add(opcode, new OpcodeRow(name, Encoding.RmD | Encoding.RegS, static (in insn) =>
            insn.IsMemory ? Handlers.Sized<MemoryByRegister<TOp>>(insn) : Handlers.Sized<RegisterByRegister<TOp>>(insn))
        { Flags = flags, Writes = Rflags.Cf | Undefined, Undefined = Undefined });
        map.AddGroup(0x0FBA, reg, new OpcodeRow(name, Encoding.RmD | Encoding.Imm8, static (in insn) =>
            insn.IsMemory ? Handlers.Sized<MemoryByConstant<TOp>>(insn) : Handlers.Sized<RegisterByConstant<TOp>>(insn))
        { Flags = flags, Writes = Rflags.Cf | Undefined, Undefined = Undefined });
    }

    private interface IBitOp
    {
        static abstract bool Modifies { get; }

        static abstract T Apply<T>(T value, T bit)
            where T : unmanaged, IBinaryInteger<T>;
    }

    private readonly struct Keep : IBitOp
    {
        public static bool Modifies => false;

        public static T Apply<T>(T value, T bit)
            where T : unmanaged, IBinaryInteger<T> => value;
    }

    private readonly struct Set : IBitOp
    {
        public static bool Modifies => true;

        public static T Apply<T>(T value, T bit)
            where T : unmanaged, IBinaryInteger<T> => value | bit;
    }

    private readonly struct Reset : IBitOp
    {
        public static bool Modifies => true;

        public static T Apply<T>(T value, T bit)
            where T : unmanaged, IBinaryInteger<T> => value & ~bit;
    }

    private readonly struct Complement : IBitOp
    {
        public static bool Modifies => true;

        public static T Apply<T>(T value, T bit)
            where T : unmanaged, IBinaryInteger<T> => value ^ bit;
    }

    private static T Bit<T>(ulong offset)
        where T : unmanaged, IBinaryInteger<T> => T.CreateTruncating(1UL << (int)(offset & (ulong)((sizeof(T) * 8) - 1)));

    private static bool OnRegister<TOp, T>(CpuState* c, Op* o, ulong offset)
        where TOp : struct, IBitOp
        where T : unmanaged, IBinaryInteger<T>
    {
        T value = Handlers.Get<T>(c, o->D), bit = Bit<T>(offset);
        Flags.SetCarry(c, (value & bit) != T.Zero);
        if (TOp.Modifies)
            Handlers.Set(c, o->D, TOp.Apply(value, bit));
        return true;
    }

    private static bool OnMemory<TOp, T>(CpuState* c, Op* o, ulong linear, ulong offset)
        where TOp : struct, IBitOp
        where T : unmanaged, IBinaryInteger<T>
    {
        T bit = Bit<T>(offset), value;
        if (!TOp.Modifies)
        {
            T* source = Mem.ReadLinear<T>(c, o, linear);
            if (source == null)
                return false;
            value = *source;
        }
        else
        {
            T* memory = Mem.ModifyLinear<T>(c, o, linear);
            if (memory == null)
                return false;
            value = *memory;
            if ((o->Bits & OpBits.Lock) == 0)
            {
                *memory = TOp.Apply(value, bit);
            }
            else
            {
                while (true)
                {
                    T before = value;
                    value = Atomic.CompareExchange(memory, TOp.Apply(before, bit), before);
                    if (value == before)
                        break;
                }
            }

            Mem.Commit(c, memory);
        }

        Flags.SetCarry(c, (value & bit) != T.Zero);
        return true;
    }

    private readonly struct RegisterByRegister<TOp> : ISized
        where TOp : struct, IBitOp
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing => OnRegister<TOp, T>(c, o, ulong.CreateTruncating(Handlers.Get<T>(c, o->S)));
    }

    private readonly struct RegisterByConstant<TOp> : ISized
        where TOp : struct, IBitOp
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing => OnRegister<TOp, T>(c, o, (ulong)o->Immediate);
    }

    private readonly struct MemoryByConstant<TOp> : ISized
        where TOp : struct, IBitOp
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing =>
            OnMemory<TOp, T>(c, o, TAddressing.Linear(c, o, sizeof(T), TOp.Modifies), (ulong)o->Immediate);
    }

    // A bit offset in a register is signed and selects the operand among all of memory.
    private readonly struct MemoryByRegister<TOp> : ISized
        where TOp : struct, IBitOp
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            var offset = (long)Flags.SignExtend(Handlers.Get<T>(c, o->S));
            ulong distance = (ulong)((offset >> (sizeof(T) == 8 ? 6 : sizeof(T) == 4 ? 5 : 4)) * sizeof(T));
            ulong address = Flat.Linear(c, o, sizeof(T), TOp.Modifies) + distance;
            if (typeof(TAddressing) != typeof(Flat))
                address = Segmented.At(c, o, o->Segment, address & OpBits.AddressMask(o->Bits), sizeof(T), TOp.Modifies);
            return OnMemory<TOp, T>(c, o, address, (ulong)offset);
        }
    }

    // A source of zero leaves the destination as it is.
    private readonly struct ScanForward : IReader
    {
        public static bool Apply<T>(CpuState* c, Op* o, T operand)
            where T : unmanaged, IBinaryInteger<T>
        {
            if (operand != T.Zero)
                Handlers.Set(c, o->D, T.CreateTruncating(BitOperations.TrailingZeroCount(ulong.CreateTruncating(operand))));
            Flags.SetLogic(c, operand);
            return true;
        }
    }

    private readonly struct ScanReverse : IReader
    {
        public static bool Apply<T>(CpuState* c, Op* o, T operand)
            where T : unmanaged, IBinaryInteger<T>
        {
            if (operand != T.Zero)
                Handlers.Set(c, o->D, T.CreateTruncating(BitOperations.Log2(ulong.CreateTruncating(operand))));
            Flags.SetLogic(c, operand);
            return true;
        }
    }

    private readonly struct PopulationCount : IReader
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Apply<T>(CpuState* c, Op* o, T operand)
            where T : unmanaged, IBinaryInteger<T>
        {
            Handlers.Set(c, o->D, T.CreateTruncating(BitOperations.PopCount(ulong.CreateTruncating(operand))));
            Flags.Load(c, operand == T.Zero ? Rflags.Zf : 0);
            return true;
        }
    }
}
