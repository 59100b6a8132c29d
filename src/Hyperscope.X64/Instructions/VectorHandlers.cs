using System.Numerics;
using System.Runtime.CompilerServices;
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

/// <summary>An instruction that takes a vector and writes registers and flags only.</summary>
internal unsafe interface IVectorReader
{
    /// <summary>Executes it on the operand. False: stopped, and nothing has happened. Must be inlined: a vector argument would be a local with an
    /// address in the handler.</summary>
    static abstract bool Apply(CpuState* c, Op* o, V source);
}

/// <summary>An SSE instruction that takes one integer, or one lane's bits, and writes registers and flags only.</summary>
internal unsafe interface IScalarReader<T>
    where T : unmanaged, IBinaryInteger<T>
{
    /// <inheritdoc cref="IVectorReader.Apply"/>
    static abstract bool Apply(CpuState* c, Op* o, T source);
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
        Reader<Operation<TOp>, TSource>(insn);

    /// <summary>A row of the form xmm, xmm/m128.</summary>
    public static void Add<TOp>(OpcodeMap map, int prefix, int opcode, string name, string feature, Encoding immediate = Encoding.None)
        where TOp : struct, IVectorOp => map.Add(prefix, opcode, new OpcodeRow(name, XmmXmm | immediate, Packed<TOp>) { Feature = feature });

    /// <summary>A row whose memory operand is smaller than a register, or needs no alignment.</summary>
    public static void AddSourced<TOp, TSource>(OpcodeMap map, int prefix, int opcode, string name, string feature, Encoding immediate = Encoding.None)
        where TOp : struct, IVectorOp
        where TSource : unmanaged =>
        map.Add(prefix, opcode, new OpcodeRow(name, XmmXmm | immediate, Sourced<TOp, TSource>) { Feature = feature });

    /// <summary>The forms xmm and m of a reader of whole registers; what memory does not fill is zero.</summary>
    public static delegate*<CpuState*, Op*, Op*> Reader<TReader, TSource>(in Insn insn)
        where TReader : struct, IVectorReader
        where TSource : unmanaged =>
        insn.IsMemory ? Handlers.Addressed<FromMemory<TReader, TSource>>(insn) : Handlers.Plain<FromRegister<TReader>>(insn);

    /// <summary>The forms r (or the low part of xmm) and m of a reader of scalars.</summary>
    public static delegate*<CpuState*, Op*, Op*> ScalarReader<TReader, T>(in Insn insn)
        where TReader : struct, IScalarReader<T>
        where T : unmanaged, IBinaryInteger<T> =>
        insn.IsMemory ? Handlers.Addressed<ScalarFromMemory<TReader, T>>(insn) : Handlers.Plain<ScalarFromRegister<TReader, T>>(insn);

    private readonly struct Operation<TOp> : IVectorReader
        where TOp : struct, IVectorOp
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static bool Apply(CpuState* c, Op* o, V source)
        {
            VectorUnit.Set(c, o->D, TOp.Apply(VectorUnit.Get(c, o->D), source, (int)o->Immediate));
            return true;
        }
    }

    private readonly struct FromRegister<TReader> : IPlain
        where TReader : struct, IVectorReader
    {
        public static bool Run(CpuState* c, Op* o) =>
            VectorUnit.IsBlocked(c) ? VectorUnit.RaiseBlocked(c, o) : TReader.Apply(c, o, VectorUnit.Get(c, o->S));
    }

    private readonly struct FromMemory<TReader, TSource> : IAddressed
        where TReader : struct, IVectorReader
        where TSource : unmanaged
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            TSource* source = VectorUnit.Read<TSource, TAddressing>(c, o);
            return source != null && TReader.Apply(c, o, VectorUnit.Widen(source));
        }
    }

    private readonly struct ScalarFromRegister<TReader, T> : IPlain
        where TReader : struct, IScalarReader<T>
        where T : unmanaged, IBinaryInteger<T>
    {
        public static bool Run(CpuState* c, Op* o) =>
            VectorUnit.IsBlocked(c) ? VectorUnit.RaiseBlocked(c, o) : TReader.Apply(c, o, Handlers.Get<T>(c, o->S));
    }

    private readonly struct ScalarFromMemory<TReader, T> : IAddressed
        where TReader : struct, IScalarReader<T>
        where T : unmanaged, IBinaryInteger<T>
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            T* source = Mem.Read<T, TAddressing>(c, o);
            return source != null && TReader.Apply(c, o, *source);
        }
    }
}
