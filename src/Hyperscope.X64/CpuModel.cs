using System.Buffers.Binary;
using System.Numerics;
using Hyperscope.Vm;

namespace Hyperscope.X64;

/// <summary>What the processor says it is: CPUID leaves and the TSC frequency.</summary>
/// <remarks>The feature bits are those of x86-64-v2 and name exactly what is implemented; they cannot be configured. Source: SDM vol. 2,
/// "CPUID"; KVM's leaves from its documentation.</remarks>
public sealed record CpuModel
{
    private const uint MaxBasic = 0x16, MaxHypervisor = 0x4000_0001, MaxExtended = 0x8000_0008;

    /// <summary>TSC ticks per second of guest time.</summary>
    public ulong TscFrequency { get; init; } = 1_000_000_000;

    /// <summary>Twelve ASCII characters. Linux takes an Intel processor's paths for the default.</summary>
    public string Vendor { get; init; } = "GenuineIntel";

    /// <summary>Up to 48 ASCII characters.</summary>
    public string Brand { get; init; } = "Hyperscope Software CPU";

    /// <summary>Family as displayed.</summary>
    public int Family { get; init; } = 6;

    /// <summary>Model as displayed.</summary>
    public int Number { get; init; } = 0x1A;

    /// <summary>Stepping, 0 to 15.</summary>
    public int Stepping { get; init; } = 5;

    /// <summary>A local APIC is there. When it is, leaf 1 says so as long as IA32_APIC_BASE has it enabled.</summary>
    public bool HasLocalApic { get; init; } = true;

    /// <summary>KVM's paravirtual leaves and clock are there.</summary>
    public bool HasKvmClock { get; init; } = true;

    /// <summary>Wall-clock time at guest time zero.</summary>
    public DateTimeOffset StartTime { get; init; } = DateTimeOffset.UnixEpoch;

    /// <summary>Seed of RDRAND and RDSEED; null: numbers of the host's generator.</summary>
    public ulong? RandomSeed { get; init; }

    /// <summary>IA32_ARCH_CAPABILITIES: not susceptible to anything a mitigation would cost time for.</summary>
    internal const ulong ArchitecturalCapabilities = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 13 | 1 << 14 | 1 << 15
        | 1 << 20 | 1 << 24 | 1 << 26 | 1 << 27;

    /// <summary>EAX of leaf 1, which is also EDX after a reset.</summary>
    internal uint Signature
    {
        get
        {
            int family = Math.Min(Family, 15), extendedFamily = Math.Max(Family - 15, 0);
            return (uint)((Stepping & 15) | ((Number & 15) << 4) | (family << 8) | ((Number >> 4 & 15) << 16) | ((extendedFamily & 0xFF) << 20));
        }
    }

    /// <summary>Looks a leaf up as it is right after reset; false if there is none.</summary>
    /// <param name="function">EAX.</param>
    /// <param name="index">ECX; ignored where the leaf has no sub-leaves.</param>
    /// <param name="vcpu">The processor that asks.</param>
    /// <param name="count">Processors in the package.</param>
    /// <param name="result">The four registers.</param>
    internal bool TryGet(uint function, uint index, int vcpu, int count, out CpuidResult result)
    {
        result = default;
        bool exists = function <= MaxBasic || (HasKvmClock && function is >= 0x4000_0000 and <= MaxHypervisor)
            || function is >= 0x8000_0000 and <= MaxExtended;
        if (exists)
            result = Leaf(function, index, vcpu, count);
        return exists;
    }

