using Hyperscope.Vm;
using Hyperscope.X64;

namespace Hyperscope.Kvm;

/// <summary>The CPUID leaves of a guest: the software CPU's, less what this host cannot do.</summary>
/// <remarks>The same leaves on both back ends mean that the software CPU has every instruction the guest may use.</remarks>
internal static class GuestCpuid
{
    // The kernel without an interrupt controller of its own has no x2APIC mode.
    private const uint X2Apic = 1 << 21;

    // In leaf 1, ECX: x2APIC (never), TSC deadline and the hypervisor bit are ours, whatever the host's kernel says.
    private const uint OursIn1C = 1 << 24 | 1u << 31;
    private const uint OursIn1D = 1 << 9 | 1 << 28;
    private const uint ArchitecturalCapabilities = 1 << 29;

    public static KvmCpuidEntry[] Build(KvmDevice device, SoftwareVcpu vcpu)
    {
        KvmCpuidEntry[] host = device.GetSupportedCpuid();
        var entries = new List<KvmCpuidEntry>();
        AddRange(0);
        AddRange(0x4000_0000);
        AddRange(0x8000_0000);
        return [.. entries];

        void AddRange(uint first)
        {
            if (!vcpu.TryGetCpuid(first, 0, out CpuidResult head))
                return;
            for (uint function = first; function <= head.Eax; function++)
            {
                bool hasIndexes = function is 4 or 7 or 0xB or 0xD;
                for (uint index = 0; index == 0 || (hasIndexes && index < 5); index++)
                {
                    if (vcpu.TryGetCpuid(function, index, out CpuidResult leaf) && (index == 0 || leaf.Eax != 0 || leaf.Ebx != 0))
                        entries.Add(Entry(function, index, hasIndexes, Limit(host, function, index, leaf)));
                }
            }
        }
    }

    /// <summary>Whether a leaf lies within the ranges that the guest is told of.</summary>
    public static bool IsRange(KvmCpuidEntry[] entries, uint function)
    {
        foreach (KvmCpuidEntry entry in entries)
        {
            if (entry.Function == (function & 0xC000_0000))
                return function <= entry.Eax;
        }

        return false;
    }

    private static KvmCpuidEntry Entry(uint function, uint index, bool hasIndexes, CpuidResult leaf) => new()
    {
        Function = function,
        Index = index,
        Flags = hasIndexes ? KvmCpuidEntry.IndexIsSignificant : 0,
        Eax = leaf.Eax,
        Ebx = leaf.Ebx,
        Ecx = leaf.Ecx,
        Edx = leaf.Edx,
    };

    private static CpuidResult Limit(KvmCpuidEntry[] host, uint function, uint index, CpuidResult leaf)
    {
        KvmCpuidEntry can = default;
        foreach (KvmCpuidEntry entry in host)
        {
            if (entry.Function == function && (entry.Index == index || (entry.Flags & KvmCpuidEntry.IndexIsSignificant) == 0))
                can = entry;
        }

        return function switch
        {
            1 => leaf with { Ecx = leaf.Ecx & (can.Ecx | OursIn1C) & ~X2Apic, Edx = leaf.Edx & (can.Edx | OursIn1D) },
            7 when index == 0 => leaf with { Ebx = leaf.Ebx & can.Ebx, Ecx = leaf.Ecx & can.Ecx, Edx = leaf.Edx & can.Edx & ~ArchitecturalCapabilities },
            0xD when index == 1 => leaf with { Eax = leaf.Eax & can.Eax },
            0x4000_0001 => leaf with { Eax = leaf.Eax & can.Eax },
            0x8000_0001 => leaf with { Ecx = leaf.Ecx & can.Ecx, Edx = leaf.Edx & can.Edx },
            _ => leaf,
        };
    }
}
