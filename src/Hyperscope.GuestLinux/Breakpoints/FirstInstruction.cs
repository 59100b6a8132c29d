namespace Hyperscope.GuestLinux;

/// <summary>What an instruction does, of the few that functions start with, so that it need not be executed in place.</summary>
internal static class FirstInstruction
{
    /// <summary>Bytes that have to be looked at.</summary>
    public const int MaxLength = 9;

    // Source: SDM vol. 2, "NOP": the recommended forms of 2 to 9 bytes, without the bytes that may be anything.
    private static readonly (byte[] Start, int Length)[] Idle =
    [
        ([0xf3, 0x0f, 0x1e, 0xfa], 4), // endbr64
        ([0x90], 1), ([0x66, 0x90], 2), ([0x0f, 0x1f, 0x00], 3), ([0x0f, 0x1f, 0x40], 4), ([0x0f, 0x1f, 0x44], 5),
        ([0x66, 0x0f, 0x1f, 0x44], 6), ([0x0f, 0x1f, 0x80], 7), ([0x0f, 0x1f, 0x84], 8), ([0x66, 0x0f, 0x1f, 0x84], 9),
    ];

    // Where in KvmRegs the registers are, by the numbers that instructions give them.
    private static ReadOnlySpan<byte> Places => [0, 2, 3, 1, 6, 7, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15];

    /// <summary>Carries an instruction out.</summary>
    /// <param name="code">Its bytes.</param>
    /// <param name="registers">Before it, and after it.</param>
    /// <param name="pushed">What it puts where rsp points afterwards, or null.</param>
    /// <returns>False if it is not one of those that are known; nothing is changed then.</returns>
    public static bool TryEmulate(ReadOnlySpan<byte> code, ref KvmRegs registers, out ulong? pushed)
    {
        pushed = null;
        foreach ((byte[] start, int length) in Idle)
        {
            if (code.Length >= length && code.StartsWith(start))
            {
                registers.Rip += (ulong)length;
                return true;
            }
        }

        int prefix = code.Length > 0 && (code[0] & 0xf0) == 0x40 ? 1 : 0;
        int rex = prefix == 1 ? code[0] & 0x0f : 0;
        code = code[prefix..];
        if (code.IsEmpty)
            return false;
        Span<ulong> values = KvmRegs.AsSpan(ref registers);
        if (code[0] is >= 0x50 and <= 0x57 && (rex & ~1) == 0) // push r64
        {
            pushed = values[Places[(code[0] & 7) | (rex & 1) << 3]];
            registers.Rsp -= 8;
            registers.Rip += (ulong)prefix + 1;
            return true;
        }

        if (code.Length >= 2 && code[0] == 0x89 && code[1] >= 0xc0 && (rex & 0b1010) == 0b1000) // mov r64, r64
        {
            int source = (code[1] >> 3 & 7) | (rex & 4) << 1, target = (code[1] & 7) | (rex & 1) << 3;
            values[Places[target]] = values[Places[source]];
            registers.Rip += (ulong)prefix + 2;
            return true;
        }

        if (code.Length >= 5 && code[0] == 0xe8 && prefix == 0) // call rel32
        {
            pushed = registers.Rip + 5;
            registers.Rsp -= 8;
            registers.Rip += 5 + (ulong)(long)BinaryPrimitives.ReadInt32LittleEndian(code[1..]);
            return true;
        }

        return false;
    }
}
