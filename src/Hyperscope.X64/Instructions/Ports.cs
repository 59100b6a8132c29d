using System.Numerics;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>IN and OUT.</summary>
internal static unsafe class Ports
{
    private const int Rdx = 2;

    public static void Register(OpcodeMap map)
    {
        map.Add(0xE4, Row("in", Encoding.Imm8 | Encoding.Byte, In<byte, ByImmediate>));
        map.Add(0xE5, Row("in", Encoding.Imm8, In<ByImmediate>));
        map.Add(0xE6, Row("out", Encoding.Imm8 | Encoding.Byte, Out<byte, ByImmediate>));
        map.Add(0xE7, Row("out", Encoding.Imm8, Out<ByImmediate>));
        map.Add(0xEC, Row("in", Encoding.Byte, In<byte, ByDx>));
        map.Add(0xED, Row("in", Encoding.None, In<ByDx>));
        map.Add(0xEE, Row("out", Encoding.Byte, Out<byte, ByDx>));
        map.Add(0xEF, Row("out", Encoding.None, Out<ByDx>));
    }

    private static OpcodeRow Row(string name, Encoding encoding, HandlerSelector select) => new(name, encoding, select) { Flags = RowFlags.EndsBlock };

    private static delegate*<CpuState*, Op*, Op*> In<T, TPort>(in Insn insn)
        where T : unmanaged, IBinaryInteger<T>
        where TPort : struct, IPort => Handlers.Ending<Input<T, TPort>>(insn);

    private static delegate*<CpuState*, Op*, Op*> In<TPort>(in Insn insn)
        where TPort : struct, IPort => insn.OperandSize == 2 ? In<ushort, TPort>(insn) : In<uint, TPort>(insn);

    private static delegate*<CpuState*, Op*, Op*> Out<T, TPort>(in Insn insn)
        where T : unmanaged, IBinaryInteger<T>
        where TPort : struct, IPort => Handlers.Ending<Output<T, TPort>>(insn);

    private static delegate*<CpuState*, Op*, Op*> Out<TPort>(in Insn insn)
        where TPort : struct, IPort => insn.OperandSize == 2 ? Out<ushort, TPort>(insn) : Out<uint, TPort>(insn);

    private interface IPort
    {
        static abstract ushort Get(CpuState* c, Op* o);
    }

    private readonly struct ByImmediate : IPort
    {
        public static ushort Get(CpuState* c, Op* o) => (byte)o->Immediate;
    }

    private readonly struct ByDx : IPort
    {
        public static ushort Get(CpuState* c, Op* o) => (ushort)c->R[Rdx];
    }

    private readonly struct Input<T, TPort> : IEnding
        where T : unmanaged, IBinaryInteger<T>
        where TPort : struct, IPort
    {
        public static bool Run(CpuState* c, Op* o)
        {
            ushort port = TPort.Get(c, o);
            SoftwareVcpu owner = c->Owner;
            if (!owner.CheckIo(o, port, sizeof(T)))
                return false;
            Handlers.Set(c, 0, T.CreateTruncating(owner.ReadPort(o, port, sizeof(T))));
            return true;
        }
    }

    private readonly struct Output<T, TPort> : IEnding
        where T : unmanaged, IBinaryInteger<T>
        where TPort : struct, IPort
    {
        public static bool Run(CpuState* c, Op* o)
        {
            ushort port = TPort.Get(c, o);
            SoftwareVcpu owner = c->Owner;
            if (!owner.CheckIo(o, port, sizeof(T)))
                return false;
            owner.WritePort(o, port, sizeof(T), uint.CreateTruncating(Handlers.Get<T>(c, 0)));
            return true;
        }
    }
}
