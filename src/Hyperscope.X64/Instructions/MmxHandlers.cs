using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;
using V = System.Runtime.Intrinsics.Vector128<byte>;

namespace Hyperscope.X64.Instructions;

/// <summary>The shapes of MMX instructions: the low half of a 128-bit operation on registers that alias the x87 ones.</summary>
/// <remarks>Any MMX instruction but EMMS sets TOP to 0 and marks every register as in use; a write sets the sign and exponent to all ones
/// (SDM vol. 1, "Effect of MMX Instructions on x87 FPU Tag Word").</remarks>
internal static unsafe class MmxHandlers
{
    public const Encoding MmMm = Encoding.RegD | Encoding.RmS | Encoding.MmxReg | Encoding.MmxRm;
    private const ushort TopMask = 7 << 11;

    /// <inheritdoc cref="X87Unit.IsBlocked"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsBlocked(CpuState* c) => X87Unit.IsBlocked(c);

    /// <summary>#UD for CR0.EM, else as for x87 instructions. True: go on, the pending error is ignored.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool RaiseBlocked(CpuState* c, Op* o) => (c->Cr0 & Cr0.Em) != 0 ? c->RaiseUd(o) : X87Unit.RaiseBlocked(c, o);

    /// <summary>What every MMX instruction does to the x87 state.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Enter(CpuState* c)
    {
        c->X87Status &= unchecked((ushort)~TopMask);
        c->X87Tags = 0xFF;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Get(CpuState* c, int offset) => Vector128.CreateScalar(*(ulong*)((byte*)c + offset)).AsByte();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Set(CpuState* c, int offset, V value)
    {
        *(ulong*)((byte*)c + offset) = value.AsUInt64().ToScalar();
        *(ulong*)((byte*)c + offset + 8) = 0xFFFF;
    }

    /// <summary>A row of the form mm, mm/m64.</summary>
    public static void Add<TOp>(OpcodeMap map, int opcode, string name, string feature, Encoding immediate = Encoding.None)
        where TOp : struct, IVectorOp => Add<TOp, ulong>(map, opcode, name, feature, immediate);

    /// <summary>A row of the form mm, mm/m with a memory operand of the size of <typeparamref name="TSource"/>.</summary>
    public static void Add<TOp, TSource>(OpcodeMap map, int opcode, string name, string feature, Encoding immediate = Encoding.None)
        where TOp : struct, IVectorOp
        where TSource : unmanaged =>
        map.Add(0, opcode, new OpcodeRow(name, MmMm | immediate, Select<TOp, TSource>) { Feature = feature });

    /// <summary>mm, mm/m.</summary>
    public static delegate*<CpuState*, Op*, Op*> Select<TOp, TSource>(in Insn insn)
        where TOp : struct, IVectorOp
        where TSource : unmanaged =>
        insn.IsMemory ? Handlers.Addressed<FromMemory<TOp, TSource>>(insn) : Handlers.Plain<FromRegister<TOp>>(insn);

    /// <summary>Both operands side by side in one register: for operations that take neighbours together (PHADDx, PACKxx).</summary>
    internal readonly struct Joined<TOp> : IVectorOp
        where TOp : struct, IVectorOp
    {
        public static V Apply(V first, V second, int immediate)
        {
            V both = Sse2.UnpackLow(first.AsUInt64(), second.AsUInt64()).AsByte();
            return TOp.Apply(both, both, immediate);
        }
    }

    /// <summary>The upper half of what the 128-bit operation on the low halves gives (PUNPCKHxx).</summary>
    internal readonly struct UpperOf<TOp> : IVectorOp
        where TOp : struct, IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Sse2.ShiftRightLogical128BitLane(TOp.Apply(first, second, immediate), 8);
    }

    /// <summary>PSHUFB with indices of three bits.</summary>
    internal readonly struct Permute : IVectorOp
    {
        public static V Apply(V first, V second, int immediate) => Ssse3.Shuffle(first, second & Vector128.Create((byte)0x87));
    }

    private readonly struct FromRegister<TOp> : IPlain
        where TOp : struct, IVectorOp
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (IsBlocked(c) && !RaiseBlocked(c, o))
                return false;
            Enter(c);
            Set(c, o->D, TOp.Apply(Get(c, o->D), Get(c, o->S), (int)o->Immediate));
            return true;
        }
    }

    private readonly struct FromMemory<TOp, TSource> : IAddressed
        where TOp : struct, IVectorOp
        where TSource : unmanaged
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            if (IsBlocked(c) && !RaiseBlocked(c, o))
                return false;
            TSource* source = VectorUnit.Read<TSource, TAddressing>(c, o);
            if (source == null)
                return false;
            V value = VectorUnit.Widen(source);
            Enter(c);
            Set(c, o->D, TOp.Apply(Get(c, o->D), value, (int)o->Immediate));
            return true;
        }
    }
}
