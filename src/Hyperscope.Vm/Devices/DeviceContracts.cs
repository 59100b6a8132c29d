namespace Hyperscope.Vm;

/// <summary>A device behind I/O ports. Sees offsets from the start of its range, never port numbers.</summary>
/// <remarks>Called on any vCPU's thread, one access at a time per device. An absent register reads as all ones and ignores writes;
/// nothing a guest does may throw.</remarks>
public interface IPortDevice
{
    /// <summary>Reads 1, 2 or 4 bytes.</summary>
    uint ReadPort(int offset, int size);

    /// <summary>Writes the low 1, 2 or 4 bytes of <paramref name="value"/>.</summary>
    void WritePort(int offset, int size, uint value);
}

/// <summary>A device behind memory addresses. The rules of <see cref="IPortDevice"/> apply; sizes are 1, 2, 4 or 8.</summary>
public interface IMmioDevice
{
    /// <summary>Reads 1, 2, 4 or 8 bytes.</summary>
    ulong ReadMemory(ulong offset, int size);

    /// <summary>Writes the low bytes of <paramref name="value"/>.</summary>
    void WriteMemory(ulong offset, int size, ulong value);
}

/// <summary>A wire from a device to an interrupt controller.</summary>
public interface IInterruptLine
{
    /// <summary>Drives the line. Any thread. A device calls this without holding a lock of its own that the controller could want.</summary>
    void Set(bool asserted);
}

/// <summary>Guest time, the same for all devices of a VM.</summary>
public interface IGuestClock
{
    /// <summary>Nanoseconds of guest time since the VM started. Any thread.</summary>
    long Now { get; }

    /// <summary>Asks for <paramref name="callback"/> once <see cref="Now"/> has reached its armed deadline; it runs on a thread of the clock's choosing.</summary>
    IGuestTimer CreateTimer(Action callback);
}

/// <summary>A one-shot timer over an <see cref="IGuestClock"/>.</summary>
public interface IGuestTimer : IDisposable
{
    /// <summary>Arms the timer for a point of guest time in nanoseconds, replacing an earlier one; null disarms it.</summary>
    void Arm(long? deadline);
}

/// <summary>What a vCPU's instructions reach beyond memory.</summary>
public interface IGuestBus
{
    /// <summary>IN: 1, 2 or 4 bytes; all ones where nothing is attached.</summary>
    uint ReadPort(ushort port, int size);

    /// <summary>OUT: 1, 2 or 4 bytes.</summary>
    void WritePort(ushort port, int size, uint value);

    /// <summary>A load from an address without memory behind it; all ones where nothing is attached.</summary>
    ulong ReadMemory(Gpa gpa, int size);

    /// <summary>A store to an address without memory behind it.</summary>
    void WriteMemory(Gpa gpa, int size, ulong value);
}

/// <summary>The interrupt controller of one vCPU (a local APIC, or the legacy PIC on vCPU 0).</summary>
public interface IVcpuInterrupts
{
    /// <summary>True if an interrupt is deliverable as far as the controller is concerned. Cheap; polled between blocks after a kick.</summary>
    bool HasPending { get; }

    /// <summary>Acknowledges the highest interrupt; false if it went away meanwhile.</summary>
    bool TryAcknowledge(out byte vector);

    /// <summary>Takes a latched NMI; false if there is none.</summary>
    bool TryTakeNmi();

    /// <summary>The task-priority register as CR8 sees it, 0 to 15.</summary>
    byte TaskPriority { get; set; }

    /// <summary>The IA32_APIC_BASE register.</summary>
    ulong ApicBase { get; set; }

    /// <summary>Reads an MSR of the controller (x2APIC range, TSC deadline); false: not one of its own.</summary>
    bool TryReadMsr(uint index, out ulong value);

    /// <summary>Writes an MSR of the controller; false: not one of its own, or a value it refuses.</summary>
    bool TryWriteMsr(uint index, ulong value);
}
