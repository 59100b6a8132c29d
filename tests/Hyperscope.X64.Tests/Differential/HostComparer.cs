using System.Text;
using Hyperscope.TestKit;
using Hyperscope.X64.Execution;
using Iced.Intel;

namespace Hyperscope.X64.Tests.Differential;

/// <summary>Executes a case on the software processor and on the host, and says how they differ.</summary>
internal sealed unsafe class HostComparer : IDisposable
{
    private const ulong AreaGpa = 0x20_0000, CodeGpa = 0x1_0000;
    private const int StackWindow = 256;

    private readonly NativeProcessor _native = new();
    private readonly TestMachine _machine = new();
    private readonly byte* _guestData, _guestStack, _guestCode;

    private readonly bool _is32Bit;

    /// <summary>In 64-bit mode, or in 32-bit code on the same page tables.</summary>
    public HostComparer(bool is32Bit = false)
    {
        _is32Bit = is32Bit;
        const ulong Stack = NativeProcessor.StackTop - 0x2000;
        _machine.Map(NativeProcessor.DataAddress, AreaGpa, NativeProcessor.DataSize);
        _machine.Map(Stack, AreaGpa + 0x1_0000, 0x4000);
        byte* memory = (byte*)_machine.Memory.Slots[0].HostAddress;
        _guestData = memory + AreaGpa;
        _guestStack = memory + AreaGpa + 0x1_0000 + (NativeProcessor.StackTop - Stack);
        _guestCode = memory + CodeGpa;
        _native.Data.Clear();
        if (is32Bit)
            _machine.EnterCompatibilityMode();
    }

    /// <summary>Runs one case on both; null if they agree.</summary>
    public string? Compare(CaseGenerator test, Random random)
    {
        Randomize(test, random);
        CpuState* c = _machine.Vcpu.State;
        var native = default(NativeState);
        for (int register = 0; register < 16; register++)
            c->R[register] = native.Registers[register] = test.Registers[register];
        native.Rflags = test.Flags;
        native.Fxsave[0] = 0x7F;
        native.Fxsave[1] = 0x03;
        native.Fxsave[24] = 0x80;
        native.Fxsave[25] = 0x1F;
        _machine.Vcpu.SetFlags(test.Flags | Rflags.Fixed);
        c->Rip = CodeGpa;
        test.Bytes.CopyTo(new Span<byte>(_guestCode, 16));

        StepResult result;
        do
        {
            result = _machine.Step();
        }
        while (result.Kind == StepKind.Completed && c->Rip == CodeGpa);

        NativeOutcome outcome = _native.Run(test.Bytes, ref native, _is32Bit);
        if (!IsSame(result, outcome))
            return Describe(test, $"software: {result}, host: {outcome}");
        ulong undefined = outcome == NativeOutcome.Completed ? Undefined(test) : Rflags.Arithmetic;
        var differences = new StringBuilder();
        for (int register = 0; register < 16; register++)
        {
            if (c->R[register] != native.Registers[register])
                differences.Append($" r{register}: {c->R[register]:x}, host {native.Registers[register]:x};");
        }

        ulong flags = Flags.GetAll(c), mask = (Rflags.Arithmetic & ~undefined) | Rflags.Df;
        if (((flags ^ native.Rflags) & mask) != 0)
            differences.Append($" flags: {flags & mask:x}, host {native.Rflags & mask:x};");
        if (((flags ^ test.Flags) & Rflags.Arithmetic & ~test.Insn.Row.Writes) != 0)
            differences.Append($" flags {(flags ^ test.Flags) & Rflags.Arithmetic:x} changed, the row says {test.Insn.Row.Writes:x};");
        if (outcome == NativeOutcome.Completed && c->Rip != CodeGpa + (ulong)test.Bytes.Length)
            differences.Append($" rip: {c->Rip:x};");
        if (outcome != NativeOutcome.Completed && c->Rip != CodeGpa)
            differences.Append($" rip after a fault: {c->Rip:x};");
        var data = new ReadOnlySpan<byte>(_guestData, NativeProcessor.DataSize);
        int at = data.CommonPrefixLength(_native.Data);
        if (at != NativeProcessor.DataSize)
            differences.Append($" memory at {NativeProcessor.DataAddress + (ulong)at:x}: {data[at]:x}, host {_native.Data[at]:x};");
        var stack = new ReadOnlySpan<byte>(_guestStack - (StackWindow / 2), StackWindow);
        if (!stack.SequenceEqual(new ReadOnlySpan<byte>((byte*)NativeProcessor.StackTop - (StackWindow / 2), StackWindow)))
            differences.Append(" stack;");
        if (differences.Length == 0)
            return null;
        _native.Data.CopyTo(new Span<byte>(_guestData, NativeProcessor.DataSize));
        return Describe(test, differences.ToString());
    }

