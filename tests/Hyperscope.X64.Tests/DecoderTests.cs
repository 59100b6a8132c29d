using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;
using Iced.Intel;
using CodeSize = Hyperscope.X64.Decoding.CodeSize;
using Decoder = Hyperscope.X64.Decoding.Decoder;
using Encoding = Hyperscope.X64.Decoding.Encoding;

namespace Hyperscope.X64.Tests;

/// <summary>The decoder against Iced on random bytes: validity, length, memory operand, immediate.</summary>
/// <remarks>HYPERSCOPE_CASES sets the number of strings per mode (in hundreds), HYPERSCOPE_SEED the seed.</remarks>
public class DecoderTests(ITestOutputHelper output)
{
    private static readonly int _cases = int.TryParse(Environment.GetEnvironmentVariable("HYPERSCOPE_CASES"), out int cases)
        ? cases * 100 : 50_000;
    private static readonly int _seed = int.TryParse(Environment.GetEnvironmentVariable("HYPERSCOPE_SEED"), out int seed) ? seed : 20240607;

    [Theory]
    [InlineData(16)]
    [InlineData(32)]
    [InlineData(64)]
    public void Random_bytes_decode_as_they_do_for_iced(int bits)
    {
        output.WriteLine($"seed {_seed}, {_cases} strings");
        var random = new Random(_seed + bits);
        var differences = new SortedDictionary<string, string>(StringComparer.Ordinal);
        byte[] bytes = new byte[16];
        int decoded = 0;
        for (int index = 0; index < _cases; index++)
        {
            Fill(random, bytes);
            if (Difference(bytes, bits, ref decoded) is { } difference)
                _ = differences.TryAdd(difference[..difference.IndexOf('|', StringComparison.Ordinal)], difference);
            if (differences.Count > 40)
                break;
        }

        Assert.True(differences.Count == 0, string.Join(Environment.NewLine, differences.Values));
        Assert.True(decoded > _cases / 10, $"only {decoded} strings decoded");
    }

    [Theory]
    [InlineData(16)]
    [InlineData(32)]
    [InlineData(64)]
    public void Every_truncation_asks_for_more_bytes(int bits)
    {
        var random = new Random(_seed ^ bits);
        byte[] bytes = new byte[16];
        for (int index = 0; index < 20_000; index++)
        {
            Fill(random, bytes);
            if (Decoder.Decode(bytes, Size(bits), 0x1000, out Insn insn) != DecodeOutcome.Ok)
                continue;
            for (int length = 0; length < insn.Length; length++)
                Assert.Equal(DecodeOutcome.NeedMore, Decoder.Decode(bytes.AsSpan(0, length), Size(bits), 0x1000, out _));
        }
    }

    [Fact]
    public void An_instruction_of_sixteen_bytes_is_too_long()
    {
        byte[] bytes = [.. Enumerable.Repeat((byte)0x66, 15), 0x90];
        Assert.Equal(DecodeOutcome.TooLong, Decoder.Decode(bytes, CodeSize.Bits64, 0, out _));
        Assert.Equal(DecodeOutcome.Ok, Decoder.Decode(bytes.AsSpan(1), CodeSize.Bits64, 0, out Insn insn));
        Assert.Equal(15, insn.Length);
    }

    private static CodeSize Size(int bits) => (CodeSize)(bits / 8);

    private static void Fill(Random random, byte[] bytes)
    {
        random.NextBytes(bytes);
        int at = 0;
        ReadOnlySpan<byte> prefixes = [0x66, 0x67, 0xF2, 0xF3, 0xF0, 0x2E, 0x64, 0x65, 0x26, 0x36, 0x3E, 0x48, 0x41, 0x4F];
        while (random.Next(3) == 0 && at < 4)
            bytes[at++] = prefixes[random.Next(prefixes.Length)];
        if (random.Next(3) == 0)
            bytes[at] = 0x0F;
        if (random.Next(8) == 0)
        {
            bytes[at++] = 0x0F;
            bytes[at] = 0x38;
        }
    }

    private static string? Difference(byte[] bytes, int bits, ref int decoded)
    {
        const ulong Rip = 0x1000;
        DecodeOutcome outcome = Decoder.Decode(bytes.AsSpan(0, 15), Size(bits), Rip, out Insn insn);
        var iced = Iced.Intel.Decoder.Create(bits, bytes, DecoderOptions.None);
        iced.IP = Rip;
        Instruction expected = iced.Decode();
        if (outcome != DecodeOutcome.Ok)
        {
            // Not implemented, or not valid for both.
            bool isOurs = insn.Row is not null && insn.Row.Name.Length != 0;
            return expected.IsInvalid || !isOurs || IsExpected(insn, expected, bits) ? null : Text("refused", bytes, insn, expected);
        }

        decoded++;
        if (expected.IsInvalid)
            return IsExpected(insn, expected, bits) ? null : Text("accepted", bytes, insn, expected);
        if (insn.Length != expected.Length)
            return IsExpected(insn, expected, bits) ? null : Text("length", bytes, insn, expected);
        if (!HasSameMemory(insn, expected, bits))
            return IsExpected(insn, expected, bits) ? null : Text("memory", bytes, insn, expected);
        if (!HasSameImmediate(insn, expected))
            return IsExpected(insn, expected, bits) ? null : Text("immediate", bytes, insn, expected);
        return null;
    }

