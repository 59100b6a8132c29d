using Hyperscope.TestKit;
using Hyperscope.X64.Decoding;

namespace Hyperscope.X64.Tests.Vectors;

/// <summary>Every SSE and MMX row against the host processor. HYPERSCOPE_CASES says how many cases a row gets.</summary>
public class VectorDifferentialTests(ITestOutputHelper output)
{
    private const int Seed = 20240611, Failures = 12;
    private static readonly int _casesPerRow = int.TryParse(Environment.GetEnvironmentVariable("HYPERSCOPE_CASES"), out int cases) ? cases : 60;

    public static TheoryData<string> Features => [.. Rows().Select(row => row.Row.Feature).Distinct().Order()];

    internal static IEnumerable<(int Map, int Column, int Opcode, int Group, OpcodeRow Row)> Rows() => OpcodeMap.Instance.Rows.Where(row =>
        (row.Row.Encoding & (Encoding.VectorReg | Encoding.VectorRm | Encoding.MmxReg | Encoding.MmxRm)) != 0
        || row.Row.Name is "emms" or "ldmxcsr" or "stmxcsr" or "movnti");

    [Theory]
    [MemberData(nameof(Features))]
    public void Every_row_acts_as_on_the_host(string feature) => Compare(feature, is32Bit: false);

    [Theory]
    [MemberData(nameof(Features))]
    public void Every_row_acts_as_on_the_host_in_32_bit_code(string feature) => Compare(feature, is32Bit: true);

    private unsafe void Compare(string feature, bool is32Bit)
    {
        Assert.SkipUnless(NativeProcessor.IsSupported, "needs Linux on x86-64");
        using var comparison = new NativeComparison(is32Bit);
        output.WriteLine($"seed {Seed}, {_casesPerRow} cases a row");
        var failures = new List<string>();
        foreach ((int map, int column, int opcode, int group, OpcodeRow row) in Rows().Where(row => row.Row.Feature == feature && !(is32Bit && row.Row.Has(RowFlags.Only64))))
        {
            var random = new Random(Seed + (map << 20) + (column << 16) + (opcode << 8) + group);
            comparison.IgnoredFlags = row.Undefined;
            bool isAnyNaN = row.Name == "dpps"; // which of several NaNs comes out is not documented
            for (int offset = NativeComparison.Xmm; offset < 416; offset++)
                comparison.Ignored[offset] = isAnyNaN;
            for (int index = 0; index < _casesPerRow; index++)
            {
                byte[] instruction = RowInstruction.Encode(random, map, column, opcode, group, row, out _, is32Bit);
                NativeState state = NewState(random);
                FloatValues.Fill(random, comparison.Data);
                if (row.Name == "ldmxcsr")
                {
                    for (int offset = 0; offset < comparison.Data.Length; offset += 2)
                        comparison.Data[offset + 1] &= (byte)((offset & 2) == 0 ? 0xFF : 0);
                }

                string mxcsr = $"mxcsr {*(uint*)(state.Fxsave + 24):x}";
                string? difference = comparison.Run(instruction, state);
                if (difference is null && isAnyNaN)
                    difference = DifferenceOfNumbers(comparison);
                if (difference is null)
                    continue;
                failures.Add($"{row.Name} {Convert.ToHexString(instruction)} case {index}, {mxcsr}: {difference}");
                break;
            }

            if (failures.Count >= Failures)
                break;
        }

        Assert.True(failures.Count == 0, string.Join('\n', failures));
    }

    private static unsafe string? DifferenceOfNumbers(NativeComparison comparison)
    {
        fixed (byte* host = comparison.After.Fxsave)
        {
            for (int offset = NativeComparison.Xmm; offset < 416; offset += 4)
            {
                uint expected = *(uint*)(host + offset), actual = BitConverter.ToUInt32(comparison.SoftwareImage[offset..]);
                if (expected != actual && !(float.IsNaN(BitConverter.UInt32BitsToSingle(expected)) && float.IsNaN(BitConverter.UInt32BitsToSingle(actual))))
                    return $"fxsave byte {offset}: host {expected:x8}, software {actual:x8}";
            }
        }

        return null;
    }

    private static unsafe NativeState NewState(Random random)
    {
        var state = new NativeState { Rflags = (ulong)random.Next() & 0x8D5 };
        for (int index = 0; index < 16; index++)
            state.Registers[index] = random.Next(3) == 0 ? FloatValues.Double(random) : FloatValues.Bits(random);
        state.Registers[4] = NativeProcessor.StackTop;
        state.Registers[7] = NativeProcessor.DataAddress + 0x800 + (ulong)random.Next(64);
        var image = new Span<byte>(state.Fxsave, 512);
        FloatValues.Fill(random, image[32..416]);
        *(ushort*)state.Fxsave = 0x37F;
        *(ushort*)(state.Fxsave + 2) = (ushort)(random.Next(8) << 11);
        state.Fxsave[4] = (byte)random.Next(256);
        for (int index = 0; index < 8; index++)
            image.Slice(32 + (index * 16) + 10, 6).Clear();
        uint masks = random.Next(8) == 0 ? (uint)random.Next(64) : 63;
        uint mode = random.Next(3) == 0 ? 0 : (uint)random.Next(4) << 13 | (uint)random.Next(2) << 15 | (uint)random.Next(2) << 6;
        *(uint*)(state.Fxsave + 24) = masks << 7 | mode | (random.Next(2) == 0 ? 32u : (uint)random.Next(64) & ~masks ^ (uint)random.Next(64) & masks);
        for (int index = 0; index < 16; index++)
            FloatValues.Fill(random, image.Slice(160 + (index * 16), 16));
        return state;
    }
}
