using System.Numerics;
using System.Runtime.CompilerServices;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>PUSH, POP, LEAVE, and the stack accesses of other instructions.</summary>
internal static unsafe class Stack
{
    private const int Rsp = 4, Rbp = 5;

    public static void Register(OpcodeMap map)
    {
        for (int register = 0; register < 8; register++)
        {
            map.Add(0x50 + register, new OpcodeRow("push", Encoding.OpcodeD | Encoding.Default64, Handlers.Access<PushRegister>));
            map.Add(0x58 + register, new OpcodeRow("pop", Encoding.OpcodeD | Encoding.Default64, Handlers.Access<PopRegister>));
        }

        map.Add(0x68, new OpcodeRow("push", Encoding.ImmZ | Encoding.Default64, Handlers.Access<PushImmediate>));
        map.Add(0x6A, new OpcodeRow("push", Encoding.Imm8Signed | Encoding.Default64, Handlers.Access<PushImmediate>));
        map.AddGroup(0xFF, 6, new OpcodeRow("push", Encoding.RmD | Encoding.Default64, static (in insn) =>
            insn.IsMemory ? Handlers.Access<PushMemory>(insn) : Handlers.Access<PushRegister>(insn)));
        map.AddGroup(0x8F, 0, new OpcodeRow("pop", Encoding.RmD | Encoding.Default64, static (in insn) =>
            insn.IsMemory ? Handlers.Sized<PopMemory>(insn) : Handlers.Access<PopRegister>(insn)));
        map.Add(0xC9, new OpcodeRow("leave", Encoding.Default64, Handlers.Access<Leave>));
    }

    /// <summary>The linear address of a stack access at <paramref name="offset"/>, in the stack segment.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Linear(CpuState* c, Op* o, ulong offset, int size, bool isWrite) =>
        (o->Bits & (OpBits.Code16 | OpBits.Code32)) == 0 ? offset : Segmented.Checked(c, o, SegmentIndex.Ss, offset & StackMask(c), size, isWrite);

    /// <summary>The stack pointer moved by <paramref name="delta"/> bytes, wrapped to the size of the stack segment.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Moved(CpuState* c, Op* o, long delta)
    {
        ulong moved = c->R[Rsp] + (ulong)delta;
        return (o->Bits & (OpBits.Code16 | OpBits.Code32)) == 0 ? moved : MovedLegacy(c, moved);
    }

    /// <summary>Pushes one operand. False: stopped, nothing happened.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Push<T>(CpuState* c, Op* o, T value)
        where T : unmanaged, IBinaryInteger<T> => Push<T, Flat>(c, o, value);

    /// <summary>The same; tentative addressing stands for 64-bit code.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Push<T, TAddressing>(CpuState* c, Op* o, T value)
        where T : unmanaged, IBinaryInteger<T>
        where TAddressing : struct, IAddressing
    {
        ulong pointer = TAddressing.IsTentative ? c->R[Rsp] - (ulong)sizeof(T) : Moved(c, o, -sizeof(T));
        if (!Mem.WriteLinear<T, TAddressing>(c, o, TAddressing.IsTentative ? pointer : Linear(c, o, pointer, sizeof(T), true), value))
            return false;
        c->R[Rsp] = pointer;
        return true;
    }

    /// <summary>The operand at the top of the stack, or null when stopped.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T* Top<T>(CpuState* c, Op* o)
        where T : unmanaged, IBinaryInteger<T> => Mem.ReadLinear<T>(c, o, Linear(c, o, c->R[Rsp], sizeof(T), false));

    /// <summary>Loads what a register points to on the stack; tentative addressing stands for 64-bit code. False: stopped.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryLoad<T, TAddressing>(CpuState* c, Op* o, int register, out T value)
        where T : unmanaged, IBinaryInteger<T>
        where TAddressing : struct, IAddressing => Mem.TryLoadLinear<T, TAddressing>(
        c, o, TAddressing.IsTentative ? c->R[register] : Linear(c, o, c->R[register], sizeof(T), false), out value);

    /// <summary>Releases bytes of the stack.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Drop(CpuState* c, Op* o, int bytes) => Drop<Flat>(c, o, bytes);

    /// <summary>The same; tentative addressing stands for 64-bit code.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Drop<TAddressing>(CpuState* c, Op* o, int bytes)
        where TAddressing : struct, IAddressing =>
        c->R[Rsp] = TAddressing.IsTentative ? c->R[Rsp] + (ulong)bytes : Moved(c, o, bytes);

    private static ulong StackMask(CpuState* c) => c->Ss.Default32 ? 0xFFFF_FFFF : 0xFFFF;

    private static ulong MovedLegacy(CpuState* c, ulong moved) =>
        c->Ss.Default32 ? moved & 0xFFFF_FFFF : (c->R[Rsp] & ~0xFFFFUL) | (moved & 0xFFFF);

    private readonly struct PushRegister : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing => Push<T, TAddressing>(c, o, Handlers.Get<T>(c, o->D));
    }

    private readonly struct PushImmediate : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing => Push<T, TAddressing>(c, o, T.CreateTruncating(o->Immediate));
    }

    private readonly struct PushMemory : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            return Mem.TryLoad<T, TAddressing>(c, o, out T value) && Push<T, TAddressing>(c, o, value);
        }
    }

    private readonly struct PopRegister : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            if (!TryLoad<T, TAddressing>(c, o, Rsp, out T value))
                return false;
            Drop<TAddressing>(c, o, sizeof(T)); // before the destination: POP RSP keeps what was popped
            Handlers.Set(c, o->D, value);
            return true;
        }
    }

    // The destination's address is computed with the stack pointer already moved.
    private readonly struct PopMemory : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            T* top = Top<T>(c, o);
            if (top == null)
                return false;
            T value = *top;
            ulong before = c->R[Rsp];
            Drop(c, o, sizeof(T));
            if (Mem.Write<T, TAddressing>(c, o, value))
                return true;
            c->R[Rsp] = before;
            return false;
        }
    }

    private readonly struct Leave : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            if (!TryLoad<T, TAddressing>(c, o, Rbp, out T value))
                return false;
            ulong before = c->R[Rsp];
            c->R[Rsp] = TAddressing.IsTentative || (o->Bits & (OpBits.Code16 | OpBits.Code32)) == 0 || c->Ss.Default32
                ? c->R[Rbp] : (before & ~0xFFFFUL) | (c->R[Rbp] & 0xFFFF);
            Drop<TAddressing>(c, o, sizeof(T));
            Handlers.Set(c, Rbp * 8, value);
            return true;
        }
    }
}