    private static string Text(string kind, byte[] bytes, in Insn insn, in Instruction expected) =>
        $"{kind} {insn.Row?.Name} {expected.Mnemonic}|{Convert.ToHexString(bytes)}: {insn.Row?.Name} length {insn.Length}, base {insn.Base} "
        + $"index {insn.Index} scale {insn.Scale} disp {insn.Displacement:x} imm {insn.Immediate:x} segment {insn.Segment}; "
        + $"Iced: {expected} length {expected.Length}";

    /// <summary>Where this processor differs from Iced on purpose.</summary>
    private static bool IsExpected(in Insn insn, in Instruction expected, int bits)
    {
        string name = insn.Row?.Name ?? "";
        return
            // Iced knows the instructions behind reserved NOP space (CET, MPX) and refuses some of their forms.
            name is "nop" or "prefetch" or "prefetchw"

            // Iced has TZCNT and LZCNT where this processor ignores the prefix; operands are the same.
            || (name is "bsf" or "bsr" && expected.Mnemonic is Mnemonic.Tzcnt or Mnemonic.Lzcnt)

            // C4, C5 and 62 are VEX and EVEX prefixes in 64-bit code, and there is no AVX.
            || (name is "lds" or "les" or "bound" && bits == 64)

            // Segment, control and debug registers that do not exist are #UD when executed: InvalidOpcodeTests.
            || (name == "mov" && insn.Row!.Has(Encoding.PlainReg) && expected.IsInvalid && insn.Opcode is 0x8C or 0x8E or (>= 0x20 and <= 0x23))

            // XLAT's operand is implicit here.
            || name == "xlat"

            // LOCK is checked at decoding by both; Iced lets XACQUIRE and XRELEASE through on plain stores.
            || (insn.HasLock && expected.IsInvalid);
    }

    private static bool HasSameMemory(in Insn insn, in Instruction expected, int bits)
    {
        int operand = -1;
        for (int index = 0; index < expected.OpCount; index++)
        {
            if (expected.GetOpKind(index) == OpKind.Memory)
                operand = index;
        }

        if (operand < 0)
            return !insn.IsMemory;
        if (!insn.IsMemory)
            return false;
        ulong mask = insn.AddressSize switch { 2 => 0xFFFF, 4 => 0xFFFF_FFFF, _ => ulong.MaxValue };
        bool isRelative = expected.IsIPRelativeMemoryOperand;
        ulong displacement = isRelative ? expected.IPRelativeMemoryAddress : expected.MemoryDisplacement64;
        if (((ulong)insn.Displacement & mask) != (displacement & mask))
            return false;
        byte @base = isRelative ? (byte)CpuState.ZeroRegister : Number(expected.MemoryBase), index2 = Number(expected.MemoryIndex);
        int scale = System.Numerics.BitOperations.Log2((uint)expected.MemoryIndexScale);

        // A sole unscaled register may be called base or index; Iced and 16-bit forms differ there.
        bool isSame = (insn.Base == @base && insn.Index == index2 && (index2 == CpuState.ZeroRegister || insn.Scale == scale))
            || (insn.Scale == 0 && scale == 0 && insn.Base == index2 && insn.Index == @base);
        return isSame && HasSameSegment(insn, expected, bits);
    }

    private static bool HasSameSegment(in Insn insn, in Instruction expected, int bits)
    {
        SegmentIndex segment = expected.MemorySegment switch
        {
            Register.ES => SegmentIndex.Es,
            Register.CS => SegmentIndex.Cs,
            Register.SS => SegmentIndex.Ss,
            Register.DS => SegmentIndex.Ds,
            Register.FS => SegmentIndex.Fs,
            _ => SegmentIndex.Gs,
        };
        if (bits == 64 && segment is not (SegmentIndex.Fs or SegmentIndex.Gs))
            segment = SegmentIndex.None;
        return insn.Segment == segment || insn.Row.Name == "lea";
    }

    private static byte Number(Register register) => register is Register.None or Register.EIP or Register.RIP
        ? (byte)CpuState.ZeroRegister : (byte)register.GetNumber();

    private static bool HasSameImmediate(in Insn insn, in Instruction expected)
    {
        for (int index = 0; index < expected.OpCount; index++)
        {
            OpKind kind = expected.GetOpKind(index);
            ulong mask = insn.OperandSize switch { 1 => 0xFF, 2 => 0xFFFF, 4 => 0xFFFF_FFFF, _ => ulong.MaxValue };
            switch (kind)
            {
                case OpKind.NearBranch16 or OpKind.NearBranch32 or OpKind.NearBranch64:
                    return (ulong)insn.Immediate == expected.NearBranchTarget;
                case OpKind.FarBranch16 or OpKind.FarBranch32:
                    return insn.Immediate2 == expected.FarBranchSelector
                        && (ulong)insn.Immediate == (kind == OpKind.FarBranch16 ? expected.FarBranch16 : expected.FarBranch32);
                case >= OpKind.Immediate8 and <= OpKind.Immediate32to64 when (insn.Row.Encoding & Encoding.AnyImmediate) != 0:
                    if (((ulong)insn.Immediate & mask) != (expected.GetImmediate(index) & mask))
                        return false;
                    if (insn.Row.Has(Encoding.Imm8Second) && insn.Immediate2 != expected.GetImmediate(index + 1))
                        return false;
                    return true;
                default:
                    break;
            }
        }

        return true;
    }
}
