using System.Numerics;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>An operation on two operands that gives a result and sets the arithmetic flags.</summary>
internal unsafe interface IBinaryOp
{
    /// <summary>Computes the result and sets the flags.</summary>
    static abstract T Apply<T>(CpuState* c, T left, T right)
        where T : unmanaged, IBinaryInteger<T>;
}

/// <summary>An operation on one operand; it sets flags if it does at all.</summary>
internal unsafe interface IUnaryOp
{
    /// <inheritdoc cref="IBinaryOp.Apply"/>
    static abstract T Apply<T>(CpuState* c, T value)
        where T : unmanaged, IBinaryInteger<T>;
}

/// <summary>A comparison that can be joined with the conditional branch behind it.</summary>
internal interface IFusedTest
{
    static abstract bool Test<TCondition, T>(T left, T right)
        where TCondition : struct, ICondition
        where T : unmanaged, IBinaryInteger<T>;
}

/// <summary>ADD OR ADC SBB AND SUB XOR CMP TEST INC DEC NEG NOT.</summary>
internal static unsafe class Arithmetic
{
    public static void Register(OpcodeMap map)
    {
        AddBinary<Add>(map, 0, "add", Rflags.Arithmetic);
        AddBinary<Or>(map, 1, "or", Rflags.Arithmetic, undefined: Rflags.Af);
        AddBinary<AddWithCarry>(map, 2, "adc", Rflags.Arithmetic, reads: Rflags.Cf);
        AddBinary<SubtractWithBorrow>(map, 3, "sbb", Rflags.Arithmetic, reads: Rflags.Cf);
        AddBinary<And>(map, 4, "and", Rflags.Arithmetic, undefined: Rflags.Af);
        AddBinary<Subtract>(map, 5, "sub", Rflags.Arithmetic);
        AddBinary<Xor>(map, 6, "xor", Rflags.Arithmetic, undefined: Rflags.Af);
        AddCompare<CompareTest>(map, 0x38, "cmp", Rflags.Arithmetic);
        AddTest(map);
        AddUnary<Increment>(map, 0xFE, 0, "inc", Rflags.Arithmetic & ~Rflags.Cf);
        AddUnary<Decrement>(map, 0xFE, 1, "dec", Rflags.Arithmetic & ~Rflags.Cf);
        AddUnary<Not>(map, 0xF6, 2, "not", 0);
        AddUnary<Negate>(map, 0xF6, 3, "neg", Rflags.Arithmetic);
        for (int register = 0; register < 8; register++)
        {
            map.Add(0x40 + register, new OpcodeRow("inc", Encoding.OpcodeD, Handlers.Sized<UnaryRegister<Increment>>)
            { Flags = RowFlags.Not64, Writes = Rflags.Arithmetic & ~Rflags.Cf });
            map.Add(0x48 + register, new OpcodeRow("dec", Encoding.OpcodeD, Handlers.Sized<UnaryRegister<Decrement>>)
            { Flags = RowFlags.Not64, Writes = Rflags.Arithmetic & ~Rflags.Cf });
        }
    }

    // The six encodings at n * 8, and member n of the immediate groups 80, 81, 82 and 83.
    private static void AddBinary<TOp>(OpcodeMap map, int number, string name, ulong writes, ulong undefined = 0, ulong reads = 0)
        where TOp : struct, IBinaryOp
    {
        OpcodeRow Row(Encoding encoding, HandlerSelector select, RowFlags flags = RowFlags.None) =>
            new(name, encoding, select) { Flags = flags, Writes = writes, Undefined = undefined, Reads = reads };

        int first = number * 8;
        map.Add(first, Row(Encoding.RmD | Encoding.RegS | Encoding.Byte, ToRm<TOp>, RowFlags.Lockable));
        map.Add(first + 1, Row(Encoding.RmD | Encoding.RegS, ToRm<TOp>, RowFlags.Lockable));
        map.Add(first + 2, Row(Encoding.RegD | Encoding.RmS | Encoding.Byte, ToReg<TOp>));
        map.Add(first + 3, Row(Encoding.RegD | Encoding.RmS, ToReg<TOp>));
        map.Add(first + 4, Row(Encoding.AccD | Encoding.Imm8 | Encoding.Byte, Handlers.Sized<ToRegister<TOp, ImmediateOperand>>));
        map.Add(first + 5, Row(Encoding.AccD | Encoding.ImmZ, Handlers.Sized<ToRegister<TOp, ImmediateOperand>>));
        map.AddGroup(0x80, number, Row(Encoding.RmD | Encoding.Imm8 | Encoding.Byte, Immediate<TOp>, RowFlags.Lockable));
        map.AddGroup(0x81, number, Row(Encoding.RmD | Encoding.ImmZ, Immediate<TOp>, RowFlags.Lockable));
        map.AddGroup(0x82, number, Row(Encoding.RmD | Encoding.Imm8 | Encoding.Byte, Immediate<TOp>, RowFlags.Lockable | RowFlags.Not64));
        map.AddGroup(0x83, number, Row(Encoding.RmD | Encoding.Imm8Signed, Immediate<TOp>, RowFlags.Lockable));
    }