    public void Dispose()
    {
        _native.Dispose();
        _machine.Dispose();
    }

    // Both sides agree everywhere else, because the previous case was compared.
    private void Randomize(CaseGenerator test, Random random)
    {
        int offset = (int)(test.Target - NativeProcessor.DataAddress) - 64;
        Span<byte> window = _native.Data.Slice(offset, 160);
        random.NextBytes(window);
        if (random.Next(4) == 0)
            window.Fill((byte)random.Next(4));
        else if (random.Next(4) == 0)
            BitConverter.TryWriteBytes(window[64..], test.Value());
        window.CopyTo(new Span<byte>(_guestData + offset, 160));
        var stack = new Span<byte>((byte*)NativeProcessor.StackTop - (StackWindow / 2), StackWindow);
        random.NextBytes(stack);
        stack.CopyTo(new Span<byte>(_guestStack - (StackWindow / 2), StackWindow));
    }

    private static bool IsSame(StepResult result, NativeOutcome outcome) => outcome switch
    {
        NativeOutcome.Completed => result.Kind == StepKind.Completed,
        NativeOutcome.ArithmeticFault => result is { Kind: StepKind.Fault, Vector: X64.Vector.DivideError or X64.Vector.X87Error or X64.Vector.SimdError },
        NativeOutcome.InvalidOpcode => result is { Kind: StepKind.Fault, Vector: X64.Vector.InvalidOpcode },
        NativeOutcome.MemoryFault => result is { Kind: StepKind.Fault, Vector: X64.Vector.GeneralProtection or X64.Vector.PageFault or X64.Vector.StackFault },
        _ => false,
    };

    // A row's undefined flags are those of its worst count; a shift by 0 or 1 leaves less undefined.
    private static ulong Undefined(CaseGenerator test)
    {
        ulong undefined = test.Insn.Row.Undefined;
        if (test.Insn.Row.Name is not ("rol" or "ror" or "rcl" or "rcr" or "shl" or "sal" or "shr" or "sar" or "shld" or "shrd"))
            return undefined;
        ulong count = test.Insn.Row.Has(Decoding.Encoding.Imm8) ? (ulong)test.Insn.Immediate
            : test.Insn.Opcode is 0xD0 or 0xD1 && test.Insn.Map == 0 ? 1 : test.Registers[1];
        count &= test.Insn.OperandSize == 8 ? 63UL : 31;
        return count == 0 ? 0 : count == 1 ? undefined & ~Rflags.Of : undefined;
    }

    private string Describe(CaseGenerator test, string difference)
    {
        var decoder = Iced.Intel.Decoder.Create(_is32Bit ? 32 : 64, test.Bytes.ToArray());
        Instruction instruction = decoder.Decode();
        string registers = string.Join(' ', test.Registers.Select(value => value.ToString("x")));
        return $"{Convert.ToHexString(test.Bytes)} ({instruction}): {difference} given {registers} flags {test.Flags:x}";
    }
}
