using System.Diagnostics;
using System.Runtime.CompilerServices;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Decoding;

/// <summary>Writes the <see cref="Op"/> of a decoded instruction.</summary>
internal static unsafe class OpEmitter
{
    private static readonly int VectorOffset = OffsetOf(static c => c->Vector);
    private static readonly int X87Offset = OffsetOf(static c => c->X87);

    private delegate void* FieldOf(CpuState* c);

    /// <summary>Fills <paramref name="op"/>, all but <see cref="Op.Index"/> and the retired count.</summary>
    public static void Emit(Op* op, in Insn insn)
    {
        OpcodeRow row = insn.Row;
        Encoding encoding = row.Encoding;
        *op = default;
        op->Handler = row.Select is { } select ? select(insn) : null;
        if (op->Handler == null)
            op->Handler = &Faults.InvalidOpcode;
        Debug.Assert(RawCalliHelper.IsPlain(op->Handler), "a handler without a dictionary");
        op->Rip = insn.Rip;
        op->Length = insn.Length;
        op->Immediate = insn.Immediate;
        op->Displacement = (encoding & (Encoding.Imm8Second | Encoding.FarPointer)) != 0 ? insn.Immediate2 : insn.Displacement;
        if (insn.Map == 0 && (insn.Opcode & 0xF8) == 0xD8)
            op->Immediate = ((insn.Opcode & 7) << 8) | (insn.Mod << 6) | ((insn.Reg & 7) << 3) | (insn.Rm & 7); // FOP of x87
        op->Scale = insn.Scale;
        op->Segment = insn.Segment;
        op->B = (ushort)(insn.Base * 8);
        op->X = (ushort)(insn.Index * 8);
        op->Bits = Bits(insn);

        if ((encoding & (Encoding.RegD & ~Encoding.ModRm)) != 0)
            op->D = RegisterOperand(insn, encoding);
        else if ((encoding & (Encoding.RmD & ~Encoding.ModRm)) != 0)
            op->D = RmOperand(insn, encoding);
        else if ((encoding & Encoding.OpcodeD) != 0)
            op->D = General((insn.Opcode & 7) | ((insn.Rex & 1) << 3), insn.OperandSize == 1, insn.Rex != 0);
        if ((encoding & (Encoding.RegS & ~Encoding.ModRm)) != 0)
            op->S = RegisterOperand(insn, encoding);
        else if ((encoding & (Encoding.RmS & ~Encoding.ModRm)) != 0)
            op->S = RmOperand(insn, encoding);
        if ((encoding & Encoding.PlainReg) == Encoding.PlainReg && (encoding & (Encoding.RegD | Encoding.RegS) & ~Encoding.ModRm) == 0)
        {
            // The number itself goes where no register operand is.
            if ((encoding & (Encoding.RmD & ~Encoding.ModRm)) != 0)
                op->S = insn.Reg;
            else
                op->D = insn.Reg;
        }
    }

    /// <summary>Byte offset of a general register; byte registers 4 to 7 without REX are AH CH DH BH.</summary>
    public static ushort General(int register, bool isByte, bool hasRex) =>
        (ushort)(isByte && !hasRex && register is >= 4 and <= 7 ? ((register - 4) * 8) + 1 : register * 8);

    private static uint Bits(in Insn insn)
    {
        uint bits = insn.OperandSize;
        bits |= insn.CodeSize switch { CodeSize.Bits16 => OpBits.Code16, CodeSize.Bits32 => OpBits.Code32, _ => 0 };
        bits |= insn.AddressSize switch { 2 => OpBits.AddressSize16, 4 => OpBits.AddressSize32, _ => 0 };
        if (insn.HasRep)
            bits |= OpBits.Rep;
        if (insn.HasRepNe)
            bits |= OpBits.RepNe;
        if (insn.HasLock)
            bits |= OpBits.Lock;
        if (insn.IsMemory)
            bits |= OpBits.HasMemory;
        if (insn.IsStackSegment)
            bits |= OpBits.StackSegment;
        if (insn.Rex != 0)
            bits |= OpBits.Rex;
        return bits;
    }

    private static ushort RegisterOperand(in Insn insn, Encoding encoding)
    {
        if ((encoding & Encoding.VectorReg) != 0)
            return (ushort)(VectorOffset + (insn.Reg * 32));
        if ((encoding & Encoding.MmxReg) != 0)
            return (ushort)(X87Offset + ((insn.Reg & 7) * 16));
        bool isByte = insn.OperandSize == 1;
        return General(insn.Reg, isByte, insn.Rex != 0);
    }

    private static ushort RmOperand(in Insn insn, Encoding encoding)
    {
        if (insn.IsMemory)
            return 0;
        if ((encoding & Encoding.VectorRm) != 0)
            return (ushort)(VectorOffset + (insn.Rm * 32));
        if ((encoding & Encoding.MmxRm) != 0)
            return (ushort)(X87Offset + ((insn.Rm & 7) * 16));
        bool isByte = (encoding & Encoding.ByteSource) != 0 || (insn.OperandSize == 1 && (encoding & Encoding.WordSource) == 0);
        return General(insn.Rm, isByte, insn.Rex != 0);
    }

    private static int OffsetOf(FieldOf field)
    {
        CpuState state;
        Unsafe.SkipInit(out state);
        return (int)((byte*)field(&state) - (byte*)&state);
    }
}

/// <summary>Handlers for bytes that are no instruction.</summary>
internal static unsafe class Faults
{
    public static Op* InvalidOpcode(CpuState* c, Op* o)
    {
        _ = c->RaiseUd(o);
        return null;
    }

    public static Op* TooLong(CpuState* c, Op* o)
    {
        _ = c->RaiseGp(o);
        return null;
    }
}
