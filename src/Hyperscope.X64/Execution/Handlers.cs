using System.Numerics;
using System.Runtime.CompilerServices;
using Hyperscope.X64.Decoding;

namespace Hyperscope.X64.Execution;

/// <summary>An instruction that works alike for every operand size and addressing.</summary>
internal unsafe interface ISized
{
    /// <summary>Executes it. False: stopped, and nothing has happened.</summary>
    static abstract bool Run<T, TAddressing>(CpuState* c, Op* o)
        where T : unmanaged, IBinaryInteger<T>
        where TAddressing : struct, IAddressing;
}

/// <summary>An instruction whose code depends on the addressing only.</summary>
internal unsafe interface IAddressed
{
    /// <inheritdoc cref="ISized.Run"/>
    static abstract bool Run<TAddressing>(CpuState* c, Op* o)
        where TAddressing : struct, IAddressing;
}

/// <summary>An instruction of one shape.</summary>
internal unsafe interface IPlain
{
    /// <inheritdoc cref="ISized.Run"/>
    static abstract bool Run(CpuState* c, Op* o);
}

/// <summary>An instruction that ends its block and continues at the next one, unless it changed rip, mode or mappings.</summary>
/// <remarks>After it ran, the vCPU's rip is at the next instruction if it returned true.</remarks>
internal unsafe interface IEnding
{
    /// <summary>Executes it. False: stopped or went elsewhere (rip, stop reason and budget are set). True: goes on behind it.</summary>
    static abstract bool Run(CpuState* c, Op* o);
}

/// <summary>Makes handlers out of instructions, and holds the only place where one handler calls the next.</summary>
internal static unsafe class Handlers
{
    /// <summary>Picks the handler by operand size (1, 2, 4, 8) and addressing.</summary>
    public static delegate*<CpuState*, Op*, Op*> Sized<TInstruction>(in Insn insn)
        where TInstruction : struct, ISized
    {
        if (!insn.IsMemory || insn.IsFlat)
        {
            return insn.OperandSize switch
            {
                1 => &Step<TInstruction, byte, Flat>,
                2 => &Step<TInstruction, ushort, Flat>,
                4 => &Step<TInstruction, uint, Flat>,
                _ => &Step<TInstruction, ulong, Flat>,
            };
        }

        return insn.OperandSize switch
        {
            1 => &Step<TInstruction, byte, Segmented>,
            2 => &Step<TInstruction, ushort, Segmented>,
            4 => &Step<TInstruction, uint, Segmented>,
            _ => &Step<TInstruction, ulong, Segmented>,
        };
    }

    /// <summary>Picks the handler of an instruction that does nothing before all its accesses have succeeded, and is stopped by them alone.</summary>
    /// <remarks>In 64-bit code such an instruction is attempted without any way to a slow path, which keeps its handler free of calls and so
    /// of a stack frame. If that fails nothing has happened, and the handler with the slow path begins it anew.</remarks>
    public static delegate*<CpuState*, Op*, Op*> Access<TInstruction>(in Insn insn)
        where TInstruction : struct, ISized
    {
        if (insn.CodeSize != CodeSize.Bits64 || insn.AddressSize != 8)
            return Sized<TInstruction>(insn);
        if (insn.IsMemory && !insn.IsFlat)
            return Attempt<TInstruction, QuickSegment, Segmented>(insn.OperandSize);
        return insn.IsMemory && insn.Index != CpuState.ZeroRegister
            ? Attempt<TInstruction, QuickIndexed, Flat>(insn.OperandSize)
            : Attempt<TInstruction, QuickBase, Flat>(insn.OperandSize);
    }

    private static delegate*<CpuState*, Op*, Op*> Attempt<TInstruction, TQuick, TSlow>(int operandSize)
        where TInstruction : struct, ISized
        where TQuick : struct, IAddressing
        where TSlow : struct, IAddressing => operandSize switch
        {
            1 => &Attempt<TInstruction, byte, TQuick, TSlow>,
            2 => &Attempt<TInstruction, ushort, TQuick, TSlow>,
            4 => &Attempt<TInstruction, uint, TQuick, TSlow>,
            _ => &Attempt<TInstruction, ulong, TQuick, TSlow>,
        };

    private static Op* Attempt<TInstruction, T, TQuick, TSlow>(CpuState* c, Op* o)
        where TInstruction : struct, ISized
        where T : unmanaged, IBinaryInteger<T>
        where TQuick : struct, IAddressing
        where TSlow : struct, IAddressing
    {
        if (!TInstruction.Run<T, TQuick>(c, o))
            return Step<TInstruction, T, TSlow>(c, o);
        o++;
        return RawCalliHelper.Invoke(c, o);
    }

    /// <summary>Picks the handler by addressing.</summary>
    public static delegate*<CpuState*, Op*, Op*> Addressed<TInstruction>(in Insn insn)
        where TInstruction : struct, IAddressed =>
        !insn.IsMemory || insn.IsFlat ? &StepAddressed<TInstruction, Flat> : &StepAddressed<TInstruction, Segmented>;

    /// <summary>The handler of an instruction of one shape.</summary>
    public static delegate*<CpuState*, Op*, Op*> Plain<TInstruction>(in Insn insn)
        where TInstruction : struct, IPlain
    {
        _ = insn;
        return &StepPlain<TInstruction>;
    }

    /// <summary>The handler of an instruction that ends its block.</summary>
    public static delegate*<CpuState*, Op*, Op*> Ending<TInstruction>(in Insn insn)
        where TInstruction : struct, IEnding
    {
        _ = insn;
        return &End<TInstruction>;
    }

    // Not inlined: it is the slow path of an attempt.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Op* Step<TInstruction, T, TAddressing>(CpuState* c, Op* o)
        where TInstruction : struct, ISized
        where T : unmanaged, IBinaryInteger<T>
        where TAddressing : struct, IAddressing
    {
        if (!TInstruction.Run<T, TAddressing>(c, o))
            return null;
        o++;
        return RawCalliHelper.Invoke(c, o);
    }

    private static Op* StepAddressed<TInstruction, TAddressing>(CpuState* c, Op* o)
        where TInstruction : struct, IAddressed
        where TAddressing : struct, IAddressing
    {
        if (!TInstruction.Run<TAddressing>(c, o))
            return null;
        o++;
        return RawCalliHelper.Invoke(c, o);
    }

    private static Op* StepPlain<TInstruction>(CpuState* c, Op* o)
        where TInstruction : struct, IPlain
    {
        if (!TInstruction.Run(c, o))
            return null;
        o++;
        return RawCalliHelper.Invoke(c, o);
    }

    private static Op* End<TInstruction>(CpuState* c, Op* o)
        where TInstruction : struct, IEnding => TInstruction.Run(c, o) ? Chain.Next(c, o) : null;

    /// <summary>A register operand of the given width.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Get<T>(CpuState* c, int offset)
        where T : unmanaged => *(T*)((byte*)c + offset);

    /// <summary>Writes a general register; a 32-bit value clears the upper half.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Set<T>(CpuState* c, int offset, T value)
        where T : unmanaged, IBinaryInteger<T>
    {
        if (typeof(T) == typeof(uint))
            *(ulong*)((byte*)c + offset) = uint.CreateTruncating(value);
        else
            *(T*)((byte*)c + offset) = value;
    }
}
