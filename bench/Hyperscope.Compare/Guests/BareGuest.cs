using System.Buffers.Binary;

namespace Hyperscope.Compare.Guests;

/// <summary>A few instructions in 64-bit mode at CPL 0, the first 2 MiB mapped to themselves, no descriptor tables. The same as
/// bench/native/kvm-loop.c makes.</summary>
internal static class BareGuest
{
    public const ulong Code = 0x4000, Bytes = 0x8000, Page = 0x6000;

    private const ulong Tables = 0x1000;

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
        BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan((int)Tables), Tables + 0x1000 + 3);
        BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan((int)Tables + 0x1000), Tables + 0x2000 + 3);
        BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan((int)Tables + 0x2000), 0x83);
        code.CopyTo(image.AsSpan((int)Code));
        return image;
    }

    /// <summary>The registers at the first instruction, over what a vCPU has after reset.</summary>
    public static (KvmRegs General, KvmSregs Special) Registers(KvmSregs special)
    {
        var code = new KvmSegment { Limit = uint.MaxValue, Selector = 8, Type = 0xB, Present = 1, S = 1, L = 1, G = 1 };
        special.Cs = code;
        special.Ds = special.Es = special.Fs = special.Gs = special.Ss = code with { Selector = 16, Type = 3, L = 0, Db = 1 };
        special.Cr0 = 0x8000_0011;
        special.Cr3 = Tables;
        special.Cr4 = 0x20;
        special.Efer = 0x500;
        return (new KvmRegs { Rip = Code, Rsp = Bytes, Rflags = 2 }, special);
    }
}
