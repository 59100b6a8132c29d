using Hyperscope.TestKit;
using Hyperscope.Vm;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Tests.Differential;

/// <summary>Rows with a ModRM byte do the same in 16 and 32-bit code, with either address size, whatever form the address takes.</summary>
/// <remarks>The reference is 32-bit code with an absolute address, which is itself compared with the host.</remarks>
public sealed unsafe class CodeSizeTests(ITestOutputHelper output) : IDisposable
{
    private const int Seed = 20261123, CasesPerRow = 30, Failures = 12;
    private const int DataStart = 0x4000, DataSize = 0x400;
    private const int PointersStart = 6, PointersEnd = 24, ImageEnd = 416;

    private readonly TestMachine _reference = new(CpuMode.Bits32), _bits16 = new(CpuMode.Bits16), _bits32 = new(CpuMode.Bits32);
    private readonly byte[] _given = new byte[4096], _expected = new byte[4096], _actual = new byte[4096], _data = new byte[DataSize], _immediate = new byte[8];

    public static TheoryData<string> Kinds => ["integer", "vector", "x87"];

    public void Dispose()
    {
        _reference.Dispose();
        _bits16.Dispose();
        _bits32.Dispose();
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Every_form_of_a_row_does_the_same(string kind)
    {
        output.WriteLine($"seed {Seed}, {CasesPerRow} cases a row");
        var failures = new List<string>();
        var seen = new HashSet<(int, int, int, string, int)>();
        bool isVector = kind == "vector";
        int cases = 0, memory = 0;
        foreach ((int map, int column, int opcode, int group, OpcodeRow row) in OpcodeMap.Instance.Rows)
        {
            // The columns of an integer row without a prefix and with 66 are one: 66 is its operand size.
            if (!IsOfKind(row, kind) || (!isVector && column >= 2 && seen.Contains((map, opcode, group, row.Name, 1)) && row.Name is not ("popcnt" or "crc32"))
                || !seen.Add((map, opcode, group, row.Name, isVector ? column : Math.Max(column, 1))))
                continue;
            var random = new Random(Seed + (map << 20) + (column << 24) + (opcode << 8) + group);
            for (int index = 0; index < CasesPerRow; index++)
            {
                Case one = Draw(random, map, column, opcode, group, row);
                cases++;
                memory += one.IsMemory ? 1 : 0;
                if (Compare(one, random) is not { } difference)
                    continue;
                failures.Add($"{row.Name}: {difference}");
                break;
            }

            if (failures.Count >= Failures)
                break;
        }

        Assert.True(failures.Count == 0, string.Join('\n', failures));
        Assert.True(cases > 1000 && memory > 1000, $"{cases} cases, {memory} with a memory operand");
    }

    // FNSTENV and FNSAVE images differ between real and protected mode: X87PointerTests. MASKMOVQ and MASKMOVDQU address by DI or EDI.
    private static bool IsOfKind(OpcodeRow row, string kind) => row.Has(Encoding.ModRm) && !row.Has(RowFlags.Only64) && kind switch
    {
        "integer" => RowCoverage.IsInteger32(row) && row.Name != "movsxd", // ARPL there
        "x87" => row.Feature == "x87" && row.Name is not ("fnstenv" or "fldenv" or "fnsave" or "frstor"),
        _ => (row.Encoding & (Encoding.VectorReg | Encoding.VectorRm | Encoding.MmxReg | Encoding.MmxRm)) != 0 && row.Name is not ("maskmovq" or "maskmovdqu"),
    };

    private Case Draw(Random random, int map, int column, int opcode, int group, OpcodeRow row)
    {
        for (int index = 0; index < 16; index++)
            _reference.Vcpu.State->R[index] = index < 8 ? (uint)random.NextInt64() : 0;
        _reference.Registers = _reference.Registers with { Rsp = TestMachine.StackTop, Rflags = ((ulong)random.Next() & Rflags.Arithmetic) | 2 };
        bool isMemory = group >= 0 ? group < 8 : !row.Has(RowFlags.RegisterOnly) && (row.Has(RowFlags.MemoryOnly) || random.Next(3) != 0);
        int alignment = random.Next(8) == 0 ? 1 : 16;
        int reg = group >= 8 ? (group - 8) >> 3 : group >= 0 ? group : random.Next(8);
        if (isMemory && group < 0 && row.Name is "bt" or "bts" or "btr" or "btc")
        {
            reg = reg == 4 ? 3 : reg; // a stack pointer is too far a bit offset
            _reference.Vcpu.State->R[reg] = (ulong)random.Next(0x400);
        }

        random.NextBytes(_data);
        random.NextBytes(_immediate);
        RandomizeState(random);
        return new Case(map, column, opcode, row, isMemory, reg, group >= 8 ? (group - 8) & 7 : random.Next(8),
            DataStart + 0x100 + (random.Next(0x200) / alignment * alignment), random.Next(2) == 0, _reference.Registers);
    }

    private void RandomizeState(Random random)
    {
        _given.AsSpan().Clear();
        random.NextBytes(_given.AsSpan(32, ImageEnd - 32));
        for (int index = 0; index < 8; index++)
            _given.AsSpan(32 + (index * 16) + 10, 6).Clear();
        BitConverter.TryWriteBytes(_given, (ushort)0x37F);
        BitConverter.TryWriteBytes(_given.AsSpan(2), (ushort)(random.Next(8) << 11));
        _given[4] = (byte)random.Next(256);
        BitConverter.TryWriteBytes(_given.AsSpan(24), 0x1F80u | (uint)random.Next(4) << 13);
        _given[512] = 3;
    }

    private string? Compare(in Case one, Random random)
    {
        byte[] reference = Encode(one, CodeSize.Bits32, isShortAddress: false, random: null);
        StepResult expected = Run(_reference, reference, one.Registers);
        _reference.Vcpu.GetXsave(_expected);
        KvmRegs after = _reference.Registers;
        byte[] data = _reference.Read(DataStart, DataSize), stack = _reference.Read(TestMachine.StackTop - 64, 128);
        for (int variant = 0; variant < 4; variant++)
        {
            (TestMachine machine, CodeSize size) = variant < 2 ? (_bits16, CodeSize.Bits16) : (_bits32, CodeSize.Bits32);
            byte[] bytes = Encode(one, size, isShortAddress: (variant & 1) == 0, random);
            StepResult result = Run(machine, bytes, one.Registers);
            machine.Vcpu.GetXsave(_actual);
            KvmRegs actual = machine.Registers;
            int length = (int)(actual.Rip - (size == CodeSize.Bits16 ? 0 : TestMachine.CodeAddress));
            string? difference = result != expected ? $"{result}, not {expected}"
                : actual with { Rip = after.Rip } != after ? $"{Text(actual)}, not {Text(after)}"
                : !_actual.AsSpan(0, PointersStart).SequenceEqual(_expected.AsSpan(0, PointersStart)) ? "x87 control or status"
                : !_actual.AsSpan(PointersEnd, ImageEnd - PointersEnd).SequenceEqual(_expected.AsSpan(PointersEnd, ImageEnd - PointersEnd)) ? "x87 or XMM registers"
                : !machine.Read(DataStart, DataSize).AsSpan().SequenceEqual(data) ? "memory"
                : !machine.Read(TestMachine.StackTop - 64, 128).AsSpan().SequenceEqual(stack) ? "stack"
                : length != (result.Kind == StepKind.Completed ? bytes.Length : 0) ? $"rip moved by {length}" : null;
            if (difference is not null)
                return $"{size} {Convert.ToHexString(bytes)}, reference {Convert.ToHexString(reference)}: {difference}";
        }

        return null;
    }

    private static string Text(in KvmRegs r) => $"{r.Rax:x} {r.Rcx:x} {r.Rdx:x} {r.Rbx:x} {r.Rsp:x} {r.Rbp:x} {r.Rsi:x} {r.Rdi:x} flags {r.Rflags:x}";

    private StepResult Run(TestMachine machine, byte[] bytes, in KvmRegs registers)
    {
        Assert.True(machine.Vcpu.TrySetXsave(_given));
        machine.Write(DataStart, _data);
        machine.Write(TestMachine.StackTop - 64, new byte[128]);
        machine.Registers = registers with { Rip = machine.Mode == CpuMode.Bits16 ? 0 : TestMachine.CodeAddress };
        return machine.Step(bytes);
    }

    /// <summary>Without <paramref name="random"/> the address is absolute.</summary>
    private byte[] Encode(in Case one, CodeSize size, bool isShortAddress, Random? random)
    {
        var bytes = new List<byte>();
        if (isShortAddress != (size == CodeSize.Bits16))
            bytes.Add(0x67);
        bool isOperandSize = one.Row.Feature != "x87" && (one.Row.Encoding & (Encoding.VectorReg | Encoding.VectorRm | Encoding.MmxReg | Encoding.MmxRm)) == 0;
        if (isOperandSize ? one.IsWord != (size == CodeSize.Bits16) : one.Column == 1)
            bytes.Add(0x66);
        if (one.Column >= 2)
            bytes.Add((byte)(one.Column == 2 ? 0xF3 : 0xF2));
        if (one.Map > 0)
            bytes.Add(0x0F);
        if (one.Map > 1)
            bytes.Add((byte)(one.Map == 2 ? 0x38 : 0x3A));
        bytes.Add((byte)one.Opcode);
        int reg = one.Reg << 3;
        if (!one.IsMemory)
            bytes.Add((byte)(0xC0 | reg | one.Rm));
        else if (isShortAddress)
            AddShort(bytes, reg, one, random!);
        else if (random is null || random.Next(4) == 0 || one.Row.Name == "pop") // POP takes ESP after its increment
            bytes.AddRange([(byte)(reg | 5), .. BitConverter.GetBytes(one.Target)]);
        else
            AddLong(bytes, reg, one, random);
        int end = bytes.Count;
        bytes.AddRange(_immediate);
        Assert.Equal(DecodeOutcome.Ok, Decoder.Decode(bytes.ToArray(), size, 0, out Insn insn));
        Assert.Equal(one.Row.Name, insn.Row.Name);
        Assert.InRange(insn.Length, end, end + 8);
        return bytes.GetRange(0, insn.Length).ToArray();
    }

    private static void AddShort(List<byte> bytes, int reg, in Case one, Random random)
    {
        KvmRegs r = one.Registers;
        int form = random.Next(9);
        ulong sum = form switch { 0 => r.Rbx + r.Rsi, 1 => r.Rbx + r.Rdi, 2 => r.Rbp + r.Rsi, 3 => r.Rbp + r.Rdi, 4 => r.Rsi, 5 => r.Rdi, 6 => r.Rbp, 7 => r.Rbx, _ => 0 };
        bytes.Add((byte)(form == 8 ? reg | 6 : 0x80 | reg | form));
        bytes.AddRange(BitConverter.GetBytes((ushort)((ulong)one.Target - sum)));
    }

    private static void AddLong(List<byte> bytes, int reg, in Case one, Random random)
    {
        KvmRegs r = one.Registers;
        ReadOnlySpan<ulong> values = [r.Rax, r.Rcx, r.Rdx, r.Rbx, r.Rsp, r.Rbp, r.Rsi, r.Rdi];
        int @base = random.Next(8), index = random.Next(8), scale = random.Next(4);
        bool hasIndex = random.Next(2) == 0 || @base == 4;
        bytes.Add((byte)(0x80 | reg | (hasIndex ? 4 : @base)));
        ulong sum = values[@base];
        if (hasIndex)
        {
            bytes.Add((byte)((scale << 6) | (index << 3) | @base));
            sum += index == 4 ? 0 : values[index] << scale;
        }

        bytes.AddRange(BitConverter.GetBytes((uint)((ulong)one.Target - sum)));
    }

    private readonly record struct Case(
        int Map, int Column, int Opcode, OpcodeRow Row, bool IsMemory, int Reg, int Rm, int Target, bool IsWord, KvmRegs Registers);
}
