using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM.</summary>
/// <remarks>Immediate: bits 0-1 element type (bytes, words, signed or not), 2-3 comparison, 4-5 polarity, 6 output. Source: SDM vol. 1 and 2,
/// "Imm8 Control Byte Operation for PCMPESTRI / PCMPESTRM / PCMPISTRI / PCMPISTRM".</remarks>
internal static unsafe class VectorStrings
{
    private const int EqualAny = 0, Ranges = 1, EqualEach = 2;

    public static void Register(OpcodeMap map)
    {
        Add<Explicit, ToMask>(map, 0x0F3A60, "pcmpestrm");
        Add<Explicit, ToIndex>(map, 0x0F3A61, "pcmpestri");
        Add<Implicit, ToMask>(map, 0x0F3A62, "pcmpistrm");
        Add<Implicit, ToIndex>(map, 0x0F3A63, "pcmpistri");
    }

    private static void Add<TLength, TOutput>(OpcodeMap map, int opcode, string name)
        where TLength : struct, ILength
        where TOutput : struct, IOutput =>
        map.Add(0x66, opcode, new OpcodeRow(name, VectorHandlers.XmmXmm | Encoding.Dword | Encoding.Imm8, static (in insn) =>
            insn.IsMemory ? Handlers.Addressed<FromMemory<TLength, TOutput>>(insn) : Handlers.Plain<FromRegister<TLength, TOutput>>(insn))
        { Feature = "sse4.2", Writes = Rflags.Arithmetic });

    private interface ILength
    {
        static abstract bool IsExplicit { get; }
    }

    private readonly struct Explicit : ILength { public static bool IsExplicit => true; }

    private readonly struct Implicit : ILength { public static bool IsExplicit => false; }

    private interface IOutput
    {
        static abstract bool IsMask { get; }
    }

    private readonly struct ToMask : IOutput { public static bool IsMask => true; }

    private readonly struct ToIndex : IOutput { public static bool IsMask => false; }

    private readonly struct FromRegister<TLength, TOutput> : IPlain
        where TLength : struct, ILength
        where TOutput : struct, IOutput
    {
        public static bool Run(CpuState* c, Op* o)
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            Compare<TLength, TOutput>(c, o, Handlers.Get<ulong>(c, o->S), Handlers.Get<ulong>(c, o->S + 8));
            return true;
        }
    }

    // The memory operand needs no alignment.
    private readonly struct FromMemory<TLength, TOutput> : IAddressed
        where TLength : struct, ILength
        where TOutput : struct, IOutput
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            if (VectorUnit.IsBlocked(c))
                return VectorUnit.RaiseBlocked(c, o);
            Unaligned128* source = VectorUnit.Read<Unaligned128, TAddressing>(c, o);
            if (source == null)
                return false;
            Vector128<ulong> value = VectorUnit.Widen(source).AsUInt64();
            Compare<TLength, TOutput>(c, o, value.GetElement(0), value.GetElement(1));
            return true;
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Compare<TLength, TOutput>(CpuState* c, Op* o, ulong low, ulong high)
        where TLength : struct, ILength
        where TOutput : struct, IOutput
    {
        int immediate = (int)o->Immediate;
        bool isWords = (immediate & 1) != 0;
        int count = isWords ? 8 : 16;
        int* first = stackalloc int[16], second = stackalloc int[16];
        ulong* source = stackalloc ulong[] { low, high };
        Expand(first, (byte*)c + o->D, immediate);
        Expand(second, (byte*)source, immediate);
        int firstLength = TLength.IsExplicit ? ExplicitLength(c, o, 0, count) : ImplicitLength(first, count);
        int secondLength = TLength.IsExplicit ? ExplicitLength(c, o, 2, count) : ImplicitLength(second, count);
        uint all = (1u << count) - 1, bits = 0;
        for (int position = 0; position < count; position++)
        {
            if (IsMatch(immediate >> 2 & 3, first, firstLength, second, secondLength, position, count))
                bits |= 1u << position;
        }

        bits ^= (immediate >> 4 & 3) switch { 1 => all, 3 => (1u << secondLength) - 1, _ => 0 };
        if (TOutput.IsMask)
            StoreMask(c, bits, (immediate & 0x40) != 0, isWords);
        else
            c->R[1] = (uint)(bits == 0 ? count : (immediate & 0x40) != 0 ? BitOperations.Log2(bits) : BitOperations.TrailingZeroCount(bits));
        Flags.Load(c, (bits != 0 ? Rflags.Cf : 0) | (secondLength < count ? Rflags.Zf : 0) | (firstLength < count ? Rflags.Sf : 0)
            | ((bits & 1) != 0 ? Rflags.Of : 0));
    }

    private static void Expand(int* elements, byte* source, int immediate)
    {
        for (int index = 0; index < ((immediate & 1) != 0 ? 8 : 16); index++)
        {
            elements[index] = (immediate & 3) switch
            {
                0 => source[index],
                1 => ((ushort*)source)[index],
                2 => ((sbyte*)source)[index],
                _ => ((short*)source)[index],
            };
        }
    }

    private static int ImplicitLength(int* elements, int count)
    {
        int length = 0;
        while (length < count && elements[length] != 0)
            length++;
        return length;
    }

    // The magnitude of a general register, at most the number of elements.
    private static int ExplicitLength(CpuState* c, Op* o, int register, int count)
    {
        long value = o->OperandSize == 8 ? (long)c->R[register] : (int)c->R[register];
        return value > count || value < -count ? count : (int)Math.Abs(value);
    }

    private static bool IsMatch(int comparison, int* first, int firstLength, int* second, int secondLength, int position, int count)
    {
        bool isValid = position < secondLength;
        switch (comparison)
        {
            case EqualAny:
                for (int index = 0; isValid && index < firstLength; index++)
                {
                    if (first[index] == second[position])
                        return true;
                }

                return false;
            case Ranges:
                for (int index = 0; isValid && index + 1 < firstLength; index += 2)
                {
                    if (second[position] >= first[index] && second[position] <= first[index + 1])
                        return true;
                }

                return false;
            case EqualEach:
                return position < firstLength ? isValid && first[position] == second[position] : !isValid;
            default:
                for (int index = 0; index < firstLength && position + index < count; index++)
                {
                    if (position + index >= secondLength || first[index] != second[position + index])
                        return false;
                }

                return true;
        }
    }

    private static void StoreMask(CpuState* c, uint bits, bool isExpanded, bool isWords)
    {
        c->Vector[0] = isExpanded ? 0 : bits;
        c->Vector[1] = 0;
        for (int index = 0; isExpanded && index < (isWords ? 8 : 16); index++)
        {
            if ((bits >> index & 1) == 0)
                continue;
            if (isWords)
                ((ushort*)c->Vector)[index] = 0xFFFF;
            else
                ((byte*)c->Vector)[index] = 0xFF;
        }
    }
}
