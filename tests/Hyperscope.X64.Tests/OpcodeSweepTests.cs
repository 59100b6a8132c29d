using Hyperscope.TestKit;
using Hyperscope.Vm;
using Hyperscope.X64.Decoding;
using Iced.Intel;
using CodeSize = Hyperscope.X64.Decoding.CodeSize;
using Decoder = Hyperscope.X64.Decoding.Decoder;

namespace Hyperscope.X64.Tests;

/// <summary>Every opcode with every ModRM byte and mandatory prefix: what CPUID advertises is there, and nothing else is.</summary>
/// <remarks>Iced says which encodings exist and which feature each belongs to.</remarks>
public class OpcodeSweepTests
{
    private enum CpuidRegister
    {
        Eax,
        Ebx,
        Ecx,
        Edx,
    }

    private static readonly byte[][] _prefixes = [[], [0x66], [0xF3], [0xF2], [0x66, 0xF3], [0x66, 0xF2], [0xF0], [0x48]];
    private static readonly byte[][] _maps = [[], [0x0F], [0x0F, 0x38], [0x0F, 0x3A]];

    // Part of every processor of this architecture, or of this vendor.
    private static readonly HashSet<CpuidFeature> _base =
    [
        CpuidFeature.INTEL8086, CpuidFeature.INTEL8086_ONLY, CpuidFeature.INTEL186, CpuidFeature.INTEL286, CpuidFeature.INTEL386, CpuidFeature.INTEL486,
        CpuidFeature.FPU287, CpuidFeature.FPU387, CpuidFeature.CPUID, CpuidFeature.RDPMC, CpuidFeature.MULTIBYTENOP, CpuidFeature.PAUSE,
    ];

