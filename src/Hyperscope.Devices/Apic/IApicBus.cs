namespace Hyperscope.Devices;

/// <summary>Carries messages between interrupt controllers. Any thread.</summary>
public interface IApicBus
{
    /// <summary>Delivers to every local APIC that the message names. The caller holds no local APIC's lock.</summary>
    void Send(in ApicMessage message, DestinationShorthand shorthand = DestinationShorthand.None, LocalApic? sender = null);

    /// <summary>Tells the IOAPIC that a level-triggered interrupt was serviced. The caller holds no lock.</summary>
    void EndOfInterrupt(byte vector);
}
