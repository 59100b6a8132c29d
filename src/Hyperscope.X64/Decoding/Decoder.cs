using System.Runtime.CompilerServices;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Decoding;

/// <summary>What came of decoding.</summary>
internal enum DecodeOutcome
{
    Ok,

    /// <summary>The instruction goes on behind the bytes given.</summary>
    NeedMore,

    /// <summary>#UD.</summary>
    Invalid,

    /// <summary>Longer than 15 bytes: #GP(0).</summary>
    TooLong,
}

/// <summary>Turns bytes into an <see cref="Insn"/> by the rows of <see cref="OpcodeMap"/>. Pure; allocates nothing.</summary>
/// <remarks>Source: SDM vol. 2, "Instruction Format".</remarks>
internal static class Decoder
{
    public const int MaxLength = 15;

    /// <summary>Decodes one instruction.</summary>
    /// <param name="bytes">The bytes at rip; at most 15 are looked at.</param>
    /// <param name="codeSize">Default sizes.</param>
    /// <param name="rip">Instruction pointer of the first byte.</param>
    /// <param name="insn">The instruction; complete only if the outcome is Ok, but <see cref="Insn.Length"/> and Rip are always set.</param>
    public static DecodeOutcome Decode(ReadOnlySpan<byte> bytes, CodeSize codeSize, ulong rip, out Insn insn)
    {
        insn = new Insn
        {
            CodeSize = codeSize,
            Rip = rip,
            Segment = SegmentIndex.None,
            Base = CpuState.ZeroRegister,
            Index = CpuState.ZeroRegister,
            Row = null!,
        };
        var reader = new Reader(bytes);
        DecodeOutcome outcome = DecodeCore(ref reader, ref insn);
        insn.Length = (byte)reader.Position;
        if (outcome != DecodeOutcome.Ok)
            return outcome;
        if (insn.HasMemoryRipRelative)
            insn.Displacement = (long)(((ulong)insn.Displacement + rip + insn.Length) & (insn.AddressSize == 4 ? 0xFFFF_FFFF : ulong.MaxValue));
        if ((insn.Row.Encoding & (Encoding.Rel8 | Encoding.RelZ)) != 0)
            insn.Immediate = (long)BranchTarget(insn);
        return outcome;
    }

    private static ulong BranchTarget(in Insn insn)
    {
        ulong target = insn.Rip + insn.Length + (ulong)insn.Immediate;
        return insn.CodeSize == CodeSize.Bits64 ? target : insn.OperandSize == 2 ? target & 0xFFFF : target & 0xFFFF_FFFF;
    }

