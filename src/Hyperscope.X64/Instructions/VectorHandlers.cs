using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;
using V = System.Runtime.Intrinsics.Vector128<byte>;

namespace Hyperscope.X64.Instructions;

/// <summary>A vector operation without exceptions of its own: destination and source in, new destination out.</summary>
internal interface IVectorOp
{
    /// <summary>Computes it. The two-operand form has its destination as <paramref name="first"/>; a three-operand (VEX) form its first source.</summary>
    static abstract V Apply(V first, V second, int immediate);
}

/// <summary>The shapes that vector instructions come in, and the rows they share.</summary>
internal static unsafe class VectorHandlers
{
    public const Encoding XmmXmm = Encoding.RegD | Encoding.RmS | Encoding.VectorReg | Encoding.VectorRm;
    public const Encoding XmmStore = Encoding.RmD | Encoding.RegS | Encoding.VectorReg | Encoding.VectorRm;

    /// <summary>xmm, xmm/m128 with an aligned memory operand.</summary>
    public static delegate*<CpuState*, Op*, Op*> Packed<TOp>(in Insn insn)
        where TOp : struct, IVectorOp => Sourced<TOp, V>(insn);

    /// <summary>xmm, xmm/m with a memory operand of the size of <typeparamref name="TSource"/>.</summary>
    public static delegate*<CpuState*, Op*, Op*> Sourced<TOp, TSource>(in Insn insn)
        where TOp : struct, IVectorOp
        where TSource : unmanaged =>
        insn.IsMemory ? Handlers.Addressed<FromMemory<TOp, TSource>>(insn) : Handlers.Plain<FromRegister<TOp>>(insn);

    /// <summary>A row of the form xmm, xmm/m128.</summary>
    public static void Add<TOp>(OpcodeMap map, int prefix, int opcode, string name, string feature, Encoding immediate = Encoding.None)
        where TOp : struct, IVectorOp => map.Add(prefix, opcode, new OpcodeRow(name, XmmXmm | immediate, Packed<TOp>) { Feature = feature });

    /// <summary>A row whose memory operand is smaller than a register, or needs no alignment.</summary>
    public static void AddSourced<TOp, TSource>(OpcodeMap map, int prefix, int opcode, string name, string feature, Encoding immediate = Encoding.None)
        where TOp : struct, IVectorOp
        where TSource : unmanaged =>
        map.Add(prefix, opcode, new OpcodeRow(name, XmmXmm | immediate, Sourced<TOp, TSource>) { Feature = feature });

    private readonly struct FromRegister<TOp> : IPlain
        where TOp : struct, IVectorOp
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            VectorUnit.Set(c, o->D, TOp.Apply(VectorUnit.Get(c, o->D), VectorUnit.Get(c, o->S), (int)o->Immediate));
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
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            TSource* source = VectorUnit.Read<TSource, TAddressing>(c, o);
            if (source == null)
                return false;
            VectorUnit.Set(c, o->D, TOp.Apply(VectorUnit.Get(c, o->D), VectorUnit.Widen(source), (int)o->Immediate));
            return true;
        }
    }
}
