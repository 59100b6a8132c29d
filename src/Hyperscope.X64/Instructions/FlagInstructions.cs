using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>CLC STC CMC CLD STD LAHF SAHF SALC.</summary>
internal static unsafe class FlagInstructions
{
    private const ulong LowFlags = Rflags.Cf | Rflags.Pf | Rflags.Af | Rflags.Zf | Rflags.Sf;

    public static void Register(OpcodeMap map)
    {
        map.Add(0xF5, new OpcodeRow("cmc", Encoding.None, Handlers.Plain<ComplementCarry>) { Writes = Rflags.Cf, Reads = Rflags.Cf });
        map.Add(0xF8, new OpcodeRow("clc", Encoding.None, Handlers.Plain<ClearCarry>) { Writes = Rflags.Cf });
        map.Add(0xF9, new OpcodeRow("stc", Encoding.None, Handlers.Plain<SetCarry>) { Writes = Rflags.Cf });
        map.Add(0xFC, new OpcodeRow("cld", Encoding.None, Handlers.Plain<ClearDirection>));
        map.Add(0xFD, new OpcodeRow("std", Encoding.None, Handlers.Plain<SetDirection>));
        map.Add(0x9E, new OpcodeRow("sahf", Encoding.None, Handlers.Plain<StoreFlags>) { Writes = LowFlags });
        map.Add(0x9F, new OpcodeRow("lahf", Encoding.None, Handlers.Plain<LoadFlags>) { Reads = LowFlags });
        map.Add(0xD6, new OpcodeRow("salc", Encoding.None, Handlers.Plain<SpreadCarry>) { Flags = RowFlags.Not64, Reads = Rflags.Cf });
    }

    private readonly struct ComplementCarry : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            Flags.SetCarry(c, !Flags.Carry(c));
            return true;
        }
    }

    private readonly struct ClearCarry : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            Flags.SetCarry(c, false);
            return true;
        }
    }

    private readonly struct SetCarry : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            Flags.SetCarry(c, true);
            return true;
        }
    }

    private readonly struct ClearDirection : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            c->SystemFlags &= ~Rflags.Df;
            return true;
        }
    }

    private readonly struct SetDirection : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            c->SystemFlags |= Rflags.Df;
            return true;
        }
    }

    private readonly struct StoreFlags : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            Flags.Load(c, (Handlers.Get<byte>(c, 1) & LowFlags) | (Flags.Overflow(c) ? Rflags.Of : 0));
            return true;
        }
    }

    private readonly struct LoadFlags : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            Handlers.Set(c, 1, (byte)((Flags.Get(c) & LowFlags) | Rflags.Fixed));
            return true;
        }
    }

    private readonly struct SpreadCarry : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            Handlers.Set(c, 0, (byte)(Flags.Carry(c) ? 0xFF : 0));
            return true;
        }
    }
}
