using Hyperscope.TestKit;
using Hyperscope.Vm;
using Hyperscope.X64.Execution;
using Hyperscope.X64.Tests.Differential;

namespace Hyperscope.X64.Tests;

/// <summary>An instruction that is stopped by one of its accesses has had no effect at all.</summary>
/// <remarks>Every generated row with a memory operand, at a page that faults, is restricted or is half of a crossing access.</remarks>
public unsafe class AllOrNothingTests(ITestOutputHelper output)
{
    private const int Seed = 20240608, CasesPerRow = 12;

    public static TheoryData<bool, bool> Obstacles => new() { { false, false }, { false, true }, { true, false }, { true, true } };

    /// <param name="isRestricted">The obstacle is introspection's, not the guest's.</param>
    /// <param name="isReadable">The page may be read, so only writers stop.</param>
    [Theory]
    [MemberData(nameof(Obstacles))]
    public void A_stopped_instruction_leaves_no_trace(bool isRestricted, bool isReadable)
    {
        output.WriteLine($"seed {Seed}");
        const ulong AreaGpa = 0x20_0000;
        ulong second = CaseGenerator.Area + 0x1000, secondGpa = AreaGpa + 0x1000;
        using var machine = new TestMachine();
        machine.Map(CaseGenerator.Area, AreaGpa, 0x1000);
        machine.Map(NativeProcessor.StackTop - 0x2000, AreaGpa + 0x1_0000, 0x4000);
        if (isRestricted)
        {
            machine.Map(second, secondGpa, 0x1000);
            machine.Restrict(secondGpa, isReadable ? PageAccess.Read | PageAccess.Execute : PageAccess.None);
        }
        else
        {
            machine.Map(second, secondGpa, 0x1000, isReadable ? TestMachine.PagePresent : 0);
        }

        byte* data = (byte*)machine.Memory.Slots[0].HostAddress + AreaGpa;
        CpuState* c = machine.Vcpu.State;
        byte[] before = new byte[0x2000];
        ulong[] registers = new ulong[16];
        int stopped = 0, rowsStopped = 0;
        foreach (RowEntry entry in CaseGenerator.Entries(RowCoverage.IsInteger))
        {
            if (entry.Group >= 8 || !entry.Row.Has(Decoding.Encoding.ModRm))
                continue;
            var random = new Random(Seed ^ (entry.Map << 16) ^ (entry.Opcode << 8) ^ entry.Group);
            var generator = new CaseGenerator(random) { TargetHint = second - 8 };
            int here = 0, done = 0;
            for (int draw = 0; done < CasesPerRow && draw < 400; draw++)
            {
                if (!generator.TryNext(entry) || !Reaches(generator, second))
                    continue;
                done++;
                random.NextBytes(new Span<byte>(data + 0xF80, 0x100));
                new ReadOnlySpan<byte>(data, 0x2000).CopyTo(before);
                for (int register = 0; register < 16; register++)
                    c->R[register] = registers[register] = generator.Registers[register];
                machine.Vcpu.SetFlags(generator.Flags | Rflags.Fixed);
                c->Rip = TestMachine.CodeAddress;
                StepResult result = machine.Step(generator.Bytes);
                if (result.Kind == StepKind.Completed)
                    continue;
                here++;
                string what = $"{entry.Row.Name} {Convert.ToHexString(generator.Bytes)} {result}";
                Assert.True(result.Kind != StepKind.Other, what);
                Assert.True(c->Rip == TestMachine.CodeAddress, $"{what}: rip moved");
                Assert.True(new ReadOnlySpan<byte>(data, 0x2000).SequenceEqual(before), $"{what}: memory changed");
                Assert.True(registers.AsSpan().SequenceEqual(new ReadOnlySpan<ulong>(c->R, 16)), $"{what}: registers changed");
                Assert.True((Flags.GetAll(c) & (Rflags.Arithmetic | Rflags.Df)) == generator.Flags, $"{what}: flags changed");
            }

            stopped += here;
            rowsStopped += here > 0 ? 1 : 0;
        }

        output.WriteLine($"{stopped} stops over {rowsStopped} rows");
        Assert.True(rowsStopped > 100, $"only {rowsStopped} rows stopped");
    }

    // On the second page, or across its start.
    private static bool Reaches(CaseGenerator generator, ulong second) =>
        generator.Insn.IsMemory && generator.Target + 8 > second;
}
