using Hyperscope.TestKit;
using Hyperscope.X64.Decoding;

namespace Hyperscope.X64.Tests.Vectors;

/// <summary>Every x87 row against the host processor: results, status word, tags and memory. Functions may differ by one unit in the last place.</summary>
public class X87DifferentialTests(ITestOutputHelper output)
{
    private const int Seed = 20240612, Failures = 25;
    private static readonly int _casesPerRow = int.TryParse(Environment.GetEnvironmentVariable("HYPERSCOPE_CASES"), out int cases) ? cases : 40;

    private static readonly string[] _functions = ["fsin", "fcos", "fsincos", "fptan", "fpatan", "f2xm1", "fyl2x", "fyl2xp1"];

    public static TheoryData<int> Opcodes => [0x9B, 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF];

    [Theory]
    [MemberData(nameof(Opcodes))]
    public void Every_row_acts_as_on_the_host(int first) => Compare(first, is32Bit: false);

    [Theory]
    [MemberData(nameof(Opcodes))]
    public void Every_row_acts_as_on_the_host_in_32_bit_code(int first) => Compare(first, is32Bit: true);

    private unsafe void Compare(int first, bool is32Bit)
    {
        Assert.SkipUnless(NativeProcessor.IsSupported, "needs Linux on x86-64");
        using var comparison = new NativeComparison(is32Bit);
        for (int index = 6; index < 24; index++)
            comparison.Ignored[index] = true; // processors differ in when they record the last instruction: X87PointerTests
        output.WriteLine($"seed {Seed}, {_casesPerRow} cases a row");
        var failures = new List<string>();
        foreach ((int map, int column, int opcode, int group, OpcodeRow row) in OpcodeMap.Instance.Rows)
        {
            bool isEnvironment = row.Name is "fnstenv" or "fldenv" or "fnsave" or "frstor";
            if (row.Feature != "x87" || opcode != first || column > (isEnvironment ? 1 : 0))
                continue;
            bool isFunction = _functions.Contains(row.Name);
            for (int index = 32; index < 160; index++)
                comparison.Ignored[index] = isFunction;
            comparison.IgnoredStatus = isFunction ? 0x200 : 0;
            var random = new Random(Seed + (column << 16) + (opcode << 8) + group);
            for (int index = 0; index < _casesPerRow; index++)
            {
                byte[] instruction = RowInstruction.Encode(random, map, column, opcode, group, row, out int offset, is32Bit);
                NativeState state = NewState(random, row.Name);
                FillData(random, comparison.Data);
                int pointers = column == 1 ? 6 : 12, end = column == 1 ? 14 : 28;
                comparison.IgnoredData = row.Name is "fnstenv" or "fnsave" ? (offset + pointers)..(offset + end) : 0..0;
                string? difference = comparison.Run(instruction, state);
                if (difference is null && isFunction)
                    difference = FunctionDifference(comparison);
                if (difference is null)
                    continue;
                int top = state.Fxsave[3] >> 3 & 7;
                failures.Add($"{row.Name} {Convert.ToHexString(instruction)} case {index}, cw {*(ushort*)state.Fxsave:x} sw {*(ushort*)(state.Fxsave + 2):x}"
                    + $" tags {state.Fxsave[4]:x} top {top} st0 {St(state, 0)} st1 {St(state, 1)}: {difference}");
                break;
            }

            if (failures.Count >= Failures)
                break;
        }

        Assert.True(failures.Count == 0, string.Join('\n', failures));
    }

    private static unsafe string St(in NativeState state, int index)
    {
        fixed (byte* image = state.Fxsave)
            return $"{*(ushort*)(image + 40 + (index * 16)):x4}:{*(ulong*)(image + 32 + (index * 16)):x16}";
    }

