using Hyperscope.Devices;
using Hyperscope.Vm;

namespace Hyperscope.Machine;

/// <summary>The bus as one vCPU sees it: its own local APIC's page in front of what all share.</summary>
internal sealed class VcpuBus(DeviceBus shared, LocalApic local) : IGuestBus
{
    public uint ReadPort(ushort port, int size) => shared.ReadPort(port, size);

    public void WritePort(ushort port, int size, uint value) => shared.WritePort(port, size, value);

    public ulong ReadMemory(Gpa gpa, int size) => IsLocal(gpa, size, out ulong offset)
        ? local.ReadMemory(offset, size) & (ulong.MaxValue >> (64 - (8 * size)))
        : shared.ReadMemory(gpa, size);

    public void WriteMemory(Gpa gpa, int size, ulong value)
    {
        if (IsLocal(gpa, size, out ulong offset))
            local.WriteMemory(offset, size, value);
        else
            shared.WriteMemory(gpa, size, value);
    }

    private bool IsLocal(Gpa gpa, int size, out ulong offset)
    {
        bool mapped = local.TryGetMmioBase(out Gpa address);
        offset = gpa.Value - address.Value;
        return mapped && offset <= (ulong)(LocalApic.MmioBytes - size);
    }
}
