using System.Runtime.Intrinsics.X86;
using Hyperscope.TestKit;
using Hyperscope.Vm;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Tests.Vectors;

/// <summary>What is recorded of the last x87 instruction: where it was, its operand, its opcode.</summary>
/// <remarks>This processor says by CPUID that it records the operand of every instruction (leaf 7, EBX bit 6 clear) and the selectors (bit 13
/// clear). Newer hosts record the operand after unmasked exceptions only, and all leave the opcode undefined after others.</remarks>
public unsafe class X87PointerTests(ITestOutputHelper output)
{
    private const int Seed = 20261122, CasesPerRow = 24;
    private const ulong GivenInstruction = 0x0000_1234_5678_9ABC, GivenOperand = 0x0000_0FED_CBA9_8765, OperandOffset = 16, InstructionOffset = 8;
    private const ushort GivenOpcode = 0x5A5;

    private static bool HostRecordsOnExceptionsOnly => (X86Base.CpuId(7, 0).Ebx & (1 << 6)) != 0;

    [Fact]
    public void Every_row_records_what_the_host_records()
    {
        Assert.SkipUnless(NativeProcessor.IsSupported, "needs Linux on x86-64");
        using var comparison = new NativeComparison();
        comparison.Ignored.AsSpan().Fill(true);
        output.WriteLine($"seed {Seed}, {CasesPerRow} cases a row, host records the operand {(HostRecordsOnExceptionsOnly ? "after exceptions only" : "always")}");
        var failures = new List<string>();
        int exceptions = 0, operands = 0;
        foreach ((int map, int column, int opcode, int group, OpcodeRow row) in OpcodeMap.Instance.Rows)
        {
            // Images of 16 and 32 bits have no room for these pointers: FNSTENV and its kind are tested below.
            if (row.Feature != "x87" || column != 0 || row.Name is "fldenv" or "frstor" or "fnstenv" or "fnsave")
                continue;
            var random = new Random(Seed + (opcode << 8) + group);
            for (int index = 0; index < CasesPerRow; index++)
            {
                byte[] instruction = RowInstruction.Encode(random, map, column, opcode, group, row, out int offset);
                NativeState state = X87DifferentialTests.NewState(random, row.Name);
                X87DifferentialTests.FillData(random, comparison.Data);
                *(ushort*)(state.Fxsave + 6) = GivenOpcode;
                *(ulong*)(state.Fxsave + InstructionOffset) = GivenInstruction;
                *(ulong*)(state.Fxsave + OperandOffset) = GivenOperand;
                bool wasPending = (state.Fxsave[2] & 0x80) != 0;
                _ = comparison.Run(instruction, state); // results are compared elsewhere
                if (comparison.Outcome == NativeOutcome.MemoryFault)
                    continue;
                bool isPending = !wasPending && (comparison.After.Fxsave[2] & 0x80) != 0 && row.Name != "fldcw";
                exceptions += isPending ? 1 : 0;
                operands += isPending && offset >= 0 ? 1 : 0;
                if (Difference(comparison, isPending) is { } difference)
                {
                    failures.Add($"{row.Name} {Convert.ToHexString(instruction)} case {index}, pending {wasPending} then {isPending}: {difference}");
                    break;
                }
            }
        }

        Assert.True(failures.Count == 0, string.Join('\n', failures));
        Assert.True(exceptions > 100 && operands > 30, $"only {exceptions} unmasked exceptions, {operands} with a memory operand");
    }

