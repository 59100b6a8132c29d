using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Decoding;

/// <summary>Chooses the handler for one decoded instruction.</summary>
internal unsafe delegate delegate*<CpuState*, Op*, Op*> HandlerSelector(in Insn insn);

/// <summary>Where the operands of an instruction are encoded, and which immediate follows.</summary>
[Flags]
internal enum Encoding : uint
{
    None = 0,

    /// <summary>A ModRM byte follows the opcode.</summary>
    ModRm = 1 << 0,

    /// <summary>First register operand (<see cref="Op.D"/>) is ModRM.reg.</summary>
    RegD = 1 << 1 | ModRm,

    /// <summary>First register operand is ModRM.rm.</summary>
    RmD = 1 << 2 | ModRm,

    /// <summary>Second register operand (<see cref="Op.S"/>) is ModRM.reg.</summary>
    RegS = 1 << 3 | ModRm,

    /// <summary>Second register operand is ModRM.rm.</summary>
    RmS = 1 << 4 | ModRm,

    /// <summary>First register operand is in the opcode's low three bits.</summary>
    OpcodeD = 1 << 5,

    /// <summary>First register operand is the accumulator.</summary>
    AccD = 1 << 6,

    /// <summary>Operands are bytes.</summary>
    Byte = 1 << 7,

    /// <summary>The source (rm) operand is a byte whatever the operand size (MOVZX, MOVSX).</summary>
    ByteSource = 1 << 8,

    /// <summary>The source (rm) operand is a word.</summary>
    WordSource = 1 << 9,

    /// <summary>Operand size 8 in 64-bit code without REX.W (PUSH, near branches).</summary>
    Default64 = 1 << 10,

    /// <summary>Operand size is the code's natural one: 8 in 64-bit code, 4 or 2 elsewhere; 66 is ignored in 64-bit code.</summary>
    Force64 = 1 << 11,

    /// <summary>Operand size is 4 (8 with REX.W); 66 selects a map column instead.</summary>
    Dword = 1 << 12,

    Imm8 = 1 << 13,

    /// <summary>A byte, sign-extended to the operand size.</summary>
    Imm8Signed = 1 << 14,
    Imm16 = 1 << 15,

    /// <summary>2 or 4 bytes, sign-extended for operand size 8.</summary>
    ImmZ = 1 << 16,

    /// <summary>2, 4 or 8 bytes.</summary>
    ImmV = 1 << 17,

    /// <summary>Branch displacement of one byte; the immediate becomes the target.</summary>
    Rel8 = 1 << 18,

    /// <summary>Branch displacement of 2 or 4 bytes; the immediate becomes the target.</summary>
    RelZ = 1 << 19,

    /// <summary>Offset of 2 or 4 bytes, then a selector.</summary>
    FarPointer = 1 << 20,

    /// <summary>An absolute address of the address size: the memory operand of MOV A0..A3.</summary>
    Moffs = 1 << 21,

    /// <summary>ModRM.reg / rm name XMM registers.</summary>
    VectorReg = 1 << 22,
    VectorRm = 1 << 23,

    /// <summary>ModRM.reg / rm name MMX registers (index into the x87 file, see the handlers).</summary>
    MmxReg = 1 << 24,
    MmxRm = 1 << 25,

    /// <summary>ModRM.reg names a segment, control or debug register, or extends the opcode: no general register.</summary>
    PlainReg = 1 << 26 | ModRm,

    /// <summary>A second immediate byte (ENTER, EXTRQ).</summary>
    Imm8Second = 1 << 27,

    /// <summary>ModRM.mod is ignored: the operand is a register (MOV CR, MOV DR).</summary>
    RegisterOnly = 1 << 28,

    AnyImmediate = Imm8 | Imm8Signed | Imm16 | ImmZ | ImmV | Rel8 | RelZ | FarPointer | Moffs,
}

/// <summary>Properties of an instruction that the decoder enforces or the block builder needs.</summary>
[Flags]
internal enum RowFlags
{
    None = 0,

    /// <summary>#UD in 64-bit code.</summary>
    Not64 = 1 << 0,

    /// <summary>#UD outside 64-bit code.</summary>
    Only64 = 1 << 1,

    /// <summary>LOCK is allowed with a memory destination.</summary>
    Lockable = 1 << 2,

    /// <summary>The handler decides where to go: nothing may follow it in its block.</summary>
    EndsBlock = 1 << 3,

    /// <summary>#UD in real and virtual-8086 mode.</summary>
    ProtectedOnly = 1 << 4,

    /// <summary>Only the memory form exists.</summary>
    MemoryOnly = 1 << 5,

    /// <summary>Only the register form exists.</summary>
    RegisterOnly = 1 << 6,

    /// <summary>A conditional branch that can be joined with the compare in front of it.</summary>
    ConditionalBranch = 1 << 7,

    /// <summary>Takes its time and nothing else: a block counts it and has no op for it. See <see cref="Instructions.Moves.DoesNothing"/>.</summary>
    NoOperation = 1 << 8,
}

/// <summary>Every fact about one opcode, shared by decoder, interpreter and tests.</summary>
internal sealed class OpcodeRow(string name, Encoding encoding, HandlerSelector? select)
{
    /// <summary>Stands for "not decoded".</summary>
    public static OpcodeRow None { get; } = new("", Encoding.None, null);

    /// <summary>Mnemonic in lower case.</summary>
    public string Name { get; } = name;

    public Encoding Encoding { get; } = encoding;

    public HandlerSelector? Select { get; } = select;

    public RowFlags Flags { get; init; }

    /// <summary>Arithmetic flags the instruction may change, at their RFLAGS positions.</summary>
    public ulong Writes { get; init; }

    /// <summary>Arithmetic flags left undefined by the architecture; differential tests mask them.</summary>
    public ulong Undefined { get; init; }

    /// <summary>Arithmetic flags the instruction reads.</summary>
    public ulong Reads { get; init; }

    /// <summary>Makes one handler of this instruction and a conditional branch right behind it; null where there is none.</summary>
    public HandlerFuser? Fuse { get; init; }

    /// <summary>Chosen by ModRM.reg: memory forms at 0 to 7, then register forms at 8 + reg * 8 + rm.</summary>
    public OpcodeRow?[]? Group { get; init; }

    /// <summary>The CPUID feature the instruction belongs to, for documentation.</summary>
    public string Feature { get; init; } = "";

    public bool Has(RowFlags flags) => (Flags & flags) != 0;

    public bool Has(Encoding encoding) => (Encoding & encoding) == encoding;
}

/// <summary>Chooses the handler that compares and branches on condition 0 to 15 in one step.</summary>
internal unsafe delegate delegate*<CpuState*, Op*, Op*> HandlerFuser(in Insn insn, int condition);