    private static delegate*<CpuState*, Op*, Op*> ToRm<TOp>(in Insn insn)
        where TOp : struct, IBinaryOp => !insn.IsMemory ? Handlers.Sized<ToRegister<TOp, RegisterOperand>>(insn)
        : insn.HasLock ? Handlers.Access<ToMemoryLocked<TOp, RegisterOperand>>(insn) : Handlers.Access<ToMemory<TOp, RegisterOperand>>(insn);

    private static delegate*<CpuState*, Op*, Op*> ToReg<TOp>(in Insn insn)
        where TOp : struct, IBinaryOp => insn.IsMemory ? Handlers.Access<RegisterMemory<TOp>>(insn) : Handlers.Sized<ToRegister<TOp, RegisterOperand>>(insn);

    private static delegate*<CpuState*, Op*, Op*> Immediate<TOp>(in Insn insn)
        where TOp : struct, IBinaryOp => !insn.IsMemory ? Handlers.Sized<ToRegister<TOp, ImmediateOperand>>(insn)
        : insn.HasLock ? Handlers.Access<ToMemoryLocked<TOp, ImmediateOperand>>(insn) : Handlers.Access<ToMemory<TOp, ImmediateOperand>>(insn);

    private static void AddCompare<TTest>(OpcodeMap map, int first, string name, ulong writes)
        where TTest : struct, IBinaryOp, IFusedTest
    {
        OpcodeRow Row(Encoding encoding, HandlerSelector select, HandlerFuser fuse, RowFlags flags = RowFlags.None) =>
            new(name, encoding, select) { Flags = flags, Writes = writes, Fuse = fuse };

        map.Add(first, Row(Encoding.RmD | Encoding.RegS | Encoding.Byte, CompareRm<TTest>, Branches.FuseRm<TTest>));
        map.Add(first + 1, Row(Encoding.RmD | Encoding.RegS, CompareRm<TTest>, Branches.FuseRm<TTest>));
        map.Add(first + 2, Row(Encoding.RegD | Encoding.RmS | Encoding.Byte, CompareReg<TTest>, Branches.FuseReg<TTest>));
        map.Add(first + 3, Row(Encoding.RegD | Encoding.RmS, CompareReg<TTest>, Branches.FuseReg<TTest>));
        map.Add(first + 4, Row(Encoding.AccD | Encoding.Imm8 | Encoding.Byte, Handlers.Sized<CompareRegister<TTest, ImmediateOperand>>, Branches.FuseImmediate<TTest>));
        map.Add(first + 5, Row(Encoding.AccD | Encoding.ImmZ, Handlers.Sized<CompareRegister<TTest, ImmediateOperand>>, Branches.FuseImmediate<TTest>));
        map.AddGroup(0x80, 7, Row(Encoding.RmD | Encoding.Imm8 | Encoding.Byte, CompareImmediate<TTest>, Branches.FuseImmediate<TTest>));
        map.AddGroup(0x81, 7, Row(Encoding.RmD | Encoding.ImmZ, CompareImmediate<TTest>, Branches.FuseImmediate<TTest>));
        map.AddGroup(0x82, 7, Row(Encoding.RmD | Encoding.Imm8 | Encoding.Byte, CompareImmediate<TTest>, Branches.FuseImmediate<TTest>, RowFlags.Not64));
        map.AddGroup(0x83, 7, Row(Encoding.RmD | Encoding.Imm8Signed, CompareImmediate<TTest>, Branches.FuseImmediate<TTest>));
    }