    private static readonly Dictionary<CpuidFeature, (uint Leaf, CpuidRegister Register, int Bit)> _bits = new()
    {
        [CpuidFeature.FPU] = (1, CpuidRegister.Edx, 0),
        [CpuidFeature.TSC] = (1, CpuidRegister.Edx, 4),
        [CpuidFeature.MSR] = (1, CpuidRegister.Edx, 5),
        [CpuidFeature.CX8] = (1, CpuidRegister.Edx, 8),
        [CpuidFeature.SEP] = (1, CpuidRegister.Edx, 11),
        [CpuidFeature.CMOV] = (1, CpuidRegister.Edx, 15),
        [CpuidFeature.CLFSH] = (1, CpuidRegister.Edx, 19),
        [CpuidFeature.MMX] = (1, CpuidRegister.Edx, 23),
        [CpuidFeature.FXSR] = (1, CpuidRegister.Edx, 24),
        [CpuidFeature.SSE] = (1, CpuidRegister.Edx, 25),
        [CpuidFeature.SSE2] = (1, CpuidRegister.Edx, 26),
        [CpuidFeature.SSE3] = (1, CpuidRegister.Ecx, 0),
        [CpuidFeature.PCLMULQDQ] = (1, CpuidRegister.Ecx, 1),
        [CpuidFeature.MONITOR] = (1, CpuidRegister.Ecx, 3),
        [CpuidFeature.VMX] = (1, CpuidRegister.Ecx, 5),
        [CpuidFeature.SMX] = (1, CpuidRegister.Ecx, 6),
        [CpuidFeature.SSSE3] = (1, CpuidRegister.Ecx, 9),
        [CpuidFeature.FMA] = (1, CpuidRegister.Ecx, 12),
        [CpuidFeature.CMPXCHG16B] = (1, CpuidRegister.Ecx, 13),
        [CpuidFeature.SSE4_1] = (1, CpuidRegister.Ecx, 19),
        [CpuidFeature.SSE4_2] = (1, CpuidRegister.Ecx, 20),
        [CpuidFeature.MOVBE] = (1, CpuidRegister.Ecx, 22),
        [CpuidFeature.POPCNT] = (1, CpuidRegister.Ecx, 23),
        [CpuidFeature.AES] = (1, CpuidRegister.Ecx, 25),
        [CpuidFeature.XSAVE] = (1, CpuidRegister.Ecx, 26),
        [CpuidFeature.AVX] = (1, CpuidRegister.Ecx, 28),
        [CpuidFeature.F16C] = (1, CpuidRegister.Ecx, 29),
        [CpuidFeature.RDRAND] = (1, CpuidRegister.Ecx, 30),
        [CpuidFeature.FSGSBASE] = (7, CpuidRegister.Ebx, 0),
        [CpuidFeature.BMI1] = (7, CpuidRegister.Ebx, 3),
        [CpuidFeature.AVX2] = (7, CpuidRegister.Ebx, 5),
        [CpuidFeature.BMI2] = (7, CpuidRegister.Ebx, 8),
        [CpuidFeature.INVPCID] = (7, CpuidRegister.Ebx, 10),
        [CpuidFeature.RTM] = (7, CpuidRegister.Ebx, 11),
        [CpuidFeature.RDSEED] = (7, CpuidRegister.Ebx, 18),
        [CpuidFeature.ADX] = (7, CpuidRegister.Ebx, 19),
        [CpuidFeature.SMAP] = (7, CpuidRegister.Ebx, 20),
        [CpuidFeature.CLFLUSHOPT] = (7, CpuidRegister.Ebx, 23),
        [CpuidFeature.CLWB] = (7, CpuidRegister.Ebx, 24),
        [CpuidFeature.SHA] = (7, CpuidRegister.Ebx, 29),
        [CpuidFeature.PREFETCHWT1] = (7, CpuidRegister.Ecx, 0),
        [CpuidFeature.PKU] = (7, CpuidRegister.Ecx, 3),
        [CpuidFeature.WAITPKG] = (7, CpuidRegister.Ecx, 5),
        [CpuidFeature.CET_SS] = (7, CpuidRegister.Ecx, 7),
        [CpuidFeature.GFNI] = (7, CpuidRegister.Ecx, 8),
        [CpuidFeature.VAES] = (7, CpuidRegister.Ecx, 9),
        [CpuidFeature.VPCLMULQDQ] = (7, CpuidRegister.Ecx, 10),
        [CpuidFeature.RDPID] = (7, CpuidRegister.Ecx, 22),
        [CpuidFeature.CLDEMOTE] = (7, CpuidRegister.Ecx, 25),
        [CpuidFeature.MOVDIRI] = (7, CpuidRegister.Ecx, 27),
        [CpuidFeature.MOVDIR64B] = (7, CpuidRegister.Ecx, 28),
        [CpuidFeature.SERIALIZE] = (7, CpuidRegister.Edx, 14),
        [CpuidFeature.XSAVEOPT] = (0xD, CpuidRegister.Eax, 0),
        [CpuidFeature.XSAVEC] = (0xD, CpuidRegister.Eax, 1),
        [CpuidFeature.XSAVES] = (0xD, CpuidRegister.Eax, 3),
        [CpuidFeature.SVM] = (0x8000_0001, CpuidRegister.Ecx, 2),
        [CpuidFeature.LZCNT] = (0x8000_0001, CpuidRegister.Ecx, 5),
        [CpuidFeature.SSE4A] = (0x8000_0001, CpuidRegister.Ecx, 6),
        [CpuidFeature.PREFETCHW] = (0x8000_0001, CpuidRegister.Ecx, 8),
        [CpuidFeature.SYSCALL] = (0x8000_0001, CpuidRegister.Edx, 11),
        [CpuidFeature.RDTSCP] = (0x8000_0001, CpuidRegister.Edx, 27),
        [CpuidFeature.X64] = (0x8000_0001, CpuidRegister.Edx, 29),
        [CpuidFeature.WBNOINVD] = (0x8000_0008, CpuidRegister.Ebx, 9),
    };

