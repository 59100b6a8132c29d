using System.Numerics;
using System.Runtime.CompilerServices;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>Near Jcc, JMP, CALL, RET, LOOP and JCXZ, and compares joined with a conditional branch.</summary>
internal static unsafe class Branches
{
    private const int Rsp = 4;

    public static void Register(OpcodeMap map)
    {
        for (int condition = 0; condition < 16; condition++)
        {
            map.Add(0x70 + condition, Conditional(Encoding.Rel8 | Encoding.Force64, condition));
            map.Add(0x0F80 + condition, Conditional(Encoding.RelZ | Encoding.Force64, condition));
        }

        map.Add(0xEB, new OpcodeRow("jmp", Encoding.Rel8 | Encoding.Force64, Direct) { Flags = RowFlags.EndsBlock });
        map.Add(0xE9, new OpcodeRow("jmp", Encoding.RelZ | Encoding.Force64, Direct) { Flags = RowFlags.EndsBlock });
        map.Add(0xE8, new OpcodeRow("call", Encoding.RelZ | Encoding.Force64, static (in insn) => insn.OperandSize switch
        {
            8 => &CallDirectQuick,
            4 => &CallDirect<uint>,
            _ => &CallDirect<ushort>,
        })
        { Flags = RowFlags.EndsBlock });
        map.AddGroup(0xFF, 2, new OpcodeRow("call", Encoding.RmD | Encoding.Force64, CallIndirectForm) { Flags = RowFlags.EndsBlock });
        map.AddGroup(0xFF, 4, new OpcodeRow("jmp", Encoding.RmD | Encoding.Force64, JumpIndirectForm) { Flags = RowFlags.EndsBlock });
        map.Add(0xC3, new OpcodeRow("ret", Encoding.Force64, ReturnForm) { Flags = RowFlags.EndsBlock });
        map.Add(0xC2, new OpcodeRow("ret", Encoding.Imm16 | Encoding.Force64, ReturnForm) { Flags = RowFlags.EndsBlock });
        map.Add(0xE0, new OpcodeRow("loopne", Encoding.Rel8 | Encoding.Force64, static (in _) => &Loop<IfNotZero>) { Flags = RowFlags.EndsBlock, Reads = Rflags.Zf });
        map.Add(0xE1, new OpcodeRow("loope", Encoding.Rel8 | Encoding.Force64, static (in _) => &Loop<IfZero>) { Flags = RowFlags.EndsBlock, Reads = Rflags.Zf });
        map.Add(0xE2, new OpcodeRow("loop", Encoding.Rel8 | Encoding.Force64, static (in _) => &Loop<Always>) { Flags = RowFlags.EndsBlock });
        map.Add(0xE3, new OpcodeRow("jrcxz", Encoding.Rel8 | Encoding.Force64, static (in _) => &JumpIfCountZero) { Flags = RowFlags.EndsBlock });
    }

    private static OpcodeRow Conditional(Encoding encoding, int condition) =>
        new("jcc", encoding, (in insn) => SelectConditional(insn, condition))
        { Flags = RowFlags.EndsBlock | RowFlags.ConditionalBranch, Reads = Rflags.Arithmetic };

    private static delegate*<CpuState*, Op*, Op*> SelectConditional(in Insn insn, int condition)
    {
        _ = insn;
        return condition switch
        {
            0 => &Jump<IfOverflow>,
            1 => &Jump<IfNotOverflow>,
            2 => &Jump<IfBelow>,
            3 => &Jump<IfNotBelow>,
            4 => &Jump<IfZero>,
            5 => &Jump<IfNotZero>,
            6 => &Jump<IfBelowOrEqual>,
            7 => &Jump<IfNotBelowOrEqual>,
            8 => &Jump<IfSign>,
            9 => &Jump<IfNotSign>,
            10 => &Jump<IfParity>,
            11 => &Jump<IfNotParity>,
            12 => &Jump<IfLess>,
            13 => &Jump<IfNotLess>,
            14 => &Jump<IfLessOrEqual>,
            _ => &Jump<IfNotLessOrEqual>,
        };
    }

    private static Op* Jump<TCondition>(CpuState* c, Op* o)
        where TCondition : struct, ICondition => TCondition.Test(c) ? Chain.Taken(c, o) : Chain.Next(c, o);

    private readonly struct Always : ICondition
    {
        public static bool Test(CpuState* c) => true;

        public static bool AfterCompare<T>(T a, T b)
            where T : unmanaged, IBinaryInteger<T> => true;

        public static bool AfterLogic<T>(T r)
            where T : unmanaged, IBinaryInteger<T> => true;
    }