    private static void AddTest(OpcodeMap map)
    {
        OpcodeRow Row(Encoding encoding, HandlerSelector select, HandlerFuser fuse) =>
            new("test", encoding, select) { Writes = Rflags.Arithmetic, Undefined = Rflags.Af, Fuse = fuse };

        map.Add(0x84, Row(Encoding.RmD | Encoding.RegS | Encoding.Byte, CompareRm<AndTest>, Branches.FuseRm<AndTest>));
        map.Add(0x85, Row(Encoding.RmD | Encoding.RegS, CompareRm<AndTest>, Branches.FuseRm<AndTest>));
        map.Add(0xA8, Row(Encoding.AccD | Encoding.Imm8 | Encoding.Byte, Handlers.Sized<CompareRegister<AndTest, ImmediateOperand>>, Branches.FuseImmediate<AndTest>));
        map.Add(0xA9, Row(Encoding.AccD | Encoding.ImmZ, Handlers.Sized<CompareRegister<AndTest, ImmediateOperand>>, Branches.FuseImmediate<AndTest>));
        for (int reg = 0; reg < 2; reg++)
        {
            map.AddGroup(0xF6, reg, Row(Encoding.RmD | Encoding.Imm8 | Encoding.Byte, CompareImmediate<AndTest>, Branches.FuseImmediate<AndTest>));
            map.AddGroup(0xF7, reg, Row(Encoding.RmD | Encoding.ImmZ, CompareImmediate<AndTest>, Branches.FuseImmediate<AndTest>));
        }
    }

    private static delegate*<CpuState*, Op*, Op*> CompareRm<TTest>(in Insn insn)
        where TTest : struct, IBinaryOp => insn.IsMemory ? Handlers.Access<CompareMemory<TTest, RegisterOperand>>(insn) : Handlers.Sized<CompareRegister<TTest, RegisterOperand>>(insn);

    private static delegate*<CpuState*, Op*, Op*> CompareReg<TTest>(in Insn insn)
        where TTest : struct, IBinaryOp => insn.IsMemory ? Handlers.Access<CompareRegisterMemory<TTest>>(insn) : Handlers.Sized<CompareRegister<TTest, RegisterOperand>>(insn);

    private static delegate*<CpuState*, Op*, Op*> CompareImmediate<TTest>(in Insn insn)
        where TTest : struct, IBinaryOp => insn.IsMemory ? Handlers.Access<CompareMemory<TTest, ImmediateOperand>>(insn)
        : Handlers.Sized<CompareRegister<TTest, ImmediateOperand>>(insn);

    // Byte form at the opcode, the other sizes behind it.
    private static void AddUnary<TOp>(OpcodeMap map, int opcode, int reg, string name, ulong writes)
        where TOp : struct, IUnaryOp
    {
        map.AddGroup(opcode, reg, new OpcodeRow(name, Encoding.RmD | Encoding.Byte, Unary<TOp>) { Flags = RowFlags.Lockable, Writes = writes });
        map.AddGroup(opcode + 1, reg, new OpcodeRow(name, Encoding.RmD, Unary<TOp>) { Flags = RowFlags.Lockable, Writes = writes });
    }

    private static delegate*<CpuState*, Op*, Op*> Unary<TOp>(in Insn insn)
        where TOp : struct, IUnaryOp => !insn.IsMemory ? Handlers.Sized<UnaryRegister<TOp>>(insn)
        : insn.HasLock ? Handlers.Access<LockedUnaryMemory<TOp>>(insn) : Handlers.Access<UnaryMemory<TOp>>(insn);

    internal readonly struct Add : IBinaryOp
    {
        public static T Apply<T>(CpuState* c, T left, T right)
            where T : unmanaged, IBinaryInteger<T>
        {
            T result = unchecked(left + right);
            Flags.SetAdd(c, left, right, result);
            return result;
        }
    }

