using Hyperscope.Vm;

namespace Hyperscope.Machine;

/// <summary>A range of I/O ports.</summary>
public readonly record struct PortRange(ushort First, int Count);

/// <summary>A range of guest-physical addresses.</summary>
public readonly record struct MemoryAddressRange(Gpa First, ulong Length);

/// <summary>Finds the device behind a port or an address. An access that leaves its device's range is made byte by byte.</summary>
/// <remarks>Complete before the first vCPU runs; has no lock and allocates nothing per access. Where nothing is attached reads give all
/// ones and writes are ignored.</remarks>
public sealed class DeviceBus : IGuestBus
{
    private const int Ports = 0x10000;
    private const byte Unattached = 0;

    // The position in _portDevices of each port's device.
    private readonly byte[] _portTable = new byte[Ports];
    private PortEntry[] _portDevices = [default];
    private MemoryEntry[] _memoryDevices = [];

    /// <summary>Attaches a device to ports.</summary>
    /// <exception cref="ArgumentException">The range is empty, ends above port 0xffff, or is taken.</exception>
    public void Attach(PortRange range, IPortDevice device)
    {
        if (range.Count < 1 || range.First + range.Count > Ports)
            throw new ArgumentException($"{range.Count} ports from 0x{range.First:x} are not 1 or more below port 0x{Ports:x}");
        if (_portDevices.Length > byte.MaxValue)
            throw new ArgumentException($"{byte.MaxValue} port ranges are attached already");
        Span<byte> table = _portTable.AsSpan(range.First, range.Count);
        int taken = table.IndexOfAnyExcept(Unattached);
        if (taken >= 0)
            throw new ArgumentException($"port 0x{range.First + taken:x} is taken by {_portDevices[table[taken]].Device}");
        table.Fill((byte)_portDevices.Length);
        _portDevices = [.. _portDevices, new PortEntry(device, range.First, range.Count)];
    }

    /// <summary>Attaches a device to addresses.</summary>
    /// <exception cref="ArgumentException">The range is empty, wraps around, or is taken.</exception>
    public void Attach(MemoryAddressRange range, IMmioDevice device)
    {
        ulong first = range.First.Value;
        if (range.Length == 0 || first > ulong.MaxValue - (range.Length - 1))
            throw new ArgumentException($"{range.Length} bytes from {range.First} are none or too many");
        foreach (MemoryEntry other in _memoryDevices)
        {
            if (first - other.First < other.Length || other.First - first < range.Length)
                throw new ArgumentException($"{range.Length} bytes from {range.First} overlap {other.Device} at 0x{other.First:x}");
        }

        MemoryEntry[] entries = [.. _memoryDevices, new MemoryEntry(device, first, range.Length)];
        Array.Sort(entries, static (left, right) => left.First.CompareTo(right.First));
        _memoryDevices = entries;
    }

    /// <inheritdoc/>
    public uint ReadPort(ushort port, int size)
    {
        PortEntry entry = _portDevices[_portTable[port]];
        int offset = port - entry.First;
        if (entry.Device is not null && offset + size <= entry.Count)
            return entry.Device.ReadPort(offset, size) & (uint)Mask(size);
        uint value = 0;
        for (int i = 0; i < size; i++)
            value |= ReadByte(port + i) << (8 * i);
        return value;
    }

    /// <inheritdoc/>
    public void WritePort(ushort port, int size, uint value)
    {
        PortEntry entry = _portDevices[_portTable[port]];
        int offset = port - entry.First;
        if (entry.Device is not null && offset + size <= entry.Count)
        {
            entry.Device.WritePort(offset, size, value & (uint)Mask(size));
            return;
        }

        for (int i = 0; i < size && port + i < Ports; i++)
        {
            entry = _portDevices[_portTable[port + i]];
            entry.Device?.WritePort(port + i - entry.First, 1, (value >> (8 * i)) & 0xff);
        }
    }

    /// <inheritdoc/>
    public ulong ReadMemory(Gpa gpa, int size)
    {
        if (TryFind(gpa.Value, out MemoryEntry entry) && entry.Covers(gpa.Value, size))
            return entry.Device.ReadMemory(gpa.Value - entry.First, size) & Mask(size);
        ulong value = 0;
        for (int i = 0; i < size; i++)
        {
            ulong address = unchecked(gpa.Value + (ulong)i);
            ulong part = TryFind(address, out entry) ? entry.Device.ReadMemory(address - entry.First, 1) & 0xff : 0xff;
            value |= part << (8 * i);
        }

        return value;
    }

    /// <inheritdoc/>
    public void WriteMemory(Gpa gpa, int size, ulong value)
    {
        if (TryFind(gpa.Value, out MemoryEntry entry) && entry.Covers(gpa.Value, size))
        {
            entry.Device.WriteMemory(gpa.Value - entry.First, size, value & Mask(size));
            return;
        }

        for (int i = 0; i < size; i++)
        {
            ulong address = unchecked(gpa.Value + (ulong)i);
            if (TryFind(address, out entry))
                entry.Device.WriteMemory(address - entry.First, 1, (value >> (8 * i)) & 0xff);
        }
    }

    private static ulong Mask(int size) => ulong.MaxValue >> (64 - (8 * size));

    private uint ReadByte(int port)
    {
        if (port >= Ports)
            return 0xff;
        PortEntry entry = _portDevices[_portTable[port]];
        return entry.Device is null ? 0xff : entry.Device.ReadPort(port - entry.First, 1) & 0xff;
    }

    private bool TryFind(ulong address, out MemoryEntry found)
    {
        foreach (MemoryEntry entry in _memoryDevices)
        {
            if (address - entry.First < entry.Length)
            {
                found = entry;
                return true;
            }

            if (address < entry.First)
                break;
        }

        found = default;
        return false;
    }

    private readonly record struct PortEntry(IPortDevice? Device, int First, int Count);

    private readonly record struct MemoryEntry(IMmioDevice Device, ulong First, ulong Length)
    {
        public bool Covers(ulong address, int size) => (ulong)size <= Length && address - First <= Length - (ulong)size;
    }
}