    private CpuidResult Leaf(uint function, uint index, int vcpu, int count) => function switch
    {
        0x0 => new CpuidResult(MaxBasic, Characters(Vendor, 0), Characters(Vendor, 8), Characters(Vendor, 4)),
        0x1 => new CpuidResult(Signature, (uint)(vcpu << 24 | LogicalProcessors(count) << 16 | 8 << 8), Features1C, Features1D(count)),
        0x2 => new CpuidResult(0x00FF_FF01, 0, 0, 0),
        0x4 => Cache(index, count),
        0x6 => new CpuidResult(1 << 2, 0, 0, 0), // the APIC timer never stops
        0x7 => index == 0 ? new CpuidResult(0, Features7B, Features7C, 1 << 26 | 1 << 29) : default,
        0xB => Topology(index, vcpu, count),
        0xD => index switch { 0 => new CpuidResult(3, 576, 576, 0), 1 => new CpuidResult(1, 0, 0, 0), _ => default },
        0x15 => TscFrequency % 1_000_000 == 0 ? new CpuidResult(1, (uint)(TscFrequency / 1_000_000), 1_000_000, 0) : default,
        0x16 => new CpuidResult((uint)(TscFrequency / 1_000_000), (uint)(TscFrequency / 1_000_000), 100, 0),
        0x4000_0000 => new CpuidResult(MaxHypervisor, Characters("KVMKVMKVM\0\0\0", 0), Characters("KVMKVMKVM\0\0\0", 4), Characters("KVMKVMKVM\0\0\0", 8)),
        0x4000_0001 => new CpuidResult(1 << 0 | 1 << 1 | 1 << 3 | 1 << 24, 0, 0, 0), // clock, no I/O delay, clock by new MSRs, stable
        0x8000_0000 => new CpuidResult(MaxExtended, 0, 0, 0),
        0x8000_0001 => new CpuidResult(0, 0, 1 << 0 | 1 << 8, 1 << 11 | 1 << 20 | 1 << 26 | 1 << 27 | 1 << 29),
        >= 0x8000_0002 and <= 0x8000_0004 => BrandLeaf((int)(function - 0x8000_0002) * 16),
        0x8000_0006 => new CpuidResult(0, 0, 256 << 16 | 6 << 12 | 64, 0),
        0x8000_0007 => new CpuidResult(0, 0, 0, 1 << 8), // invariant TSC
        0x8000_0008 => new CpuidResult(SoftwareVcpu.PhysicalBits | 48 << 8, 0, 0, 0),
        _ => default,
    };

    // SSE3, SSSE3, CX16, PCID, SSE4.1, SSE4.2, x2APIC, MOVBE, POPCNT, TSC deadline, XSAVE, RDRAND, hypervisor.
    private uint Features1C => 1u << 0 | 1 << 9 | 1 << 13 | 1 << 17 | 1 << 19 | 1 << 20 | 1 << 22 | 1 << 23 | 1 << 26 | 1 << 30 | 1u << 31
        | (HasLocalApic ? 1u << 21 | 1 << 24 : 0);

    // FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2, HTT with several processors.
    private uint Features1D(int count) => 0x1FF | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 15 | 1 << 16 | 1 << 17 | 1 << 19 | 1 << 23
        | 1 << 24 | 1 << 25 | 1 << 26 | (count > 1 ? 1u << 28 : 0) | (HasLocalApic ? 1u << 9 : 0);

    // FSGSBASE, TSC_ADJUST, SMEP, ERMS, INVPCID, RDSEED, SMAP, CLFLUSHOPT.
    private const uint Features7B = 1 << 0 | 1 << 1 | 1 << 7 | 1 << 9 | 1 << 10 | 1 << 18 | 1 << 20 | 1 << 23;

    // UMIP, RDPID.
    private const uint Features7C = 1 << 2 | 1 << 22;

    private static int LogicalProcessors(int count) => (int)Math.Min(255, BitOperations.RoundUpToPowerOf2((uint)count));

    private static CpuidResult Topology(uint level, int vcpu, int count)
    {
        int shift = BitOperations.Log2(BitOperations.RoundUpToPowerOf2((uint)count));
        return level switch
        {
            0 => new CpuidResult(0, 1, 1 << 8, (uint)vcpu),               // one thread a core
            1 => new CpuidResult((uint)shift, (uint)count, 1 | 2 << 8, (uint)vcpu),
            _ => new CpuidResult(0, 0, level & 0xFF, (uint)vcpu),
        };
    }

    // Type and level, sets, ways; lines of 64 bytes. The last level is shared by all.
    private static CpuidResult Cache(uint index, int count)
    {
        (uint type, uint level, uint ways, uint sets) = index switch
        {
            0 => (1u, 1u, 8u, 64u),
            1 => (2u, 1u, 8u, 64u),
            2 => (3u, 2u, 4u, 1024u),
            3 => (3u, 3u, 16u, 8192u),
            _ => (0u, 0u, 0u, 0u),
        };
        if (type == 0)
            return default;
        uint cores = (uint)Math.Min(63, LogicalProcessors(count) - 1);
        uint sharing = level == 3 ? (uint)(LogicalProcessors(count) - 1) : 0;
        return new CpuidResult(type | level << 5 | 1 << 8 | sharing << 14 | cores << 26, 63 | (ways - 1) << 22, sets - 1, 0);
    }

    private CpuidResult BrandLeaf(int offset) =>
        new(Characters(Brand, offset), Characters(Brand, offset + 4), Characters(Brand, offset + 8), Characters(Brand, offset + 12));

    private static uint Characters(string text, int offset)
    {
        Span<byte> bytes = stackalloc byte[4];
        bytes.Clear();
        for (int index = 0; index < 4 && offset + index < text.Length; index++)
            bytes[index] = text[offset + index] < 128 ? (byte)text[offset + index] : (byte)'?';
        return BinaryPrimitives.ReadUInt32LittleEndian(bytes);
    }
}