    [Theory]
    [InlineData(16)]
    [InlineData(32)]
    [InlineData(64)]
    public void What_CPUID_advertises_is_decoded_and_nothing_else(int bits)
    {
        using var machine = new TestMachine();
        var advertised = new HashSet<CpuidFeature>(_base);
        advertised.UnionWith(_bits.Where(pair => IsAdvertised(machine.Vcpu, pair.Value)).Select(static pair => pair.Key));
        var differences = new SortedDictionary<string, string>(StringComparer.Ordinal);
        int decoded = 0;
        byte[] bytes = new byte[16];
        foreach (byte[] prefix in _prefixes)
        {
            if (bits != 64 && prefix is [0x48])
                continue;
            foreach (byte[] map in _maps)
            {
                for (int pair = 0; pair < 0x1_0000; pair++)
                {
                    bytes.AsSpan().Clear();
                    prefix.CopyTo(bytes, 0);
                    map.CopyTo(bytes, prefix.Length);
                    bytes[prefix.Length + map.Length] = (byte)(pair >> 8);
                    bytes[prefix.Length + map.Length + 1] = (byte)pair;
                    if (Difference(bytes, bits, advertised, ref decoded) is { } difference)
                        _ = differences.TryAdd(difference, Convert.ToHexString(bytes.AsSpan(0, 6)));
                }
            }
        }

        Assert.True(differences.Count == 0, string.Join('\n', differences));
        Assert.True(decoded > 200_000, $"only {decoded} encodings decoded");
    }

    private static bool IsAdvertised(SoftwareVcpu vcpu, (uint Leaf, CpuidRegister Register, int Bit) place)
    {
        Assert.True(vcpu.TryGetCpuid(place.Leaf, place.Leaf == 0xD ? 1u : 0, out CpuidResult result));
        uint value = place.Register switch { CpuidRegister.Eax => result.Eax, CpuidRegister.Ebx => result.Ebx, CpuidRegister.Ecx => result.Ecx, _ => result.Edx };
        return (value >> place.Bit & 1) != 0;
    }

    private static string? Difference(byte[] bytes, int bits, HashSet<CpuidFeature> advertised, ref int decoded)
    {
        DecodeOutcome outcome = Decoder.Decode(bytes.AsSpan(0, 15), (CodeSize)(bits / 8), 0x1000, out Insn insn);
        var iced = Iced.Intel.Decoder.Create(bits, bytes, DecoderOptions.None);
        iced.IP = 0x1000;
        Instruction expected = iced.Decode();
        bool isOurs = outcome == DecodeOutcome.Ok;
        bool isAdvertised = !expected.IsInvalid && expected.CpuidFeatures.All(advertised.Contains);
        if (isOurs == isAdvertised)
        {
            decoded += isOurs ? 1 : 0;
            return null;
        }

        bool isExpected = isOurs ? IsMeant(insn, expected) : expected.Mnemonic
            is Mnemonic.Ud0 or Mnemonic.Ud1 or Mnemonic.Ud2; // no rows: they are #UD like whatever else is not there
        return isExpected ? null : $"{(isOurs ? "accepted" : "refused")} {(isOurs ? insn.Row.Name : "")} {expected.Mnemonic} ({string.Join('+', expected.CpuidFeatures)})";
    }

    private static bool IsMeant(in Insn insn, in Instruction expected) => insn.Row.Name switch
    {
        // Reserved NOPs, hints: nothing to do until the processor has the feature.
        "nop" or "prefetch" or "prefetchw" => true,

        // Without BMI1 and LZCNT the prefix of TZCNT and LZCNT is ignored.
        "bsf" or "bsr" => expected.Mnemonic is Mnemonic.Tzcnt or Mnemonic.Lzcnt,

        // The hypervisor's own calls. VMGEXIT is VMMCALL where there is no SEV-ES.
        "vmcall" or "vmmcall" or "vmfunc" => !expected.IsInvalid,

        // Segment, control and debug registers that do not exist are #UD when executed: InvalidOpcodeTests.
        "mov" => insn.Opcode is 0x8C or 0x8E or (>= 0x20 and <= 0x23),
        _ => false,
    };
}
