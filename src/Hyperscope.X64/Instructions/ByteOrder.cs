using System.Buffers.Binary;
using System.Numerics;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>MOVBE, CRC32, XLAT.</summary>
internal static unsafe class ByteOrder
{
    private const int Rbx = 3;

    public static void Register(OpcodeMap map)
    {
        foreach (int prefix in (int[])[0, 0x66])
        {
            map.Add(prefix, 0x0F38F0, new OpcodeRow("movbe", Encoding.RegD, Handlers.Sized<Load>)
            { Flags = RowFlags.MemoryOnly, Feature = "MOVBE" });
            map.Add(prefix, 0x0F38F1, new OpcodeRow("movbe", Encoding.RegS, Handlers.Sized<Store>)
            { Flags = RowFlags.MemoryOnly, Feature = "MOVBE" });
        }

        map.Add(0xF2, 0x0F38F0, new OpcodeRow("crc32", Encoding.RegD | Encoding.RmS | Encoding.ByteSource | Encoding.Dword, static (in insn) =>
            insn.IsMemory ? Handlers.Addressed<ChecksumMemoryByte>(insn) : Handlers.Plain<ChecksumByte>(insn))
        { Feature = "SSE4.2" });
        map.Add(0xF2, 0x0F38F1, new OpcodeRow("crc32", Encoding.RegD | Encoding.RmS, Sources.Rm<Checksum>) { Feature = "SSE4.2" });
        map.Add(0xD7, new OpcodeRow("xlat", Encoding.None, Handlers.Plain<Translate>));
    }

    private static T Reverse<T>(T value)
        where T : unmanaged, IBinaryInteger<T>
    {
        if (typeof(T) == typeof(ulong))
            return T.CreateTruncating(BinaryPrimitives.ReverseEndianness(ulong.CreateTruncating(value)));
        if (typeof(T) == typeof(uint))
            return T.CreateTruncating(BinaryPrimitives.ReverseEndianness(uint.CreateTruncating(value)));
        return T.CreateTruncating(BinaryPrimitives.ReverseEndianness(ushort.CreateTruncating(value)));
    }

    private readonly struct Load : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            T* memory = Mem.Read<T, TAddressing>(c, o);
            if (memory == null)
                return false;
            Handlers.Set(c, o->D, Reverse(*memory));
            return true;
        }
    }

    private readonly struct Store : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing => Mem.Write<T, TAddressing>(c, o, Reverse(Handlers.Get<T>(c, o->S)));
    }

    // The destination has 32 significant bits, whatever the operand size; the rest becomes zero.
    private readonly struct Checksum : IReader
    {
        public static bool Apply<T>(CpuState* c, Op* o, T operand)
            where T : unmanaged, IBinaryInteger<T>
        {
            uint before = Handlers.Get<uint>(c, o->D);
            uint after = sizeof(T) switch
            {
                8 => BitOperations.Crc32C(before, ulong.CreateTruncating(operand)),
                4 => BitOperations.Crc32C(before, uint.CreateTruncating(operand)),
                2 => BitOperations.Crc32C(before, ushort.CreateTruncating(operand)),
                _ => BitOperations.Crc32C(before, byte.CreateTruncating(operand)),
            };
            Handlers.Set(c, o->D, after);
            return true;
        }
    }

    private readonly struct ChecksumByte : IPlain
    {
        public static bool Run(CpuState* c, Op* o) => Checksum.Apply(c, o, Handlers.Get<byte>(c, o->S));
    }

    private readonly struct ChecksumMemoryByte : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            byte* memory = Mem.Read<byte, TAddressing>(c, o);
            return memory != null && Checksum.Apply(c, o, *memory);
        }
    }

    private readonly struct Translate : IPlain
    {
        public static bool Run(CpuState* c, Op* o)
        {
            ulong offset = (c->R[Rbx] + (byte)c->R[0]) & OpBits.AddressMask(o->Bits);
            byte* memory = Mem.ReadLinear<byte>(c, o, Segmented.At(c, o, o->Segment, offset, 1, isWrite: false));
            if (memory == null)
                return false;
            *(byte*)c->R = *memory;
            return true;
        }
    }
}
