using Hyperscope.TestKit;
using Hyperscope.X64.Decoding;

namespace Hyperscope.X64.Tests.Vectors;

/// <summary>Encodes instances of an opcode row.</summary>
internal static class RowInstruction
{
    /// <summary>A random instance whose memory operand, if any, is in the native processor's data.</summary>
    /// <remarks>Now and then with prefixes that mean nothing to it: segments that are flat, or the address size in 64-bit code.</remarks>
    /// <returns>The bytes; <paramref name="offset"/> is that of the memory operand in the data, or -1.</returns>
    public static byte[] Encode(Random random, int map, int column, int opcode, int group, OpcodeRow row, out int offset, bool is32Bit = false)
    {
        int registers = is32Bit ? 8 : 16;
        const byte NoRegister = 4; // RSP is not for tests
        var bytes = new List<byte>();
        offset = -1;
        if (random.Next(8) == 0)
            bytes.Add((byte)(is32Bit ? 0x36 + (random.Next(2) * 8) : 0x26 + (random.Next(4) * 8))); // CS is not writable in 32-bit code
        if (!is32Bit && random.Next(8) == 0)
            bytes.Add(0x67);
        if (column != 0)
            bytes.Add(column switch { 1 => 0x66, 2 => 0xF3, _ => 0xF2 });
        int rex = 0x40;
        bool isWide = !is32Bit && row.Has(Encoding.Dword) && random.Next(3) == 0 && !row.Name.Contains("save", StringComparison.Ordinal);
        bool isVectorReg = row.Has(Encoding.VectorReg), isVectorRm = row.Has(Encoding.VectorRm);
        int reg = group >= 0 ? group < 8 ? group : (group - 8) >> 3 : random.Next(row.Has(Encoding.MmxReg) ? 8 : registers);
        int rm = group >= 8 ? (group - 8) & 7 : random.Next(row.Has(Encoding.MmxRm) ? 8 : registers);
        if (group < 0 && !isVectorReg && !row.Has(Encoding.MmxReg) && reg == NoRegister)
            reg = 3;
        bool isMemory = !row.Has(RowFlags.RegisterOnly) && (row.Has(RowFlags.MemoryOnly) || (group >= 0 ? group < 8 : random.Next(3) == 0));
        if (!isMemory && group < 0 && !isVectorRm && !row.Has(Encoding.MmxRm) && rm == NoRegister)
            rm = 1;
        if (isWide)
            rex |= 8;
        if (reg >= 8)
            rex |= 4;
        if (!isMemory && rm >= 8)
            rex |= 1;
        if (rex != 0x40)
            bytes.Add((byte)rex);
        if (map > 0)
            bytes.Add(0x0F);
        if (map > 1)
            bytes.Add((byte)(map == 2 ? 0x38 : 0x3A));
        bytes.Add((byte)opcode);
        if (row.Has(Encoding.ModRm))
        {
            if (isMemory)
            {
                int alignment = random.Next(16) == 0 ? 1 : row.Name.StartsWith("xsave", StringComparison.Ordinal) || row.Name == "xrstor" ? 64 : 16;
                offset = 0x800 + (random.Next(0x400) / alignment * alignment);
                bytes.AddRange([(byte)(((reg & 7) << 3) | 4), 0x25]);
                bytes.AddRange(BitConverter.GetBytes((int)(NativeProcessor.DataAddress + (ulong)offset)));
            }
            else
            {
                bytes.Add((byte)(0xC0 | ((reg & 7) << 3) | (rm & 7)));
            }
        }

        if ((row.Encoding & Encoding.Imm8) != 0)
            bytes.Add((byte)(random.Next(4) == 0 ? random.Next(16) : random.Next(256)));
        return [.. bytes];
    }
}