    // Registers equal, or numbers of one sign whose 80 bits, counted as an integer, are at most one apart.
    private static unsafe string? FunctionDifference(NativeComparison comparison)
    {
        ReadOnlySpan<byte> software = comparison.SoftwareImage;
        fixed (byte* host = comparison.After.Fxsave)
        {
            for (int index = 0; index < 8; index++)
            {
                int at = 32 + (index * 16);
                ulong hostLow = *(ulong*)(host + at), softLow = BitConverter.ToUInt64(software[at..]);
                ushort hostHigh = *(ushort*)(host + at + 8), softHigh = BitConverter.ToUInt16(software[(at + 8)..]);
                Int128 distance = ((Int128)(hostHigh & 0x7FFF) << 63) + (hostLow & long.MaxValue) - (((Int128)(softHigh & 0x7FFF) << 63) + (softLow & long.MaxValue));
                if ((hostHigh ^ softHigh) >> 15 != 0 || Int128.Abs(distance) > 1)
                    return $"st{index}: host {hostHigh:x4}:{hostLow:x16}, software {softHigh:x4}:{softLow:x16}";
            }
        }

        return null;
    }

    internal static unsafe NativeState NewState(Random random, string name)
    {
        var state = new NativeState { Rflags = (ulong)random.Next() & 0x8D5 };
        for (int index = 0; index < 16; index++)
            state.Registers[index] = FloatValues.Bits(random);
        state.Registers[4] = NativeProcessor.StackTop;
        int masks = random.Next(4) == 0 ? random.Next(64) : 63;
        int control = masks | 0x40 | (random.Next(4) switch { 0 => 0, 1 => 2, _ => 3 } << 8) | (random.Next(4) << 10);
        int flags = random.Next(16) == 0 ? random.Next(64) : random.Next(64) & masks;
        int status = flags | ((flags & ~masks) != 0 ? 0x8080 : 0) | (random.Next(8) << 11) | (random.Next() & 0x4700) | (random.Next(2) << 6);
        *(ushort*)state.Fxsave = (ushort)control;
        *(ushort*)(state.Fxsave + 2) = (ushort)status;
        int kind = random.Next(8);
        int top = status >> 11 & 7;
        state.Fxsave[4] = (byte)(kind == 0 ? random.Next(256) : kind == 1 ? 0xFF : ~(1 << ((top + 7) & 7)) & ~(random.Next(2) << ((top + 6) & 7)));
        *(uint*)(state.Fxsave + 24) = 0x1F80;
        for (int index = 0; index < 8; index++)
            Extended(random, state.Fxsave + 32 + (index * 16), name);
        return state;
    }

    // Sometimes near its neighbour's exponent, so that sums cancel and remainders finish.
    private static unsafe void Extended(Random random, byte* target, string name)
    {
        ulong significand = FloatValues.Bits(random) | (1UL << 63);
        int exponent = random.Next(6) switch
        {
            0 => random.Next(0x8000),
            1 => 0x3FFF + random.Next(-70, 70),
            2 => random.Next(70),
            3 => 0x3FFF + random.Next(-3, 3),
            4 => 0x3FFF + random.Next(-20, 20),
            _ => 0x3FFF + random.Next(-1030, 1030),
        };
        switch (random.Next(12))
        {
            case 0: significand = 1UL << 63; break;
            case 1: significand = ulong.MaxValue << random.Next(64) | (1UL << 63); break;
            case 2: significand &= ulong.MaxValue << random.Next(63); break;
            case 3: exponent = 0x7FFF; significand = random.Next(3) == 0 ? 1UL << 63 : significand; break;
            case 4: exponent = 0; significand = random.Next(3) == 0 ? 0 : significand >> random.Next(64); break;
            case 5:
                if (random.Next(3) == 0)
                    significand &= long.MaxValue; // unnormal
                break;
            default: break;
        }

        if (name is "f2xm1")
            exponent = Math.Min(exponent, 0x3FFE);
        if (name is "fyl2xp1")
            exponent = Math.Min(exponent, 0x3FFC);
        *(ulong*)target = significand;
        *(ushort*)(target + 8) = (ushort)(exponent | (random.Next(2) << 15));
    }

    internal static void FillData(Random random, Span<byte> data)
    {
        FloatValues.Fill(random, data);
        if (random.Next(2) == 0)
        {
            for (int index = 0; index < data.Length; index++)
                data[index] = (byte)(random.Next(10) | (random.Next(10) << 4)); // decimal digits
        }
    }
}
