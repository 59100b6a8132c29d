namespace Hyperscope.X64.Tests.Vectors;

/// <summary>Operands that find mistakes: boundaries, NaNs, halfway cases, and plain random bits.</summary>
internal static class FloatValues
{
    private static readonly ulong[] _doubles =
    [
        0, 1UL << 63, 1, 0x000F_FFFF_FFFF_FFFF, 0x0010_0000_0000_0000, 0x0010_0000_0000_0001, 0x7FEF_FFFF_FFFF_FFFF, 0x7FF0_0000_0000_0000,
        0x7FF0_0000_0000_0001, 0x7FF4_5678_0000_0000, 0x7FF8_0000_0000_0000, 0x7FF8_1234_5678_9ABC, 0x3FF0_0000_0000_0000, 0x3FE0_0000_0000_0000,
        0x4000_0000_0000_0000, 0x41DF_FFFF_FFC0_0000, 0x41E0_0000_0000_0000, 0x43E0_0000_0000_0000, 0x43F0_0000_0000_0000, 0x41DF_FFFF_FFE0_0000,
        0x47EF_FFFF_E000_0000, 0x47EF_FFFF_F000_0000, 0x3810_0000_0000_0000, 0x380F_FFFF_F000_0000, 0x36A0_0000_0000_0000, 0x4330_0000_0000_0001,
    ];

    private static readonly uint[] _singles =
    [
        0, 1u << 31, 1, 0x007F_FFFF, 0x0080_0000, 0x0080_0001, 0x7F7F_FFFF, 0x7F80_0000, 0x7F80_0001, 0x7FA5_5555, 0x7FC0_0000, 0x7FC1_2345,
        0x3F80_0000, 0x3F00_0000, 0x4000_0000, 0x4EFF_FFFF, 0x4F00_0000, 0x5F00_0000, 0x5F80_0000, 0x4B00_0001, 0x4A80_0001,
    ];

    public static ulong Double(Random random) => random.Next(8) switch
    {
        0 or 1 => _doubles[random.Next(_doubles.Length)] ^ ((ulong)random.Next(2) << 63),
        2 => BitConverter.DoubleToUInt64Bits(random.Next(-100, 100) / 2.0),
        3 => ((ulong)random.Next(0x3F0, 0x410) << 52) | ((ulong)random.NextInt64() >> 12 & ~0UL << random.Next(52)) | ((ulong)random.Next(2) << 63),
        4 => ((ulong)random.Next(0, 60) << 52) | ((ulong)random.NextInt64() >> 12) | ((ulong)random.Next(2) << 63),
        5 => ((ulong)random.Next(0x36A, 0x480) << 52) | ((ulong)random.NextInt64() >> 12) | ((ulong)random.Next(2) << 63),
        _ => Bits(random),
    };

    public static uint Single(Random random) => random.Next(8) switch
    {
        0 or 1 => _singles[random.Next(_singles.Length)] ^ ((uint)random.Next(2) << 31),
        2 => BitConverter.SingleToUInt32Bits(random.Next(-100, 100) / 2.0f),
        3 => ((uint)random.Next(0x70, 0x90) << 23) | ((uint)random.Next() & 0x7F_FFFF & ~0u << random.Next(23)) | ((uint)random.Next(2) << 31),
        4 => ((uint)random.Next(0, 30) << 23) | ((uint)random.Next() & 0x7F_FFFF) | ((uint)random.Next(2) << 31),
        _ => (uint)Bits(random),
    };

    public static ulong Bits(Random random) => ((ulong)random.NextInt64() << 1) ^ (ulong)random.NextInt64();

    /// <summary>Fills sixteen bytes with lanes of one random kind.</summary>
    public static void Fill(Random random, Span<byte> target)
    {
        int kind = random.Next(5);
        for (int offset = 0; offset + 8 <= target.Length; offset += 8)
        {
            ulong value = kind switch
            {
                0 or 1 => Double(random),
                2 or 3 => Single(random) | ((ulong)Single(random) << 32),
                _ => random.Next(3) == 0 ? (uint)random.Next(70) : Bits(random),
            };
            _ = BitConverter.TryWriteBytes(target[offset..], value);
        }
    }
}
