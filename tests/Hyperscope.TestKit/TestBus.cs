using Hyperscope.Vm;
using Hyperscope.X64;

namespace Hyperscope.TestKit;

/// <summary>A bus that logs what is written, answers reads from a delegate, and stops the processor on a write to <see cref="StopPort"/>.</summary>
public sealed class TestBus : IGuestBus
{
    /// <summary>Writing to this port ends <see cref="SoftwareVcpu.Run"/>.</summary>
    public const ushort StopPort = 0xF4;

    private readonly Lock _gate = new();

    /// <summary>Every access in order: port or address, size, value, direction.</summary>
    public List<BusAccess> Log { get; } = [];

    /// <summary>What a port reads as; all ones by default.</summary>
    public Func<ushort, int, uint>? PortInput { get; set; }

    /// <summary>What device memory reads as; all ones by default.</summary>
    public Func<Gpa, int, ulong>? MemoryInput { get; set; }

    public uint ReadPort(ushort port, int size)
    {
        uint value = PortInput?.Invoke(port, size) ?? uint.MaxValue >> (32 - (size * 8));
        Add(new BusAccess(port, size, value, IsPort: true, IsWrite: false));
        return value;
    }

    public void WritePort(ushort port, int size, uint value)
    {
        Add(new BusAccess(port, size, value, IsPort: true, IsWrite: true));
        if (port == StopPort)
            SoftwareVcpu.Current!.RequestStop();
    }

    public ulong ReadMemory(Gpa gpa, int size)
    {
        ulong value = MemoryInput?.Invoke(gpa, size) ?? ulong.MaxValue >> (64 - (size * 8));
        Add(new BusAccess(gpa.Value, size, value, IsPort: false, IsWrite: false));
        return value;
    }

    public void WriteMemory(Gpa gpa, int size, ulong value) => Add(new BusAccess(gpa.Value, size, value, IsPort: false, IsWrite: true));

    private void Add(BusAccess access)
    {
        lock (_gate)
            Log.Add(access);
    }
}

/// <summary>One access to the bus.</summary>
public readonly record struct BusAccess(ulong Address, int Size, ulong Value, bool IsPort, bool IsWrite);
