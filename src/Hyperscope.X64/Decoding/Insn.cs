using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Decoding;

/// <summary>Default operand and address size of the code being decoded.</summary>
internal enum CodeSize : byte
{
    Bits16 = 2,
    Bits32 = 4,
    Bits64 = 8,
}

/// <summary>One instruction as decoded: prefixes, opcode, operands. Lives only while its <see cref="Op"/> is being made.</summary>
internal struct Insn
{
    public CodeSize CodeSize;

    /// <summary>Bytes, prefixes included.</summary>
    public byte Length;

    /// <summary>0: one-byte map, 1: 0F, 2: 0F 38, 3: 0F 3A.</summary>
    public byte Map;
    public byte Opcode;

    /// <summary>REX byte, or 0.</summary>
    public byte Rex;

    public bool Has66, HasRep, HasRepNe, HasLock, HasModRm, IsMemory, IsStackSegment;

    /// <summary>The displacement counts from the next instruction until decoding ends.</summary>
    public bool HasMemoryRipRelative;

    /// <summary>ModRM fields; <see cref="Reg"/> and <see cref="Rm"/> include their REX bits.</summary>
    public byte Mod, Reg, Rm;

    /// <summary>Operand size in bytes: 1, 2, 4 or 8.</summary>
    public byte OperandSize;

    /// <summary>Address size in bytes: 2, 4 or 8.</summary>
    public byte AddressSize;

    /// <summary>Base register, or <see cref="CpuState.ZeroRegister"/>.</summary>
    public byte Base;

    /// <summary>Index register, or <see cref="CpuState.ZeroRegister"/>.</summary>
    public byte Index;
    public byte Scale;
    public SegmentIndex Segment;

    /// <summary>Displacement; for a RIP-relative operand the whole address.</summary>
    public long Displacement;
    public long Immediate;

    /// <summary>Second immediate: selector of a far pointer, or the level byte of ENTER.</summary>
    public ushort Immediate2;

    /// <summary>Instruction pointer of the first byte.</summary>
    public ulong Rip;

    public OpcodeRow Row;

    public readonly bool RexW => (Rex & 8) != 0;

    /// <summary>True if the memory operand needs neither a segment base, a limit check nor truncation.</summary>
    public readonly bool IsFlat => CodeSize == CodeSize.Bits64 && AddressSize == 8 && Segment is not (SegmentIndex.Fs or SegmentIndex.Gs);

    public readonly ulong RipMask => CodeSize == CodeSize.Bits64 ? ulong.MaxValue : 0xFFFF_FFFF;
}
