namespace Hyperscope.X64.Execution;

/// <summary>A descriptor of eight bytes as it lies in a descriptor table (SDM vol. 3, "Segment Descriptors").</summary>
internal readonly struct Descriptor(ulong raw)
{
    public ulong Raw { get; } = raw;

    public uint Base => (uint)((Raw >> 16) & 0xFF_FFFF) | (uint)((Raw >> 32) & 0xFF00_0000);

    /// <summary>In bytes, granularity applied.</summary>
    public uint Limit
    {
        get
        {
            uint limit = (uint)(Raw & 0xFFFF) | (uint)((Raw >> 32) & 0xF_0000);
            return IsGranular ? (limit << 12) | 0xFFF : limit;
        }
    }

    public byte Type => (byte)((Raw >> 40) & 0xF);

    /// <summary>Code or data, not a system descriptor.</summary>
    public bool IsCodeOrData => (Raw & (1UL << 44)) != 0;

    public byte Dpl => (byte)((Raw >> 45) & 3);

    public bool IsPresent => (Raw & (1UL << 47)) != 0;

    public bool IsLong => (Raw & (1UL << 53)) != 0;

    public bool IsBig => (Raw & (1UL << 54)) != 0;

    public bool IsGranular => (Raw & (1UL << 55)) != 0;

    public bool IsCode => IsCodeOrData && (Type & 8) != 0;

    public bool IsConforming => IsCodeOrData && (Type & 0xC) == 0xC;

    public bool IsWritableData => IsCodeOrData && (Type & 0xA) == 2;

    public bool IsReadable => IsCodeOrData && (Type & 0xA) != 8;

    public bool IsAccessed => (Type & 1) != 0;

    /// <summary>The hidden part of a segment register loaded from this descriptor, its accessed bit set.</summary>
    public Segment ToSegment(ushort selector) => new()
    {
        Base = Base,
        Limit = Limit,
        Selector = selector,
        Type = (byte)(IsCodeOrData ? Type | 1 : Type),
        Dpl = Dpl,
        Present = IsPresent,
        CodeOrData = IsCodeOrData,
        Default32 = IsBig,
        Long = IsLong,
        Granular = IsGranular,
        Available = (Raw & (1UL << 52)) != 0,
    };
}

/// <summary>Types of system descriptors (SDM vol. 3, "System Descriptor Types").</summary>
internal static class SystemType
{
    public const byte Tss16 = 1, Ldt = 2, Tss16Busy = 3, CallGate16 = 4, TaskGate = 5, InterruptGate16 = 6, TrapGate16 = 7, Tss32 = 9,
        Tss32Busy = 11, CallGate32 = 12, InterruptGate32 = 14, TrapGate32 = 15;
}
