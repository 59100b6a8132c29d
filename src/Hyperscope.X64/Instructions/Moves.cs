using System.Numerics;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>MOV, MOVZX, MOVSX, MOVSXD, LEA, XCHG, CMOVcc, SETcc, BSWAP, sign extensions, NOP.</summary>
internal static unsafe class Moves
{
    public static void Register(OpcodeMap map)
    {
        map.Add(0x88, new OpcodeRow("mov", Encoding.RmD | Encoding.RegS | Encoding.Byte, StoreOrMove));
        map.Add(0x89, new OpcodeRow("mov", Encoding.RmD | Encoding.RegS, StoreOrMove));
        map.Add(0x8A, new OpcodeRow("mov", Encoding.RegD | Encoding.RmS | Encoding.Byte, LoadOrMove));
        map.Add(0x8B, new OpcodeRow("mov", Encoding.RegD | Encoding.RmS, LoadOrMove));
        map.AddGroup(0xC6, 0, new OpcodeRow("mov", Encoding.RmD | Encoding.Imm8 | Encoding.Byte, StoreImmediate));
        map.AddGroup(0xC7, 0, new OpcodeRow("mov", Encoding.RmD | Encoding.ImmZ, StoreImmediate));
        map.Add(0xA0, new OpcodeRow("mov", Encoding.AccD | Encoding.Moffs | Encoding.Byte, Handlers.Access<Load>));
        map.Add(0xA1, new OpcodeRow("mov", Encoding.AccD | Encoding.Moffs, Handlers.Access<Load>));
        map.Add(0xA2, new OpcodeRow("mov", Encoding.Moffs | Encoding.Byte, Handlers.Access<Store>));
        map.Add(0xA3, new OpcodeRow("mov", Encoding.Moffs, Handlers.Access<Store>));
        for (int register = 0; register < 8; register++)
        {
            map.Add(0xB0 + register, new OpcodeRow("mov", Encoding.OpcodeD | Encoding.Imm8 | Encoding.Byte, Handlers.Sized<MoveImmediate>));
            map.Add(0xB8 + register, new OpcodeRow("mov", Encoding.OpcodeD | Encoding.ImmV, Handlers.Sized<MoveImmediate>));
            map.Add(0x0FC8 + register, new OpcodeRow("bswap", Encoding.OpcodeD, Handlers.Sized<ByteSwap>));
            if (register != 0)
                map.Add(0x90 + register, new OpcodeRow("xchg", Encoding.OpcodeD, Handlers.Sized<ExchangeAccumulator>));
        }

        // 90 is NOP unless REX.B makes it XCHG r8, rax; F3 90 is PAUSE with any REX.
        map.Add(0x90, new OpcodeRow("nop", Encoding.OpcodeD, static (in insn) =>
            DoesNothing(insn) ? Handlers.Plain<Nothing>(insn) : Handlers.Sized<ExchangeAccumulator>(insn))
        { Flags = RowFlags.NoOperation });
        map.Add(0x0F1F, new OpcodeRow("nop", Encoding.ModRm, Handlers.Plain<Nothing>) { Flags = RowFlags.NoOperation });
        for (int opcode = 0x0F19; opcode < 0x0F1F; opcode++)
            map.Add(opcode, new OpcodeRow("nop", Encoding.ModRm, Handlers.Plain<Nothing>) { Flags = RowFlags.NoOperation });
        map.Add(0x0F18, new OpcodeRow("prefetch", Encoding.ModRm, Handlers.Plain<Nothing>) { Flags = RowFlags.NoOperation });
        map.Add(0x0F0D, new OpcodeRow("prefetchw", Encoding.ModRm, Handlers.Plain<Nothing>) { Flags = RowFlags.NoOperation });

        map.Add(0x0FB6, new OpcodeRow("movzx", Encoding.RegD | Encoding.RmS | Encoding.ByteSource, Extension<ZeroExtend, byte>));
        map.Add(0x0FB7, new OpcodeRow("movzx", Encoding.RegD | Encoding.RmS | Encoding.WordSource, Extension<ZeroExtend, ushort>));
        map.Add(0x0FBE, new OpcodeRow("movsx", Encoding.RegD | Encoding.RmS | Encoding.ByteSource, Extension<SignExtend, byte>));
        map.Add(0x0FBF, new OpcodeRow("movsx", Encoding.RegD | Encoding.RmS | Encoding.WordSource, Extension<SignExtend, ushort>));
        map.Add(0x63, new OpcodeRow("movsxd", Encoding.RegD | Encoding.RmS, MoveSignExtendDoubleword));
        map.Add(0x8D, new OpcodeRow("lea", Encoding.RegD, Handlers.Access<LoadAddress>) { Flags = RowFlags.MemoryOnly });
        map.Add(0x86, new OpcodeRow("xchg", Encoding.RmD | Encoding.RegS | Encoding.Byte, ExchangeForm) { Flags = RowFlags.Lockable });
        map.Add(0x87, new OpcodeRow("xchg", Encoding.RmD | Encoding.RegS, ExchangeForm) { Flags = RowFlags.Lockable });
        map.Add(0x98, new OpcodeRow("cbw", Encoding.None, Handlers.Sized<ConvertAccumulator>));
        map.Add(0x99, new OpcodeRow("cwd", Encoding.None, Handlers.Sized<SpreadSign>));

        AddConditional<IfOverflow, IfNotOverflow>(map, 0x0);
        AddConditional<IfBelow, IfNotBelow>(map, 0x2);
        AddConditional<IfZero, IfNotZero>(map, 0x4);
        AddConditional<IfBelowOrEqual, IfNotBelowOrEqual>(map, 0x6);
        AddConditional<IfSign, IfNotSign>(map, 0x8);
        AddConditional<IfParity, IfNotParity>(map, 0xA);
        AddConditional<IfLess, IfNotLess>(map, 0xC);
        AddConditional<IfLessOrEqual, IfNotLessOrEqual>(map, 0xE);
    }