    private static delegate*<CpuState*, Op*, Op*> Direct(in Insn insn)
    {
        _ = insn;
        return &Chain.Taken;
    }

    // A target outside the canonical range or the segment limit faults at the branch's target fetch in 64-bit code, which is where
    // processors of the AMD kind report it too; outside 64-bit code the fetch checks the limit.
    // The 64-bit forms are attempted without a slow path first, like those of Handlers.Access. 64-bit near branches exist in 64-bit code only.
    private static Op* CallDirectQuick(CpuState* c, Op* o)
    {
        if (!Stack.Push<ulong, QuickBase>(c, o, ReturnAddress(o)))
            return CallDirect<ulong>(c, o);
        return Chain.Taken(c, o);
    }

    private static Op* CallRegisterQuick(CpuState* c, Op* o)
    {
        ulong target = Handlers.Get<ulong>(c, o->D);
        if (!Stack.Push<ulong, QuickBase>(c, o, ReturnAddress(o)))
            return CallRegister<ulong>(c, o);
        return Chain.Indirect(c, o, target);
    }

    private static Op* CallMemoryQuick(CpuState* c, Op* o)
    {
        if (!Mem.TryLoad<ulong, QuickIndexed>(c, o, out ulong target))
            return CallMemory<ulong, Flat>(c, o);
        if (!Stack.Push<ulong, QuickBase>(c, o, ReturnAddress(o)))
            return CallMemory<ulong, Flat>(c, o);
        return Chain.Indirect(c, o, target);
    }

    private static Op* JumpMemoryQuick(CpuState* c, Op* o)
    {
        if (!Mem.TryLoad<ulong, QuickIndexed>(c, o, out ulong target))
            return JumpMemory<ulong, Flat>(c, o);
        return Chain.Indirect(c, o, target);
    }

    private static Op* ReturnQuick(CpuState* c, Op* o)
    {
        if (!Stack.TryLoad<ulong, QuickBase>(c, o, Rsp, out ulong target))
            return Return<ulong>(c, o);
        c->R[Rsp] += sizeof(ulong) + (ulong)o->Immediate;
        return Chain.Indirect(c, o, target);
    }

    // Worked out when the block was made.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong ReturnAddress(Op* o) => ((BlockExit*)(o + 1))->NextRip;

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Op* CallDirect<T>(CpuState* c, Op* o)
        where T : unmanaged, IBinaryInteger<T> =>
        Stack.Push<T>(c, o, T.CreateTruncating(o->NextRip)) ? Chain.Taken(c, o) : null;

    private static delegate*<CpuState*, Op*, Op*> CallIndirectForm(in Insn insn) => insn.OperandSize switch
    {
        8 => !insn.IsMemory ? &CallRegisterQuick : insn.IsFlat ? &CallMemoryQuick : &CallMemory<ulong, Segmented>,
        4 => !insn.IsMemory ? &CallRegister<uint> : &CallMemory<uint, Segmented>,
        _ => !insn.IsMemory ? &CallRegister<ushort> : &CallMemory<ushort, Segmented>,
    };

