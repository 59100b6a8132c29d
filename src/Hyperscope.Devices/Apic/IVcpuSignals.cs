namespace Hyperscope.Devices;

/// <summary>What the board tells a vCPU, its local APIC above all. Any thread; returns at once.</summary>
/// <remarks>May be called with an interrupt controller's or a device's lock held, so an implementation calls no device.</remarks>
public interface IVcpuSignals
{
    /// <summary>Something became deliverable: leave HLT or guest mode and look at the controller.</summary>
    void Wake();

    /// <summary>INIT: stop and take the INIT register state. The bootstrap processor goes on at the reset vector, others wait for
    /// <see cref="Startup"/>.</summary>
    void Init();

    /// <summary>SIPI after INIT: start in real mode at <c>vector &lt;&lt; 12</c>.</summary>
    void Startup(byte vector);

    /// <summary>IGNNE#: the x87 error pending now holds up no instruction any more.</summary>
    void IgnoreX87Error();
}