    private static DecodeOutcome DecodeCore(ref Reader reader, ref Insn insn)
    {
        bool has67 = false;
        SegmentIndex segment = SegmentIndex.None;
        byte opcode;
        while (true)
        {
            if (!reader.TryByte(out opcode))
                return reader.Failure;
            switch (opcode)
            {
                case 0x66: insn.Has66 = true; insn.Rex = 0; continue;
                case 0x67: has67 = true; insn.Rex = 0; continue;
                case 0xF0: insn.HasLock = true; insn.Rex = 0; continue;
                case 0xF2: insn.HasRepNe = true; insn.HasRep = false; insn.Rex = 0; continue;
                case 0xF3: insn.HasRep = true; insn.HasRepNe = false; insn.Rex = 0; continue;
                case 0x26: SetLegacySegment(insn, ref segment, SegmentIndex.Es); insn.Rex = 0; continue;
                case 0x2E: SetLegacySegment(insn, ref segment, SegmentIndex.Cs); insn.Rex = 0; continue;
                case 0x36: SetLegacySegment(insn, ref segment, SegmentIndex.Ss); insn.Rex = 0; continue;
                case 0x3E: SetLegacySegment(insn, ref segment, SegmentIndex.Ds); insn.Rex = 0; continue;
                case 0x64: segment = SegmentIndex.Fs; insn.Rex = 0; continue;
                case 0x65: segment = SegmentIndex.Gs; insn.Rex = 0; continue;
                default: break;
            }

            if (insn.CodeSize == CodeSize.Bits64 && (opcode & 0xF0) == 0x40)
            {
                insn.Rex = opcode;
                continue;
            }

            break;
        }

        if (opcode == 0x0F)
        {
            if (!reader.TryByte(out opcode))
                return reader.Failure;
            insn.Map = 1;
            if (opcode is 0x38 or 0x3A)
            {
                insn.Map = (byte)(opcode == 0x38 ? 2 : 3);
                if (!reader.TryByte(out opcode))
                    return reader.Failure;
            }
        }

        insn.Opcode = opcode;
        int column = insn.HasRepNe ? 3 : insn.HasRep ? 2 : insn.Has66 ? 1 : 0;
        if (OpcodeMap.Instance.Find(insn.Map, column, opcode) is not { } row)
            return DecodeOutcome.Invalid; // as soon as the opcode bytes are there; the processor fetches no further

        insn.AddressSize = insn.CodeSize switch
        {
            CodeSize.Bits64 => (byte)(has67 ? 4 : 8),
            CodeSize.Bits32 => (byte)(has67 ? 2 : 4),
            _ => (byte)(has67 ? 4 : 2),
        };
        if (row.Has(Encoding.ModRm))
        {
            if (!reader.TryByte(out byte modRm))
                return reader.Failure;
            insn.HasModRm = true;
            insn.Mod = (byte)(modRm >> 6);
            insn.Reg = (byte)((modRm >> 3) & 7);
            insn.Rm = (byte)(modRm & 7);
            insn.IsMemory = insn.Mod != 3;
            if (row.Group is { } group)
            {
                if ((insn.IsMemory ? group[insn.Reg] : group[8 + (modRm & 0x3F)]) is not { } member)
                    return DecodeOutcome.Invalid;
                row = member;
            }

            if (row.Has(Encoding.RegisterOnly))
                insn.IsMemory = false;
            insn.Reg |= (byte)((insn.Rex & 4) << 1);
            if (insn.IsMemory)
            {
                DecodeOutcome outcome = DecodeMemory(ref reader, ref insn);
                if (outcome != DecodeOutcome.Ok)
                    return outcome;
            }
            else
            {
                insn.Rm |= (byte)((insn.Rex & 1) << 3);
            }

            if (row.Has(insn.IsMemory ? RowFlags.RegisterOnly : RowFlags.MemoryOnly))
                return DecodeOutcome.Invalid;
        }

        insn.Row = row;
        insn.OperandSize = OperandSize(row, insn);
        if (!ReadImmediate(ref reader, row, ref insn))
            return reader.Failure;
        if (insn.CodeSize == CodeSize.Bits64)
        {
            if (row.Has(RowFlags.Not64))
                return DecodeOutcome.Invalid;
            if (segment is SegmentIndex.Fs or SegmentIndex.Gs)
                insn.Segment = segment;
        }
        else
        {
            if (row.Has(RowFlags.Only64))
                return DecodeOutcome.Invalid;
            if (segment != SegmentIndex.None)
                insn.Segment = segment;
            else if (insn.Segment == SegmentIndex.None)
                insn.Segment = insn.IsStackSegment ? SegmentIndex.Ss : SegmentIndex.Ds;
        }

        if (segment != SegmentIndex.None)
            insn.IsStackSegment = segment == SegmentIndex.Ss;
        if (insn.HasLock && !(row.Has(RowFlags.Lockable) && insn.IsMemory))
            return DecodeOutcome.Invalid;
        return DecodeOutcome.Ok;
    }

    // In 64-bit code ES, CS, SS and DS overrides are ignored, even behind one of FS or GS, which then holds.
    private static void SetLegacySegment(in Insn insn, ref SegmentIndex segment, SegmentIndex value)
    {
        if (insn.CodeSize != CodeSize.Bits64)
            segment = value;
    }

    private static byte OperandSize(OpcodeRow row, in Insn insn)
    {
        if (row.Has(Encoding.Byte))
            return 1;
        if (row.Has(Encoding.Dword))
            return (byte)(insn.RexW ? 8 : 4);
        if (insn.CodeSize == CodeSize.Bits64)
        {
            if (row.Has(Encoding.Force64) || insn.RexW)
                return 8;
            if (row.Has(Encoding.Default64))
                return (byte)(insn.Has66 ? 2 : 8);
            return (byte)(insn.Has66 ? 2 : 4);
        }

        bool is32 = insn.CodeSize == CodeSize.Bits32 ? !insn.Has66 : insn.Has66;
        return (byte)(is32 ? 4 : 2);
    }