    private static delegate*<CpuState*, Op*, Op*> JumpIndirectForm(in Insn insn) => insn.OperandSize switch
    {
        8 => !insn.IsMemory ? &JumpRegister<ulong> : insn.IsFlat ? &JumpMemoryQuick : &JumpMemory<ulong, Segmented>,
        4 => !insn.IsMemory ? &JumpRegister<uint> : &JumpMemory<uint, Segmented>,
        _ => !insn.IsMemory ? &JumpRegister<ushort> : &JumpMemory<ushort, Segmented>,
    };

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Op* CallRegister<T>(CpuState* c, Op* o)
        where T : unmanaged, IBinaryInteger<T>
    {
        ulong target = ulong.CreateTruncating(Handlers.Get<T>(c, o->D));
        return Stack.Push<T>(c, o, T.CreateTruncating(o->NextRip)) ? Chain.Indirect(c, o, target) : null;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Op* CallMemory<T, TAddressing>(CpuState* c, Op* o)
        where T : unmanaged, IBinaryInteger<T>
        where TAddressing : struct, IAddressing
    {
        T* memory = Mem.Read<T, TAddressing>(c, o);
        if (memory == null)
            return null;
        ulong target = ulong.CreateTruncating(*memory);
        return Stack.Push<T>(c, o, T.CreateTruncating(o->NextRip)) ? Chain.Indirect(c, o, target) : null;
    }

    private static Op* JumpRegister<T>(CpuState* c, Op* o)
        where T : unmanaged, IBinaryInteger<T> => Chain.Indirect(c, o, ulong.CreateTruncating(Handlers.Get<T>(c, o->D)));

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Op* JumpMemory<T, TAddressing>(CpuState* c, Op* o)
        where T : unmanaged, IBinaryInteger<T>
        where TAddressing : struct, IAddressing
    {
        T* memory = Mem.Read<T, TAddressing>(c, o);
        return memory == null ? null : Chain.Indirect(c, o, ulong.CreateTruncating(*memory));
    }

    private static delegate*<CpuState*, Op*, Op*> ReturnForm(in Insn insn) => insn.OperandSize switch
    {
        8 => &ReturnQuick,
        4 => &Return<uint>,
        _ => &Return<ushort>,
    };

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Op* Return<T>(CpuState* c, Op* o)
        where T : unmanaged, IBinaryInteger<T>
    {
        T* top = Stack.Top<T>(c, o);
        if (top == null)
            return null;
        ulong target = ulong.CreateTruncating(*top);
        Stack.Drop(c, o, sizeof(T) + (int)o->Immediate);
        return Chain.Indirect(c, o, target);
    }

    private static Op* Loop<TCondition>(CpuState* c, Op* o)
        where TCondition : struct, ICondition
    {
        ulong mask = OpBits.AddressMask(o->Bits);
        ulong count = (c->R[1] - 1) & mask;
        c->R[1] = mask == 0xFFFF ? (c->R[1] & ~mask) | count : count;
        return count != 0 && TCondition.Test(c) ? Chain.Taken(c, o) : Chain.Next(c, o);
    }

    private static Op* JumpIfCountZero(CpuState* c, Op* o) =>
        (c->R[1] & OpBits.AddressMask(o->Bits)) == 0 ? Chain.Taken(c, o) : Chain.Next(c, o);

    /// <summary>Joins a compare of rm with a register.</summary>
    public static delegate*<CpuState*, Op*, Op*> FuseRm<TTest>(in Insn insn, int condition)
        where TTest : struct, IBinaryOp, IFusedTest => insn.IsMemory
        ? PickMemory<TTest, MemoryRegisterOperands<QuickBase>, MemoryRegisterOperands<QuickIndexed>, MemoryRegisterOperands<Flat>>(insn, condition)
        : Pick<Fused<TTest, RegisterOperands>>(insn, condition);

    /// <summary>Joins a compare of a register with rm.</summary>
    public static delegate*<CpuState*, Op*, Op*> FuseReg<TTest>(in Insn insn, int condition)
        where TTest : struct, IBinaryOp, IFusedTest => insn.IsMemory
        ? PickMemory<TTest, RegisterMemoryOperands<QuickBase>, RegisterMemoryOperands<QuickIndexed>, RegisterMemoryOperands<Flat>>(insn, condition)
        : Pick<Fused<TTest, RegisterOperands>>(insn, condition);

    /// <summary>Joins a compare of rm or the accumulator with an immediate.</summary>
    public static delegate*<CpuState*, Op*, Op*> FuseImmediate<TTest>(in Insn insn, int condition)
        where TTest : struct, IBinaryOp, IFusedTest => insn.IsMemory
        ? PickMemory<TTest, MemoryImmediateOperands<QuickBase>, MemoryImmediateOperands<QuickIndexed>, MemoryImmediateOperands<Flat>>(insn, condition)
        : Pick<Fused<TTest, ImmediateOperands>>(insn, condition);

    // As with Handlers.Access, the first attempt has no slow path.
    private static delegate*<CpuState*, Op*, Op*> PickMemory<TTest, TBase, TIndexed, TSlow>(in Insn insn, int condition)
        where TTest : struct, IBinaryOp, IFusedTest
        where TBase : struct, IOperands
        where TIndexed : struct, IOperands
        where TSlow : struct, IOperands => !insn.IsFlat ? null
        : insn.Index == CpuState.ZeroRegister ? Pick<Attempt<TTest, TBase, TSlow>>(insn, condition)
        : Pick<Attempt<TTest, TIndexed, TSlow>>(insn, condition);

    private static delegate*<CpuState*, Op*, Op*> Pick<TFused>(in Insn insn, int condition)
        where TFused : struct, IFused => insn.OperandSize switch
        {
            1 => Pick<TFused, byte>(condition),
            2 => Pick<TFused, ushort>(condition),
            4 => Pick<TFused, uint>(condition),
            _ => Pick<TFused, ulong>(condition),
        };

    private static delegate*<CpuState*, Op*, Op*> Pick<TFused, T>(int condition)
        where TFused : struct, IFused
        where T : unmanaged, IBinaryInteger<T> => condition switch
        {
            2 => &TFused.Run<IfBelow, T>,
            3 => &TFused.Run<IfNotBelow, T>,
            4 => &TFused.Run<IfZero, T>,
            5 => &TFused.Run<IfNotZero, T>,
            6 => &TFused.Run<IfBelowOrEqual, T>,
            7 => &TFused.Run<IfNotBelowOrEqual, T>,
            8 => &TFused.Run<IfSign, T>,
            9 => &TFused.Run<IfNotSign, T>,
            12 => &TFused.Run<IfLess, T>,
            13 => &TFused.Run<IfNotLess, T>,
            14 => &TFused.Run<IfLessOrEqual, T>,
            15 => &TFused.Run<IfNotLessOrEqual, T>,
            _ => null, // overflow and parity are rare
        };

    private interface IFused
    {
        static abstract Op* Run<TCondition, T>(CpuState* c, Op* o)
            where TCondition : struct, ICondition
            where T : unmanaged, IBinaryInteger<T>;
    }

    private interface IOperands
    {
        /// <summary>Loads both operands. False: the access stopped the instruction.</summary>
        static abstract bool TryLoad<T>(CpuState* c, Op* o, out T left, out T right)
            where T : unmanaged, IBinaryInteger<T>;
    }

    private readonly struct Fused<TTest, TOperands> : IFused
        where TTest : struct, IBinaryOp, IFusedTest
        where TOperands : struct, IOperands
    {
        [MethodImpl(MethodImplOptions.NoInlining)]
        public static Op* Run<TCondition, T>(CpuState* c, Op* o)
            where TCondition : struct, ICondition
            where T : unmanaged, IBinaryInteger<T>
        {
            if (!TOperands.TryLoad(c, o, out T left, out T right))
                return null;
            _ = TTest.Apply(c, left, right);
            if (TTest.Test<TCondition, T>(left, right))
                return Chain.Taken(c, o);
            return Chain.Next(c, o);
        }
    }

    private readonly struct Attempt<TTest, TQuick, TSlow> : IFused
        where TTest : struct, IBinaryOp, IFusedTest
        where TQuick : struct, IOperands
        where TSlow : struct, IOperands
    {
        public static Op* Run<TCondition, T>(CpuState* c, Op* o)
            where TCondition : struct, ICondition
            where T : unmanaged, IBinaryInteger<T>
        {
            if (!TQuick.TryLoad(c, o, out T left, out T right))
                return Fused<TTest, TSlow>.Run<TCondition, T>(c, o);
            _ = TTest.Apply(c, left, right);
            if (TTest.Test<TCondition, T>(left, right))
                return Chain.Taken(c, o);
            return Chain.Next(c, o);
        }
    }

    private readonly struct RegisterOperands : IOperands
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool TryLoad<T>(CpuState* c, Op* o, out T left, out T right)
            where T : unmanaged, IBinaryInteger<T>
        {
            left = Handlers.Get<T>(c, o->D);
            right = Handlers.Get<T>(c, o->S);
            return true;
        }
    }

