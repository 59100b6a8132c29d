using Hyperscope.TestKit;
using Hyperscope.X64.Decoding;

namespace Hyperscope.X64.Tests.Differential;

/// <summary>Every integer row against the host processor. HYPERSCOPE_CASES sets the cases a row, HYPERSCOPE_SEED the seed.</summary>
public class IntegerDifferentialTests(ITestOutputHelper output)
{
    private static readonly int _cases = int.TryParse(Environment.GetEnvironmentVariable("HYPERSCOPE_CASES"), out int cases) ? cases : 150;
    private static readonly int _seed = int.TryParse(Environment.GetEnvironmentVariable("HYPERSCOPE_SEED"), out int seed) ? seed : 20240607;

    public static TheoryData<string> Mnemonics => [.. RowCoverage.Integer.Order()];

    public static TheoryData<string> Mnemonics32 => [.. RowCoverage.Integer.Concat(RowCoverage.Legacy).Where(static name => name != "movsxd").Order()];

    [Theory]
    [MemberData(nameof(Mnemonics))]
    public void Instruction_does_what_the_host_processor_does(string name) => Compare(name, is32Bit: false);

    [Theory]
    [MemberData(nameof(Mnemonics32))]
    public void Instruction_does_what_the_host_processor_does_in_32_bit_code(string name) => Compare(name, is32Bit: true);

    private void Compare(string name, bool is32Bit)
    {
        Assert.SkipUnless(NativeProcessor.IsSupported, "needs Linux on x86-64");
        output.WriteLine($"seed {_seed}, {_cases} cases a row");
        List<RowEntry> entries = CaseGenerator.Entries(row => row.Name == name && (is32Bit ? RowCoverage.IsInteger32(row) : RowCoverage.IsInteger(row)));
        Assert.NotEmpty(entries);
        using var comparer = new HostComparer(is32Bit);
        var differences = new List<string>();
        foreach (RowEntry entry in entries)
        {
            var random = new Random(_seed ^ (entry.Map << 16) ^ (entry.Opcode << 8) ^ entry.Group);
            var generator = new CaseGenerator(random, is32Bit);
            int done = 0;
            for (int draw = 0; done < _cases && draw < _cases * 50; draw++)
            {
                if (!generator.TryNext(entry))
                    continue;
                done++;
                if (comparer.Compare(generator, random) is not { } difference)
                    continue;
                differences.Add(difference);
                break; // memory may differ from here on
            }

            // Without REX the register of some encodings is ESP, which is not for tests.
            bool isStackPointer = entry.Group >= 8 ? (entry.Group & 7) == 4 : is32Bit && entry.Row.Has(Encoding.OpcodeD) && (entry.Opcode & 7) == 4;
            if (done == 0 && !isStackPointer)
                differences.Add($"no case for {name} map {entry.Map} opcode {entry.Opcode:x} group {entry.Group}");
            if (differences.Count >= 8)
                break;
        }

        Assert.True(differences.Count == 0, string.Join(Environment.NewLine, differences));
    }

    [Fact]
    public void Every_row_is_generated_or_excluded_for_a_reason()
    {
        string[] missing = [.. CaseGenerator.Entries(static row => !RowCoverage.IsVector(row))
            .Where(entry => !RowCoverage.Integer.Contains(entry.Row.Name) && !RowCoverage.Elsewhere.ContainsKey(entry.Row.Name))
            .Select(entry => entry.Row.Name).Distinct()];
        Assert.True(missing.Length == 0, $"rows without a test: {string.Join(' ', missing)}");
    }
}