    internal readonly struct AddWithCarry : IBinaryOp
    {
        public static T Apply<T>(CpuState* c, T left, T right)
            where T : unmanaged, IBinaryInteger<T>
        {
            T result = unchecked(left + right + (Flags.Carry(c) ? T.One : T.Zero));
            Flags.SetAdd(c, left, right, result);
            return result;
        }
    }

    internal readonly struct Subtract : IBinaryOp
    {
        public static T Apply<T>(CpuState* c, T left, T right)
            where T : unmanaged, IBinaryInteger<T>
        {
            T result = unchecked(left - right);
            Flags.SetSub(c, left, right, result);
            return result;
        }
    }

    internal readonly struct SubtractWithBorrow : IBinaryOp
    {
        public static T Apply<T>(CpuState* c, T left, T right)
            where T : unmanaged, IBinaryInteger<T>
        {
            T result = unchecked(left - right - (Flags.Carry(c) ? T.One : T.Zero));
            Flags.SetSub(c, left, right, result);
            return result;
        }
    }

    internal readonly struct And : IBinaryOp
    {
        public static T Apply<T>(CpuState* c, T left, T right)
            where T : unmanaged, IBinaryInteger<T>
        {
            T result = left & right;
            Flags.SetLogic(c, result);
            return result;
        }
    }

    internal readonly struct Or : IBinaryOp
    {
        public static T Apply<T>(CpuState* c, T left, T right)
            where T : unmanaged, IBinaryInteger<T>
        {
            T result = left | right;
            Flags.SetLogic(c, result);
            return result;
        }
    }

    internal readonly struct Xor : IBinaryOp
    {
        public static T Apply<T>(CpuState* c, T left, T right)
            where T : unmanaged, IBinaryInteger<T>
        {
            T result = left ^ right;
            Flags.SetLogic(c, result);
            return result;
        }
    }

    internal readonly struct CompareTest : IBinaryOp, IFusedTest
    {
        public static T Apply<T>(CpuState* c, T left, T right)
            where T : unmanaged, IBinaryInteger<T> => Subtract.Apply(c, left, right);

        public static bool Test<TCondition, T>(T left, T right)
            where TCondition : struct, ICondition
            where T : unmanaged, IBinaryInteger<T> => TCondition.AfterCompare(left, right);
    }

    internal readonly struct AndTest : IBinaryOp, IFusedTest
    {
        public static T Apply<T>(CpuState* c, T left, T right)
            where T : unmanaged, IBinaryInteger<T> => And.Apply(c, left, right);

        public static bool Test<TCondition, T>(T left, T right)
            where TCondition : struct, ICondition
            where T : unmanaged, IBinaryInteger<T> => TCondition.AfterLogic(left & right);
    }

    private readonly struct Increment : IUnaryOp
    {
        public static T Apply<T>(CpuState* c, T value)
            where T : unmanaged, IBinaryInteger<T>
        {
            T result = unchecked(value + T.One);
            Flags.SetKeepingCarry(c, result, Compare.IsNegative(result & ~value), (result & T.CreateTruncating(0xF)) == T.Zero);
            return result;
        }
    }

    private readonly struct Decrement : IUnaryOp
    {
        public static T Apply<T>(CpuState* c, T value)
            where T : unmanaged, IBinaryInteger<T>
        {
            T result = unchecked(value - T.One);
            Flags.SetKeepingCarry(c, result, Compare.IsNegative(value & ~result), (value & T.CreateTruncating(0xF)) == T.Zero);
            return result;
        }
    }

    private readonly struct Negate : IUnaryOp
    {
        public static T Apply<T>(CpuState* c, T value)
            where T : unmanaged, IBinaryInteger<T> => Subtract.Apply(c, T.Zero, value);
    }

    private readonly struct Not : IUnaryOp
    {
        public static T Apply<T>(CpuState* c, T value)
            where T : unmanaged, IBinaryInteger<T> => ~value;
    }