    private readonly struct ImmediateOperands : IOperands
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool TryLoad<T>(CpuState* c, Op* o, out T left, out T right)
            where T : unmanaged, IBinaryInteger<T>
        {
            left = Handlers.Get<T>(c, o->D);
            right = T.CreateTruncating(o->Immediate);
            return true;
        }
    }

    private readonly struct MemoryRegisterOperands<TAddressing> : IOperands
        where TAddressing : struct, IAddressing
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool TryLoad<T>(CpuState* c, Op* o, out T left, out T right)
            where T : unmanaged, IBinaryInteger<T>
        {
            right = Handlers.Get<T>(c, o->S);
            return Mem.TryLoad<T, TAddressing>(c, o, out left);
        }
    }

    private readonly struct RegisterMemoryOperands<TAddressing> : IOperands
        where TAddressing : struct, IAddressing
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool TryLoad<T>(CpuState* c, Op* o, out T left, out T right)
            where T : unmanaged, IBinaryInteger<T>
        {
            left = Handlers.Get<T>(c, o->D);
            return Mem.TryLoad<T, TAddressing>(c, o, out right);
        }
    }

    private readonly struct MemoryImmediateOperands<TAddressing> : IOperands
        where TAddressing : struct, IAddressing
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool TryLoad<T>(CpuState* c, Op* o, out T left, out T right)
            where T : unmanaged, IBinaryInteger<T>
        {
            right = T.CreateTruncating(o->Immediate);
            return Mem.TryLoad<T, TAddressing>(c, o, out left);
        }
    }
}