    [Theory]
    [InlineData(CpuMode.Bits32, false)]
    [InlineData(CpuMode.Bits32, true)]
    [InlineData(CpuMode.Bits16, false)]
    [InlineData(CpuMode.Bits16, true)]
    public void An_environment_holds_selectors_in_protected_mode_and_linear_addresses_with_the_opcode_in_real_mode(CpuMode mode, bool hasPrefix)
    {
        using var machine = new TestMachine(mode);
        bool isReal = mode == CpuMode.Bits16, isWide = isReal == hasPrefix;
        CpuState* c = machine.Vcpu.State;
        c->X87Tags = 0;
        c->X87Control = 0x37F;
        c->Fs.Selector = (ushort)(isReal ? 0x3000 : 0x18);
        c->Fs.Base = c->SegmentBase[(int)SegmentIndex.Fs] = 0x3_0000;
        byte[] load = isReal ? [0x64, 0xD9, 0x06, 0x34, 0x12] : [0x64, 0xD9, 0x05, 0x34, 0x12, 0, 0]; // fld dword [fs:0x1234]
        byte[] store = isReal ? [0xD9, 0x36, 0x00, 0x20] : [0xD9, 0x35, 0x00, 0x20, 0, 0]; // fnstenv [0x2000]
        Assert.Equal(StepKind.Completed, machine.Step(load).Kind);
        Assert.Equal(StepKind.Completed, machine.Step([0x9B]).Kind);
        Assert.Equal(StepKind.Completed, machine.Step(hasPrefix ? [0x66, .. store] : store).Kind);
        uint[] image = [.. Enumerable.Range(0, 7).Select(index => isWide
            ? BitConverter.ToUInt32(machine.Read(0x2000 + ((ulong)index * 4), 4)) : BitConverter.ToUInt16(machine.Read(0x2000 + ((ulong)index * 2), 2)))];
        const uint Opcode = 0x106;
        uint[] expected = (isReal, isWide) switch
        {
            (false, true) => [0x1_0000, 8 | (0x105u << 16), 0x1234, 0xFFFF_0018],
            (false, false) => [0, 8, 0x1234, 0x18],
            (true, true) => [0xFFFF_0000, (1 << 12) | Opcode, 0xFFFF_1234, 3 << 12],
            _ => [0, (1 << 12) | Opcode, 0x1234, 3 << 12],
        };
        Assert.Equal(expected, image[3..]);
        Assert.Equal(isWide ? 0xFFFF_7FFFu : 0x7FFF, image[2]); // ST0 is register 7, which holds zero: tag 1
    }

    [Fact]
    public void Control_instructions_leave_the_pointers_alone_and_initialization_clears_them()
    {
        using var machine = new TestMachine();
        CpuState* c = machine.Vcpu.State;
        c->X87Tags = 0;
        c->X87Control = 0x37F;
        machine.Registers = machine.Registers with { Rbx = 0x40_0000 };
        machine.Write(0x40_0000, [0x7F, 3]);
        Assert.Equal(StepKind.Completed, machine.Step([0xD9, 0x43, 0x08]).Kind); // fld dword [rbx+8]
        (ulong, ulong, ushort) recorded = (TestMachine.CodeAddress, 0x40_0008, 0x143);
        Assert.Equal(recorded, (c->X87InstructionPointer, c->X87DataPointer, c->X87Opcode));
        foreach (byte[] control in (byte[][])[[0xDB, 0xE2], [0xD9, 0x2B], [0xD9, 0x3B], [0xDD, 0x3B], [0xDF, 0xE0], [0xD9, 0x73, 0x10], [0x9B]])
        {
            Assert.Equal(StepKind.Completed, machine.Step(control).Kind);
            Assert.Equal(recorded, (c->X87InstructionPointer, c->X87DataPointer, c->X87Opcode));
        }

        Assert.Equal(StepKind.Completed, machine.Step([0xDB, 0xE3]).Kind);
        Assert.Equal((0UL, 0UL, (ushort)0), (c->X87InstructionPointer, c->X87DataPointer, c->X87Opcode));
    }

    private static string? Difference(NativeComparison comparison, bool isPending)
    {
        ReadOnlySpan<byte> software = comparison.SoftwareImage;
        ulong softwareInstruction = BitConverter.ToUInt64(software[(int)InstructionOffset..]), softwareOperand = BitConverter.ToUInt64(software[(int)OperandOffset..]);
        ushort softwareOpcode = BitConverter.ToUInt16(software[6..]);
        fixed (byte* host = comparison.After.Fxsave)
        {
            ulong instruction = *(ulong*)(host + InstructionOffset), operand = *(ulong*)(host + OperandOffset);
            if (softwareInstruction != (instruction == NativeProcessor.CodeAddress ? TestMachine.CodeAddress : instruction))
                return $"instruction: host 0x{instruction:x}, software 0x{softwareInstruction:x}";
            if ((isPending || !HostRecordsOnExceptionsOnly) && softwareOperand != operand)
                return $"operand: host 0x{operand:x}, software 0x{softwareOperand:x}";
            return isPending && softwareOpcode != *(ushort*)(host + 6) ? $"opcode: host 0x{*(ushort*)(host + 6):x}, software 0x{softwareOpcode:x}" : null;
        }
    }
}
