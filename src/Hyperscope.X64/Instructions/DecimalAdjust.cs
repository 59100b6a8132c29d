using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>DAA DAS AAA AAS AAM AAD: arithmetic on decimal digits, in 16 and 32-bit code.</summary>
internal static unsafe class DecimalAdjust
{
    public static void Register(OpcodeMap map)
    {
        const ulong Packed = Rflags.Of, Unpacked = Rflags.Of | Rflags.Sf | Rflags.Zf | Rflags.Pf, Binary = Rflags.Of | Rflags.Af | Rflags.Cf;
        map.Add(0x27, Row("daa", Encoding.None, Packed, Rflags.Af | Rflags.Cf, Handlers.Plain<AfterAdd>));
        map.Add(0x2F, Row("das", Encoding.None, Packed, Rflags.Af | Rflags.Cf, Handlers.Plain<AfterSubtract>));
        map.Add(0x37, Row("aaa", Encoding.None, Unpacked, Rflags.Af, Handlers.Plain<AsciiAfterAdd>));
        map.Add(0x3F, Row("aas", Encoding.None, Unpacked, Rflags.Af, Handlers.Plain<AsciiAfterSubtract>));
        map.Add(0xD4, Row("aam", Encoding.Imm8, Binary, 0, Handlers.Plain<AfterMultiply>));
        map.Add(0xD5, Row("aad", Encoding.Imm8, Binary, 0, Handlers.Plain<BeforeDivide>));
    }

    private static OpcodeRow Row(string name, Encoding encoding, ulong undefined, ulong reads, HandlerSelector select) =>
        new(name, encoding, select) { Flags = RowFlags.Not64, Writes = Rflags.Arithmetic, Undefined = undefined, Reads = reads };

    private readonly struct AfterAdd : IPlain
    {
        public static bool Run(CpuState* c, Op* o) => Packed(c, 1);
    }

    private readonly struct AfterSubtract : IPlain
    {
        public static bool Run(CpuState* c, Op* o) => Packed(c, -1);
    }

    private static bool Packed(CpuState* c, int sign)
    {
        int al = (byte)c->R[0], result = al;
        bool adjust = (al & 0xF) > 9 || Flags.Adjust(c), carry = Flags.Carry(c), high = al > 0x99 || carry;
        if (adjust)
        {
            result += 6 * sign;
            carry |= result is < 0 or > 0xFF;
        }

        if (high)
            result += 0x60 * sign;

        // DAS borrows in its first step too; DAA's first step carries out only where the second one does so anyway.
        bool carryOut = high || (sign < 0 && adjust && carry);
        *(byte*)c->R = (byte)result;
        Flags.SetResult(c, (byte)result, carryOut, overflow: false, adjust);
        return true;
    }

    private readonly struct AsciiAfterAdd : IPlain
    {
        public static bool Run(CpuState* c, Op* o) => Unpacked(c, 0x106);
    }

    private readonly struct AsciiAfterSubtract : IPlain
    {
        public static bool Run(CpuState* c, Op* o) => Unpacked(c, -0x106);
    }

    private static bool Unpacked(CpuState* c, int correction)
    {
        var ax = (ushort)c->R[0];
        bool adjust = (ax & 0xF) > 9 || Flags.Adjust(c);
        if (adjust)
            ax = (ushort)(ax + correction);
        ax &= 0xFF0F;
        *(ushort*)c->R = ax;
        Flags.SetResult(c, (byte)ax, adjust, overflow: false, adjust);
        return true;
    }

    private readonly struct AfterMultiply : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            int al = (byte)c->R[0], radix = (byte)o->Immediate;
            if (radix == 0)
                return c->Raise(o, X64.Vector.DivideError);
            *(ushort*)c->R = (ushort)((al / radix << 8) | (al % radix));
            Flags.SetLogic(c, (byte)(al % radix));
            return true;
        }
    }

    private readonly struct BeforeDivide : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            var ax = (ushort)c->R[0];
            var result = (byte)((ax & 0xFF) + ((ax >> 8) * (byte)o->Immediate));
            *(ushort*)c->R = result;
            Flags.SetLogic(c, result);
            return true;
        }
    }
}