    /// <summary>True for NOP in all its encodings, PAUSE, ENDBR and prefetches, which no handler needs to be called for.</summary>
    public static bool DoesNothing(in Insn insn) =>
        insn.Row.Has(RowFlags.NoOperation) && (insn.Map != 0 || (insn.Rex & 1) == 0 || insn.HasRep);

    private static void AddConditional<TCondition, TNegated>(OpcodeMap map, int code)
        where TCondition : struct, ICondition
        where TNegated : struct, ICondition
    {
        AddOne<TCondition>(map, code);
        AddOne<TNegated>(map, code + 1);
    }

    private static void AddOne<TCondition>(OpcodeMap map, int code)
        where TCondition : struct, ICondition
    {
        map.Add(0x0F40 + code, new OpcodeRow("cmovcc", Encoding.RegD | Encoding.RmS, static (in insn) =>
            insn.IsMemory ? Handlers.Access<ConditionalLoad<TCondition>>(insn) : Handlers.Sized<ConditionalMove<TCondition>>(insn))
        { Reads = Rflags.Arithmetic });
        map.Add(0x0F90 + code, new OpcodeRow("setcc", Encoding.RmD | Encoding.Byte, static (in insn) =>
            insn.IsMemory ? Handlers.Addressed<StoreCondition<TCondition>>(insn) : Handlers.Plain<SetCondition<TCondition>>(insn))
        { Reads = Rflags.Arithmetic });
    }

    private static delegate*<CpuState*, Op*, Op*> StoreOrMove(in Insn insn) =>
        insn.IsMemory ? Handlers.Access<Store>(insn) : Handlers.Sized<Move>(insn);

    private static delegate*<CpuState*, Op*, Op*> LoadOrMove(in Insn insn) =>
        insn.IsMemory ? Handlers.Access<Load>(insn) : Handlers.Sized<Move>(insn);

    private static delegate*<CpuState*, Op*, Op*> StoreImmediate(in Insn insn) =>
        insn.IsMemory ? Handlers.Access<StoreConstant>(insn) : Handlers.Sized<MoveImmediate>(insn);

    private static delegate*<CpuState*, Op*, Op*> ExchangeForm(in Insn insn) =>
        insn.IsMemory ? Handlers.Access<ExchangeMemory>(insn) : Handlers.Sized<Exchange>(insn);

    private static delegate*<CpuState*, Op*, Op*> Extension<TExtend, TSource>(in Insn insn)
        where TExtend : struct, IExtension
        where TSource : unmanaged, IBinaryInteger<TSource> =>
        insn.IsMemory ? Handlers.Access<LoadExtended<TExtend, TSource>>(insn) : Handlers.Sized<MoveExtended<TExtend, TSource>>(insn);

    // 63 is MOVSXD in 64-bit code (a plain MOV without REX.W) and ARPL elsewhere, which the segment instructions provide.
    private static delegate*<CpuState*, Op*, Op*> MoveSignExtendDoubleword(in Insn insn)
    {
        if (insn.CodeSize != CodeSize.Bits64)
            return SegmentInstructions.AdjustRpl(insn);
        return insn.OperandSize == 8 ? Extension<SignExtend, uint>(insn) : LoadOrMove(insn);
    }

    internal readonly struct Nothing : IPlain
    {
        public static bool Run(CpuState* c, Op* o) => true;
    }

