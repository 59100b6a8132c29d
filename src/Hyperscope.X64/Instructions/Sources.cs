using System.Numerics;
using System.Runtime.CompilerServices;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>An instruction that reads its ModRM.rm operand and writes registers and flags only.</summary>
internal unsafe interface IReader
{
    /// <summary>Executes it on the operand. False: stopped, and nothing has happened.</summary>
    static abstract bool Apply<T>(CpuState* c, Op* o, T operand)
        where T : unmanaged, IBinaryInteger<T>;
}

/// <summary>Register and memory forms of an <see cref="IReader"/>.</summary>
internal static unsafe class Sources
{
    public static delegate*<CpuState*, Op*, Op*> Rm<TReader>(in Insn insn)
        where TReader : struct, IReader => insn.IsMemory ? Handlers.Sized<FromMemory<TReader>>(insn)
        : insn.Row.Has(Encoding.RmD) ? Handlers.Sized<FromFirst<TReader>>(insn) : Handlers.Sized<FromSecond<TReader>>(insn);

    private readonly struct FromFirst<TReader> : ISized
        where TReader : struct, IReader
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing => TReader.Apply(c, o, Handlers.Get<T>(c, o->D));
    }

    private readonly struct FromSecond<TReader> : ISized
        where TReader : struct, IReader
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing => TReader.Apply(c, o, Handlers.Get<T>(c, o->S));
    }

    private readonly struct FromMemory<TReader> : ISized
        where TReader : struct, IReader
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            T* memory = Mem.Read<T, TAddressing>(c, o);
            return memory != null && TReader.Apply(c, o, *memory);
        }
    }
}

/// <summary>The second operand of an instruction of two.</summary>
internal unsafe interface IOperand
{
    static abstract T Get<T>(CpuState* c, Op* o)
        where T : unmanaged, IBinaryInteger<T>;
}

/// <summary>The operand is <see cref="Op.S"/>.</summary>
internal readonly unsafe struct RegisterOperand : IOperand
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Get<T>(CpuState* c, Op* o)
        where T : unmanaged, IBinaryInteger<T> => Handlers.Get<T>(c, o->S);
}

/// <summary>The operand is the immediate.</summary>
internal readonly unsafe struct ImmediateOperand : IOperand
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Get<T>(CpuState* c, Op* o)
        where T : unmanaged, IBinaryInteger<T> => T.CreateTruncating(o->Immediate);
}
