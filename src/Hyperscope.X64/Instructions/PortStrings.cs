using System.Numerics;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>INS and OUTS, with REP. One element at a time: a device sees each access.</summary>
internal static unsafe class PortStrings
{
    private const int Rdx = 2;

    public static void Register(OpcodeMap map)
    {
        map.Add(0x6C, new OpcodeRow("ins", Encoding.Byte, Handlers.Ending<Input<byte>>) { Flags = RowFlags.EndsBlock });
        map.Add(0x6D, new OpcodeRow("ins", Encoding.None, static (in insn) =>
            insn.OperandSize == 2 ? Handlers.Ending<Input<ushort>>(insn) : Handlers.Ending<Input<uint>>(insn))
        { Flags = RowFlags.EndsBlock });
        map.Add(0x6E, new OpcodeRow("outs", Encoding.Byte, Handlers.Ending<Output<byte>>) { Flags = RowFlags.EndsBlock });
        map.Add(0x6F, new OpcodeRow("outs", Encoding.None, static (in insn) =>
            insn.OperandSize == 2 ? Handlers.Ending<Output<ushort>>(insn) : Handlers.Ending<Output<uint>>(insn))
        { Flags = RowFlags.EndsBlock });
    }

    private readonly struct Input<T> : IEnding
        where T : unmanaged, IBinaryInteger<T>
    {
        public static bool Run(CpuState* c, Op* o)
        {
            SoftwareVcpu owner = c->Owner;
            var port = (ushort)c->R[Rdx];
            for (ulong count = Strings.Count(c, o); count != 0; count--)
            {
                ulong linear = Strings.Destination(c, o, sizeof(T), isWrite: true);
                if (!owner.CheckIo(o, port, sizeof(T)) || !owner.ProbeWrite(o, linear, sizeof(T)))
                    return false;

                // Deviation: if the page is restricted or unmapped from outside between the probe and the store, the value read is lost.
                uint value = owner.ReadPort(o, port, sizeof(T));
                if (!Mem.WriteLinear(c, o, linear, T.CreateTruncating(value)))
                    return false;
                Strings.Advance(c, o, Strings.Rdi, sizeof(T), 1);
                if (!Strings.Counted(c, o, 1) && count != 1 && Strings.MustPause(c, o))
                    return false;
            }

            return true;
        }
    }

    private readonly struct Output<T> : IEnding
        where T : unmanaged, IBinaryInteger<T>
    {
        public static bool Run(CpuState* c, Op* o)
        {
            SoftwareVcpu owner = c->Owner;
            var port = (ushort)c->R[Rdx];
            for (ulong count = Strings.Count(c, o); count != 0; count--)
            {
                if (!owner.CheckIo(o, port, sizeof(T)))
                    return false;
                T* source = Mem.ReadLinear<T>(c, o, Strings.Source(c, o, sizeof(T)));
                if (source == null)
                    return false;
                owner.WritePort(o, port, sizeof(T), uint.CreateTruncating(*source));
                Strings.Advance(c, o, Strings.Rsi, sizeof(T), 1);
                if (!Strings.Counted(c, o, 1) && count != 1 && Strings.MustPause(c, o))
                    return false;
            }

            return true;
        }
    }
}
