using System.Runtime.CompilerServices;
using Hyperscope.Vm;

namespace Hyperscope.X64;

/// <summary>Memory type range registers of one vCPU: stored, validated, and asked; they have no effect on caching, for nothing is cached.</summary>
/// <remarks>Eight variable ranges, eleven fixed ones. Source: SDM vol. 3, "Memory Type Range Registers (MTRRs)".</remarks>
internal sealed class MemoryTypeRanges
{
    private const int VariableRanges = 8;
    private const uint FirstVariable = 0x200, Fixed64K = 0x250, Fixed16K = 0x258, Fixed4K = 0x268;
    private const ulong Enabled = 1 << 11, FixedEnabled = 1 << 10, Valid = 1 << 11;
    private const ulong AddressBits = ((1UL << SoftwareVcpu.PhysicalBits) - 1) & ~0xFFFUL;

    private readonly ulong[] _base = new ulong[VariableRanges], _mask = new ulong[VariableRanges], _fixed = new ulong[11];
    private ulong _default;

    public void Reset()
    {
        Array.Clear(_base);
        Array.Clear(_mask);
        Array.Clear(_fixed);
        _default = 0;
    }

    public bool TryRead(uint index, out ulong value)
    {
        if (index == MsrIndex.MtrrCap)
        {
            value = VariableRanges | (1 << 8) | (1 << 10); // fixed ranges and write-combining exist
            return true;
        }

        ref ulong register = ref Find(index);
        value = Unsafe.IsNullRef(ref register) ? 0 : register;
        return !Unsafe.IsNullRef(ref register);
    }

    public bool TryWrite(uint index, ulong value)
    {
        ref ulong register = ref Find(index);
        if (Unsafe.IsNullRef(ref register) || !IsValid(index, value))
            return false;
        register = value;
        return true;
    }

    /// <summary>The memory type of an address.</summary>
    public MemoryType TypeOf(ulong gpa)
    {
        if ((_default & Enabled) == 0)
            return MemoryType.Uncacheable;
        if (gpa < 0x10_0000 && (_default & FixedEnabled) != 0)
            return FixedType(gpa);
        MemoryType? found = null;
        for (int range = 0; range < VariableRanges; range++)
        {
            ulong mask = _mask[range];
            if ((mask & Valid) == 0 || ((gpa ^ _base[range]) & mask & AddressBits) != 0)
                continue;
            var type = (MemoryType)(_base[range] & 7);
            found = found is { } other ? Combine(other, type) : type;
        }

        return found ?? (MemoryType)(_default & 7);
    }

    // Where ranges overlap, uncacheable wins, then write-through.
    private static MemoryType Combine(MemoryType left, MemoryType right) =>
        left == right ? left
        : left == MemoryType.Uncacheable || right == MemoryType.Uncacheable ? MemoryType.Uncacheable
        : MemoryType.WriteThrough;

    private MemoryType FixedType(ulong gpa)
    {
        int entry = gpa < 0x8_0000 ? (int)(gpa >> 16)
            : gpa < 0xC_0000 ? 8 + (int)((gpa - 0x8_0000) >> 14)
            : 24 + (int)((gpa - 0xC_0000) >> 12);
        return (MemoryType)((_fixed[entry / 8] >> (entry % 8 * 8)) & 7);
    }

    private ref ulong Find(uint index)
    {
        switch (index)
        {
            case MsrIndex.MtrrDefType: return ref _default;
            case >= FirstVariable and < FirstVariable + (2 * VariableRanges):
                int range = (int)(index - FirstVariable) / 2;
                if ((index & 1) == 0)
                    return ref _base[range];
                return ref _mask[range];
            case Fixed64K: return ref _fixed[0];
            case Fixed16K or Fixed16K + 1: return ref _fixed[(int)(1 + index - Fixed16K)];
            case >= Fixed4K and < Fixed4K + 8: return ref _fixed[(int)(3 + index - Fixed4K)];
            default: return ref Unsafe.NullRef<ulong>();
        }
    }

    private static bool IsType(ulong value) => value is 0 or 1 or 4 or 5 or 6;

    private static bool IsValid(uint index, ulong value)
    {
        if (index == MsrIndex.MtrrDefType)
            return (value & ~(Enabled | FixedEnabled | 0xFF)) == 0 && IsType(value & 0xFF);
        if (index is >= FirstVariable and < FirstVariable + (2 * VariableRanges))
            return (index & 1) == 0 ? (value & ~(AddressBits | 0xFF)) == 0 && IsType(value & 0xFF) : (value & ~(AddressBits | Valid)) == 0;
        for (int entry = 0; entry < 8; entry++)
        {
            if (!IsType((byte)(value >> (entry * 8))))
                return false;
        }

        return true;
    }
}
