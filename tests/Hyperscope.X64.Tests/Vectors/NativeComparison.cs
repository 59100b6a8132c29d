using Hyperscope.TestKit;
using Hyperscope.Vm;

namespace Hyperscope.X64.Tests.Vectors;

/// <summary>Runs one instruction on the host and on a software vCPU from the same state, and says where they differ.</summary>
internal sealed unsafe class NativeComparison : IDisposable
{
    public const int FxsaveSize = 512, Mxcsr = 24, Registers = 32, Xmm = 160;
    private const ulong DataFrame = 0x40_0000;

    private readonly NativeProcessor _native = new();
    private readonly TestMachine _machine = new();
    private readonly byte[] _image = new byte[4096];

    private readonly bool _is32Bit;

    /// <summary>In 64-bit mode, or in 32-bit code on the same page tables.</summary>
    public NativeComparison(bool is32Bit = false)
    {
        _is32Bit = is32Bit;
        _machine.Map(NativeProcessor.DataAddress, DataFrame, NativeProcessor.DataSize);
        if (is32Bit)
            _machine.EnterCompatibilityMode();
    }

    /// <summary>Bytes of the FXSAVE image that are not compared.</summary>
    public bool[] Ignored { get; } = new bool[FxsaveSize];

    /// <summary>Arithmetic flags that are not compared.</summary>
    public ulong IgnoredFlags { get; set; }

    /// <summary>Bits of the x87 status word that are not compared.</summary>
    public int IgnoredStatus { get; set; }

    /// <summary>Part of the data that is not compared.</summary>
    public Range IgnoredData { get; set; }

    /// <summary>Memory operands before the instruction; the part of the data that is compared.</summary>
    public byte[] Data { get; } = new byte[0x1000];

    public NativeOutcome Outcome { get; private set; }

    /// <summary>The state after the instruction on the host.</summary>
    public NativeState After;

    /// <summary>The software's FXSAVE image after the instruction.</summary>
    public ReadOnlySpan<byte> SoftwareImage => _image.AsSpan(0, FxsaveSize);

    /// <summary>Null if all is equal.</summary>
    public string? Run(ReadOnlySpan<byte> instruction, in NativeState before)
    {
        Load(before);
        StepResult step = _machine.Step(instruction);
        Data.CopyTo(_native.Data);
        After = before;
        Outcome = _native.Run(instruction, ref After, _is32Bit);
        NativeOutcome software = step.Kind == StepKind.Completed ? NativeOutcome.Completed : step.Vector switch
        {
            6 => NativeOutcome.InvalidOpcode,
            16 or 19 => NativeOutcome.ArithmeticFault,
            _ => NativeOutcome.MemoryFault,
        };
        return software != Outcome ? $"host {Outcome}, software {step}" : Difference();
    }

    public void Dispose()
    {
        _machine.Dispose();
        _native.Dispose();
    }

    private void Load(in NativeState before)
    {
        fixed (NativeState* state = &before)
        {
            _image.AsSpan().Clear();
            new ReadOnlySpan<byte>(state->Fxsave, 416).CopyTo(_image);
            _image[512] = 3;
            Assert.True(_machine.Vcpu.TrySetXsave(_image));
            ReadOnlySpan<ulong> r = new(state->Registers, 16);
            var registers = new KvmRegs { Rip = TestMachine.CodeAddress, Rflags = state->Rflags | 2 };
            _machine.Registers = registers;
            r.CopyTo(new Span<ulong>(_machine.Vcpu.State->R, 16));
        }

        _machine.Write(DataFrame, Data);
    }

    private string? Difference()
    {
        KvmRegs registers = _machine.Registers;
        ReadOnlySpan<ulong> r = new(_machine.Vcpu.State->R, 16);
        fixed (NativeState* state = &After)
        {
            for (int index = 0; index < 16; index++)
            {
                if (r[index] != state->Registers[index])
                    return $"register {index}: host 0x{state->Registers[index]:x}, software 0x{r[index]:x}";
            }

            ulong flags = (registers.Rflags ^ state->Rflags) & 0x8D5 & ~IgnoredFlags;
            if (flags != 0)
                return $"flags: host 0x{state->Rflags & 0x8D5:x}, software 0x{registers.Rflags & 0x8D5:x}";
            _machine.Vcpu.GetXsave(_image);
            for (int index = 0; index < 416; index++)
            {
                if (index is 2 or 3 && ((_image[index] ^ state->Fxsave[index]) & ~(IgnoredStatus >> ((index - 2) * 8))) == 0)
                    continue;
                if (index is >= 28 and < 32 || Ignored[index] || _image[index] == state->Fxsave[index])
                    continue;
                int first = index < Registers ? index & ~1 : index & ~15, length = index < Registers ? 2 : 16;
                return $"fxsave byte {index}: host {Hex(new ReadOnlySpan<byte>(state->Fxsave + first, length))}, "
                    + $"software {Hex(_image.AsSpan(first, length))}";
            }
        }

        Span<byte> data = _machine.Read(DataFrame, Data.Length), native = _native.Data[..Data.Length];
        data[IgnoredData].Clear();
        native[IgnoredData].Clear();
        int differing = data.CommonPrefixLength(native);
        return differing == data.Length ? null
            : $"memory at 0x{differing:x}: host {Hex(native.Slice(differing & ~7, 8))}, software {Hex(data.Slice(differing & ~7, 8))}";
    }

    private static string Hex(ReadOnlySpan<byte> bytes)
    {
        Span<byte> reversed = stackalloc byte[bytes.Length];
        bytes.CopyTo(reversed);
        reversed.Reverse();
        return Convert.ToHexString(reversed);
    }
}
