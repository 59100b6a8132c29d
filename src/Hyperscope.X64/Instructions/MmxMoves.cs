using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>MOVD, MOVQ, MOVNTQ, MASKMOVQ, PMOVMSKB, PEXTRW of MMX registers, MOVQ2DQ, MOVDQ2Q, EMMS.</summary>
internal static unsafe class MmxMoves
{
    public static void Register(OpcodeMap map)
    {
        MmxHandlers.Add<VectorMoves.Copy>(map, 0x0F6F, "movq", "mmx");
        map.Add(0, 0x0F7F, new OpcodeRow("movq", Encoding.RmD | Encoding.RegS | Encoding.MmxReg | Encoding.MmxRm, static (in insn) =>
            insn.IsMemory ? Handlers.Addressed<Store<ulong>>(insn) : MmxHandlers.Select<VectorMoves.Copy, ulong>(insn))
        { Feature = "mmx" });
        map.Add(0, 0x0F6E, new OpcodeRow("movd", Encoding.RegD | Encoding.RmS | Encoding.MmxReg | Encoding.Dword, static (in insn) =>
            insn.IsMemory
                ? insn.OperandSize == 8 ? MmxHandlers.Select<VectorMoves.Copy, ulong>(insn) : MmxHandlers.Select<VectorMoves.Copy, uint>(insn)
                : insn.OperandSize == 8 ? Handlers.Plain<FromGeneral<ulong>>(insn) : Handlers.Plain<FromGeneral<uint>>(insn))
        { Feature = "mmx" });
        map.Add(0, 0x0F7E, new OpcodeRow("movd", Encoding.RmD | Encoding.RegS | Encoding.MmxReg | Encoding.Dword, static (in insn) =>
            insn.IsMemory
                ? insn.OperandSize == 8 ? Handlers.Addressed<Store<ulong>>(insn) : Handlers.Addressed<Store<uint>>(insn)
                : insn.OperandSize == 8 ? Handlers.Plain<ToGeneral<ulong>>(insn) : Handlers.Plain<ToGeneral<uint>>(insn))
        { Feature = "mmx" });
        map.Add(0, 0x0FE7, new OpcodeRow("movntq", Encoding.RmD | Encoding.RegS | Encoding.MmxReg, Handlers.Addressed<Store<ulong>>)
        { Feature = "sse", Flags = RowFlags.MemoryOnly });
        map.Add(0, 0x0FF7, new OpcodeRow("maskmovq", MmxHandlers.MmMm, Handlers.Plain<MaskedStore>) { Feature = "sse", Flags = RowFlags.RegisterOnly });
        map.Add(0, 0x0FD7, new OpcodeRow("pmovmskb", Encoding.RegD | Encoding.RmS | Encoding.MmxRm | Encoding.Dword, Handlers.Plain<ByteSigns>)
        { Feature = "sse", Flags = RowFlags.RegisterOnly });
        map.Add(0, 0x0FC5, new OpcodeRow("pextrw", Encoding.RegD | Encoding.RmS | Encoding.MmxRm | Encoding.Dword | Encoding.Imm8, Handlers.Plain<ExtractWord>)
        { Feature = "sse", Flags = RowFlags.RegisterOnly });
        map.Add(0xF3, 0x0FD6, new OpcodeRow("movq2dq", Encoding.RegD | Encoding.RmS | Encoding.VectorReg | Encoding.MmxRm, Handlers.Plain<ToVector>)
        { Feature = "sse2", Flags = RowFlags.RegisterOnly });
        map.Add(0xF2, 0x0FD6, new OpcodeRow("movdq2q", Encoding.RegD | Encoding.RmS | Encoding.MmxReg | Encoding.VectorRm, Handlers.Plain<FromVector>)
        { Feature = "sse2", Flags = RowFlags.RegisterOnly });
        map.Add(0, 0x0F77, new OpcodeRow("emms", Encoding.None, Handlers.Plain<Empty>) { Feature = "mmx" });
    }

    private readonly struct Store<T> : IAddressed
        where T : unmanaged, System.Numerics.IBinaryInteger<T>
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            if (MmxHandlers.IsBlocked(c) && !MmxHandlers.RaiseBlocked(c, o))
                return false;
            if (!Mem.Write<T, TAddressing>(c, o, Handlers.Get<T>(c, o->S)))
                return false;
            MmxHandlers.Enter(c);
            return true;
        }
    }

    private readonly struct FromGeneral<T> : IPlain
        where T : unmanaged
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (MmxHandlers.IsBlocked(c) && !MmxHandlers.RaiseBlocked(c, o))
                return false;
            MmxHandlers.Enter(c);
            MmxHandlers.Set(c, o->D, VectorUnit.Widen((T*)((byte*)c + o->S)));
            return true;
        }
    }

    private readonly struct ToGeneral<T> : IPlain
        where T : unmanaged, System.Numerics.IBinaryInteger<T>
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (MmxHandlers.IsBlocked(c) && !MmxHandlers.RaiseBlocked(c, o))
                return false;
            MmxHandlers.Enter(c);
            Handlers.Set(c, o->D, Handlers.Get<T>(c, o->S));
            return true;
        }
    }

    private readonly struct ByteSigns : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (MmxHandlers.IsBlocked(c) && !MmxHandlers.RaiseBlocked(c, o))
                return false;
            MmxHandlers.Enter(c);
            Handlers.Set(c, o->D, (uint)Sse2.MoveMask(MmxHandlers.Get(c, o->S)));
            return true;
        }
    }

    private readonly struct ExtractWord : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (MmxHandlers.IsBlocked(c) && !MmxHandlers.RaiseBlocked(c, o))
                return false;
            MmxHandlers.Enter(c);
            Handlers.Set(c, o->D, (uint)(ushort)(Handlers.Get<ulong>(c, o->S) >> (((int)o->Immediate & 3) * 16)));
            return true;
        }
    }

    private readonly struct MaskedStore : IPlain
    {
        public static bool Run(CpuState* c, Op* o) => (!MmxHandlers.IsBlocked(c) || MmxHandlers.RaiseBlocked(c, o)) && Store(c, o);

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static bool Store(CpuState* c, Op* o)
        {
            if (!VectorUnit.WriteMasked(c, o, Handlers.Get<ulong>(c, o->D), 0, (uint)Sse2.MoveMask(MmxHandlers.Get(c, o->S)), 8))
                return false;
            MmxHandlers.Enter(c);
            return true;
        }
    }

    private readonly struct ToVector : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            if (MmxHandlers.IsBlocked(c) && !MmxHandlers.RaiseBlocked(c, o))
                return false;
            MmxHandlers.Enter(c);
            VectorUnit.Set(c, o->D, MmxHandlers.Get(c, o->S));
            return true;
        }
    }

    private readonly struct FromVector : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            if (MmxHandlers.IsBlocked(c) && !MmxHandlers.RaiseBlocked(c, o))
                return false;
            MmxHandlers.Enter(c);
            MmxHandlers.Set(c, o->D, VectorUnit.Get(c, o->S));
            return true;
        }
    }

    // EMMS marks every register as empty; TOP goes to 0 as with any MMX instruction.
    private readonly struct Empty : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (MmxHandlers.IsBlocked(c) && !MmxHandlers.RaiseBlocked(c, o))
                return false;
            MmxHandlers.Enter(c);
            c->X87Tags = 0;
            return true;
        }
    }
}
