using System.Runtime.InteropServices;

namespace Hyperscope.X64.Execution;

/// <summary>One decoded instruction: the handler and its operands, extracted once.</summary>
/// <remarks>
/// <para>48 bytes. A block is an array of these in memory that does not move; its last element is a terminator, which is followed by
/// one <see cref="BlockExit"/> in the next slot. A handler in the middle of a block ends by calling the next one in tail position;
/// a terminator returns the first op of the next block, or null to leave for the run loop. So the depth of calls is bounded
/// by the length of a block even where the JIT does not turn the calls into jumps.</para>
/// <para><see cref="D"/>, <see cref="S"/>, <see cref="B"/> and <see cref="X"/> are byte offsets into <see cref="CpuState"/>:
/// destination or first register operand, source or second register operand, base and index of a memory operand.</para>
/// </remarks>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Op
{
    public delegate*<CpuState*, Op*, Op*> Handler;
    public ushort D, S, B, X;

    /// <summary>log2 of the index scale.</summary>
    public byte Scale;
    public SegmentIndex Segment;

    /// <summary>Length of the instruction in bytes.</summary>
    public byte Length;

    /// <summary>Instructions of the block that come before this one.</summary>
    public byte Index;

    /// <summary>Facts a handler may need: operand and address size, prefixes. See <see cref="OpBits"/>.</summary>
    public uint Bits;

    /// <summary>Displacement of the memory operand; the second immediate where an instruction has two (ENTER, far pointers).</summary>
    public long Displacement;
    public long Immediate;

    /// <summary>Instruction pointer of the instruction (without the CS base).</summary>
    public ulong Rip;

    /// <summary>Instruction pointer behind the instruction, wrapped to the code size.</summary>
    public readonly ulong NextRip => (Rip + Length) & OpBits.RipMask(Bits);

    public readonly int OperandSize => (int)(Bits & OpBits.OperandSizeMask);
}

/// <summary>The bits of <see cref="Op.Bits"/>.</summary>
internal static class OpBits
{
    /// <summary>Operand size in bytes: 1, 2, 4, 8 (or 16, 32 for vectors).</summary>
    public const uint OperandSizeMask = 0x3F;

    public const uint Rep = 1 << 8, RepNe = 1 << 9, Lock = 1 << 10;
    public const uint AddressSize16 = 1 << 11, AddressSize32 = 1 << 12;

    /// <summary>Code size: neither bit for 64-bit code.</summary>
    public const uint Code16 = 1 << 13, Code32 = 1 << 14;

    /// <summary>The memory operand's effective address is RIP-relative or absolute: nothing to add.</summary>
    public const uint HasMemory = 1 << 15;

    /// <summary>The bytes of the instruction lie on two pages.</summary>
    public const uint CrossesPage = 1 << 16;

    /// <summary>The memory operand addresses the stack by default (BP or SP base): its limit fault is #SS.</summary>
    public const uint StackSegment = 1 << 17;

    /// <summary>A REX prefix was present (byte registers 4 to 7 are SPL.. instead of AH..).</summary>
    public const uint Rex = 1 << 18;

    public static ulong RipMask(uint bits) => (bits & (Code16 | Code32)) == 0 ? ulong.MaxValue : (bits & Code32) != 0 ? 0xFFFF_FFFF : 0xFFFF_FFFFUL;

    public static ulong AddressMask(uint bits) => (bits & AddressSize16) != 0 ? 0xFFFF : (bits & AddressSize32) != 0 ? 0xFFFF_FFFF : ulong.MaxValue;
}

/// <summary>Where a terminator goes, in the slot behind it. A link holds while its generation is the vCPU's.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct BlockExit
{
    public Op* Taken, Next;
    public ulong TakenGeneration, NextGeneration;
    public ulong TakenRip, NextRip;
}