    private readonly struct ToRegister<TOp, TRight> : ISized
        where TOp : struct, IBinaryOp
        where TRight : struct, IOperand
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            Handlers.Set(c, o->D, TOp.Apply(c, Handlers.Get<T>(c, o->D), TRight.Get<T>(c, o)));
            return true;
        }
    }

    private readonly struct RegisterMemory<TOp> : ISized
        where TOp : struct, IBinaryOp
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            if (!Mem.TryLoad<T, TAddressing>(c, o, out T right))
                return false;
            Handlers.Set(c, o->D, TOp.Apply(c, Handlers.Get<T>(c, o->D), right));
            return true;
        }
    }

    private readonly struct ToMemory<TOp, TRight> : ISized
        where TOp : struct, IBinaryOp
        where TRight : struct, IOperand
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            if (!Mem.TryModify<T, TAddressing>(c, o, out T* memory))
                return false;
            *memory = TOp.Apply(c, *memory, TRight.Get<T>(c, o));
            Mem.Commit<TAddressing>(c, memory);
            return true;
        }
    }

    private readonly struct ToMemoryLocked<TOp, TRight> : ISized
        where TOp : struct, IBinaryOp
        where TRight : struct, IOperand
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            return Mem.TryModify<T, TAddressing>(c, o, out T* memory) && Locked<TOp, T, TAddressing>(c, memory, TRight.Get<T>(c, o));
        }
    }

    // ADC and SBB read the carry, so each attempt starts from the flags as they were.
    private static bool Locked<TOp, T, TAddressing>(CpuState* c, T* memory, T right)
        where TOp : struct, IBinaryOp
        where T : unmanaged, IBinaryInteger<T>
        where TAddressing : struct, IAddressing
    {
        ulong result = c->FlagResult, aux = c->FlagAux;
        T seen = *memory;
        while (true)
        {
            c->FlagResult = result;
            c->FlagAux = aux;
            T before = seen;
            seen = Atomic.CompareExchange(memory, TOp.Apply(c, before, right), before);
            if (seen == before)
                break;
        }

        Mem.Commit<TAddressing>(c, memory);
        return true;
    }

    private readonly struct CompareRegister<TOp, TRight> : ISized
        where TOp : struct, IBinaryOp
        where TRight : struct, IOperand
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            _ = TOp.Apply(c, Handlers.Get<T>(c, o->D), TRight.Get<T>(c, o));
            return true;
        }
    }

    private readonly struct CompareRegisterMemory<TOp> : ISized
        where TOp : struct, IBinaryOp
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            if (!Mem.TryLoad<T, TAddressing>(c, o, out T right))
                return false;
            _ = TOp.Apply(c, Handlers.Get<T>(c, o->D), right);
            return true;
        }
    }

    private readonly struct CompareMemory<TOp, TRight> : ISized
        where TOp : struct, IBinaryOp
        where TRight : struct, IOperand
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            if (!Mem.TryLoad<T, TAddressing>(c, o, out T left))
                return false;
            _ = TOp.Apply(c, left, TRight.Get<T>(c, o));
            return true;
        }
    }

    private readonly struct UnaryRegister<TOp> : ISized
        where TOp : struct, IUnaryOp
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            Handlers.Set(c, o->D, TOp.Apply(c, Handlers.Get<T>(c, o->D)));
            return true;
        }
    }

    private readonly struct UnaryMemory<TOp> : ISized
        where TOp : struct, IUnaryOp
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            if (!Mem.TryModify<T, TAddressing>(c, o, out T* memory))
                return false;
            *memory = TOp.Apply(c, *memory);
            Mem.Commit<TAddressing>(c, memory);
            return true;
        }
    }

    private readonly struct LockedUnaryMemory<TOp> : ISized
        where TOp : struct, IUnaryOp
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            if (!Mem.TryModify<T, TAddressing>(c, o, out T* memory))
                return false;
            ulong result = c->FlagResult, aux = c->FlagAux;
            T seen = *memory;
            while (true)
            {
                c->FlagResult = result;
                c->FlagAux = aux;
                T before = seen;
                seen = Atomic.CompareExchange(memory, TOp.Apply(c, before), before);
                if (seen == before)
                    break;
            }

            Mem.Commit<TAddressing>(c, memory);
            return true;
        }
    }
}