    private static bool ReadImmediate(ref Reader reader, OpcodeRow row, ref Insn insn)
    {
        Encoding encoding = row.Encoding;
        if ((encoding & (Encoding.AnyImmediate | Encoding.Imm8Second)) == 0)
            return true;
        long value = 0;
        bool ok = true;
        if ((encoding & Encoding.Imm8) != 0)
            ok = reader.TryUnsigned(1, out value);
        else if ((encoding & (Encoding.Imm8Signed | Encoding.Rel8)) != 0)
            ok = reader.TrySigned(1, out value);
        else if ((encoding & Encoding.Imm16) != 0)
            ok = reader.TryUnsigned(2, out value);
        else if ((encoding & (Encoding.ImmZ | Encoding.RelZ)) != 0)
            ok = reader.TrySigned(insn.OperandSize == 2 && !(row.Has(Encoding.RelZ) && insn.CodeSize == CodeSize.Bits64) ? 2 : 4, out value);
        else if ((encoding & Encoding.ImmV) != 0)
            ok = reader.TrySigned(insn.OperandSize, out value);
        else if ((encoding & Encoding.FarPointer) != 0)
        {
            ok = reader.TryUnsigned(insn.OperandSize == 2 ? 2 : 4, out value) && reader.TryUnsigned(2, out long selector)
                && (insn.Immediate2 = (ushort)selector) >= 0;
        }
        else if ((encoding & Encoding.Moffs) != 0)
        {
            ok = reader.TryUnsigned(insn.AddressSize, out value);
            insn.IsMemory = true;
            insn.Displacement = value;
            value = 0;
        }

        insn.Immediate = value;
        if (ok && (encoding & Encoding.Imm8Second) != 0)
        {
            ok = reader.TryUnsigned(1, out long second);
            insn.Immediate2 = (ushort)second;
        }

        return ok;
    }

    private static DecodeOutcome DecodeMemory(ref Reader reader, ref Insn insn) =>
        insn.AddressSize == 2 ? DecodeMemory16(ref reader, ref insn) : DecodeMemory32(ref reader, ref insn);

    private static DecodeOutcome DecodeMemory16(ref Reader reader, ref Insn insn)
    {
        const byte Bx = 3, Bp = 5, Si = 6, Di = 7, None = CpuState.ZeroRegister;
        int size = insn.Mod;
        (insn.Base, insn.Index) = insn.Rm switch
        {
            0 => (Bx, Si),
            1 => (Bx, Di),
            2 => (Bp, Si),
            3 => (Bp, Di),
            4 => (None, Si),
            5 => (None, Di),
            6 => (Bp, None),
            _ => (Bx, None),
        };
        if (insn.Mod == 0 && insn.Rm == 6)
        {
            insn.Base = None;
            size = 2;
        }

        insn.IsStackSegment = insn.Base == Bp;
        if (size != 0)
        {
            if (!reader.TrySigned(size, out insn.Displacement))
                return reader.Failure;
        }

        return DecodeOutcome.Ok;
    }

    private static DecodeOutcome DecodeMemory32(ref Reader reader, ref Insn insn)
    {
        int size = insn.Mod switch { 1 => 1, 2 => 4, _ => 0 };
        int rexB = (insn.Rex & 1) << 3;
        if (insn.Rm == 4)
        {
            if (!reader.TryByte(out byte sib))
                return reader.Failure;
            int index = ((sib >> 3) & 7) | ((insn.Rex & 2) << 2);
            insn.Scale = (byte)(sib >> 6);
            if (index != 4)
                insn.Index = (byte)index;
            else
                insn.Scale = 0;
            if ((sib & 7) == 5 && insn.Mod == 0)
                size = 4;
            else
                insn.Base = (byte)((sib & 7) | rexB);
        }
        else if (insn.Rm == 5 && insn.Mod == 0)
        {
            size = 4;
            insn.HasMemoryRipRelative = insn.CodeSize == CodeSize.Bits64;
        }
        else
        {
            insn.Base = (byte)(insn.Rm | rexB);
        }

        insn.IsStackSegment = insn.Base is 4 or 5;
        if (size != 0 && !reader.TrySigned(size, out insn.Displacement))
            return reader.Failure;
        return DecodeOutcome.Ok;
    }

    private ref struct Reader(ReadOnlySpan<byte> bytes)
    {
        private readonly ReadOnlySpan<byte> _bytes = bytes;

        public int Position { get; private set; }

        /// <summary>Why a read failed: the 15-byte limit, or the end of what is there.</summary>
        public readonly DecodeOutcome Failure => _bytes.Length >= MaxLength ? DecodeOutcome.TooLong : DecodeOutcome.NeedMore;

        public bool TryByte(out byte value)
        {
            value = 0;
            if (Position >= Math.Min(_bytes.Length, MaxLength))
                return false;
            value = _bytes[Position++];
            return true;
        }

        public bool TryUnsigned(int size, out long value)
        {
            value = 0;
            if (Position + size > Math.Min(_bytes.Length, MaxLength))
            {
                Position = Math.Min(_bytes.Length, MaxLength);
                return false;
            }

            ulong bits = 0;
            for (int index = size - 1; index >= 0; index--)
                bits = (bits << 8) | _bytes[Position + index];
            Position += size;
            value = (long)bits;
            return true;
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public bool TrySigned(int size, out long value)
        {
            if (!TryUnsigned(size, out value))
                return false;
            int shift = 64 - (size * 8);
            value = value << shift >> shift;
            return true;
        }
    }
}