    private readonly struct Move : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            Handlers.Set(c, o->D, Handlers.Get<T>(c, o->S));
            return true;
        }
    }

    private readonly struct MoveImmediate : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            Handlers.Set(c, o->D, T.CreateTruncating(o->Immediate));
            return true;
        }
    }

    private readonly struct Load : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            if (!Mem.TryLoad<T, TAddressing>(c, o, out T value))
                return false;
            Handlers.Set(c, o->D, value);
            return true;
        }
    }

    private readonly struct Store : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing => Mem.Write<T, TAddressing>(c, o, Handlers.Get<T>(c, o->S));
    }

    private readonly struct StoreConstant : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing => Mem.Write<T, TAddressing>(c, o, T.CreateTruncating(o->Immediate));
    }

    private interface IExtension
    {
        static abstract TResult Extend<TSource, TResult>(TSource value)
            where TSource : unmanaged, IBinaryInteger<TSource>
            where TResult : unmanaged, IBinaryInteger<TResult>;
    }

    private readonly struct ZeroExtend : IExtension
    {
        public static TResult Extend<TSource, TResult>(TSource value)
            where TSource : unmanaged, IBinaryInteger<TSource>
            where TResult : unmanaged, IBinaryInteger<TResult> => TResult.CreateTruncating(value);
    }

    private readonly struct SignExtend : IExtension
    {
        public static TResult Extend<TSource, TResult>(TSource value)
            where TSource : unmanaged, IBinaryInteger<TSource>
            where TResult : unmanaged, IBinaryInteger<TResult> => TResult.CreateTruncating(Execution.Flags.SignExtend(value));
    }

    private readonly struct MoveExtended<TExtend, TSource> : ISized
        where TExtend : struct, IExtension
        where TSource : unmanaged, IBinaryInteger<TSource>
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            Handlers.Set(c, o->D, TExtend.Extend<TSource, T>(Handlers.Get<TSource>(c, o->S)));
            return true;
        }
    }

    private readonly struct LoadExtended<TExtend, TSource> : ISized
        where TExtend : struct, IExtension
        where TSource : unmanaged, IBinaryInteger<TSource>
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            if (!Mem.TryLoad<TSource, TAddressing>(c, o, out TSource value))
                return false;
            Handlers.Set(c, o->D, TExtend.Extend<TSource, T>(value));
            return true;
        }
    }

    private readonly struct LoadAddress : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            ulong address = typeof(TAddressing) == typeof(QuickBase) ? QuickBase.Linear(c, o, 0, false) : Flat.Linear(c, o, 0, false);
            if (typeof(TAddressing) == typeof(Segmented))
                address &= OpBits.AddressMask(o->Bits);
            Handlers.Set(c, o->D, T.CreateTruncating(address));
            return true;
        }
    }

    private readonly struct Exchange : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            T left = Handlers.Get<T>(c, o->D), right = Handlers.Get<T>(c, o->S);
            Handlers.Set(c, o->D, right);
            Handlers.Set(c, o->S, left);
            return true;
        }
    }

    private readonly struct ExchangeAccumulator : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            T left = Handlers.Get<T>(c, o->D), right = Handlers.Get<T>(c, 0);
            Handlers.Set(c, o->D, right);
            Handlers.Set(c, 0, left);
            return true;
        }
    }

    // XCHG with memory is locked with or without the prefix.
    private readonly struct ExchangeMemory : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            if (!Mem.TryModify<T, TAddressing>(c, o, out T* memory))
                return false;
            T old = Atomic.Exchange(memory, Handlers.Get<T>(c, o->S));
            Mem.Commit<TAddressing>(c, memory);
            Handlers.Set(c, o->S, old);
            return true;
        }
    }

    private readonly struct ByteSwap : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            if (typeof(T) == typeof(ulong))
                Handlers.Set(c, o->D, System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(Handlers.Get<ulong>(c, o->D)));
            else if (typeof(T) == typeof(uint))
                Handlers.Set(c, o->D, System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(Handlers.Get<uint>(c, o->D)));
            else
                Handlers.Set(c, o->D, (ushort)0); // undefined for 16 bits; processors give zero
            return true;
        }
    }

    private readonly struct ConvertAccumulator : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            ulong rax = c->R[0];
            if (typeof(T) == typeof(ulong))
                c->R[0] = (ulong)(int)rax;
            else if (typeof(T) == typeof(uint))
                c->R[0] = (uint)(short)rax;
            else
                *(ushort*)c->R = (ushort)(sbyte)rax;
            return true;
        }
    }

    private readonly struct SpreadSign : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            Handlers.Set(c, 2 * 8, Compare.IsNegative(Handlers.Get<T>(c, 0)) ? T.AllBitsSet : T.Zero);
            return true;
        }
    }

    private readonly struct ConditionalMove<TCondition> : ISized
        where TCondition : struct, ICondition
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            // A 32-bit destination is zero-extended even if the condition is false.
            Handlers.Set(c, o->D, TCondition.Test(c) ? Handlers.Get<T>(c, o->S) : Handlers.Get<T>(c, o->D));
            return true;
        }
    }

    private readonly struct ConditionalLoad<TCondition> : ISized
        where TCondition : struct, ICondition
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            if (!Mem.TryLoad<T, TAddressing>(c, o, out T value))
                return false;
            Handlers.Set(c, o->D, TCondition.Test(c) ? value : Handlers.Get<T>(c, o->D));
            return true;
        }
    }

    private readonly struct SetCondition<TCondition> : IPlain
        where TCondition : struct, ICondition
    {
        public static bool Run(CpuState* c, Op* o)
        {
            Handlers.Set(c, o->D, (byte)(TCondition.Test(c) ? 1 : 0));
            return true;
        }
    }

    private readonly struct StoreCondition<TCondition> : IAddressed
        where TCondition : struct, ICondition
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing => Mem.Write<byte, TAddressing>(c, o, (byte)(TCondition.Test(c) ? 1 : 0));
    }
}
