using System.Buffers.Binary;
using Hyperscope.Kvm;

namespace Hyperscope.Compare.Guests;

/// <summary>A few instructions without an operating system, the same as in bench/native/kvm-loop.c.</summary>
internal static class BareGuest
{
    public const ulong Code = FlatLongMode.End, Bytes = 0x8000, Page = 0x6000;

    /// <summary>Arithmetic, a store, a branch; <paramref name="rounds"/> times; then HLT.</summary>
    public static byte[] Loop(ulong rounds)
    {
        byte[] code =
        [
            0x48, 0xB9, 0, 0, 0, 0, 0, 0, 0, 0,             // mov rcx, rounds
            0x48, 0x01, 0xC8,                               // add rax, rcx
            0x48, 0x89, 0x04, 0x25, 0x00, 0x60, 0x00, 0x00, // mov [0x6000], rax
            0x48, 0x31, 0xC2,                               // xor rdx, rax
            0x48, 0x6B, 0xD2, 0x03,                         // imul rdx, rdx, 3
            0x48, 0xFF, 0xC9,                               // dec rcx
            0x75, 0xE9,                                     // jnz
            0xF4,                                           // hlt
        ];
        BinaryPrimitives.WriteUInt64LittleEndian(code.AsSpan(2), rounds);
        return code;
    }

    /// <summary>The memory: tables and code.</summary>
    public static byte[] Image(ReadOnlySpan<byte> code)
    {
        byte[] image = new byte[Bytes];
        FlatLongMode.WriteTables(image);
        code.CopyTo(image.AsSpan((int)Code));
        return image;
    }

    /// <summary>The registers at the first instruction, over what a vCPU has after reset.</summary>
    public static (KvmRegs General, KvmSregs Special) Registers(KvmSregs special)
    {
        FlatLongMode.Enter(ref special);
        return (new KvmRegs { Rip = Code, Rsp = Bytes, Rflags = 2 }, special);
    }
}
