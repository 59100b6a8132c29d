using Hyperscope.Vm;

namespace Hyperscope.Devices;

/// <summary>Port 0xF0 of a PC: the latch between the processor's x87 error pin (FERR#) and IRQ 13.</summary>
/// <remarks>An error on the pin sets the latch and with it the interrupt line, however long the error lasts. A write of any value clears
/// the latch and has the processor ignore the error (IGNNE#), so that a handler can use the x87 before it clears the error. Reads as all
/// ones. Has no lock of its own.</remarks>
public sealed class NumericErrorPort(IInterruptLine irq, IVcpuSignals vcpu) : BytePortDevice, IInterruptLine
{
    /// <summary>Number of ports.</summary>
    public const int PortCount = 1;

    private int _isLatched;

    /// <inheritdoc/>
    public void Set(bool asserted)
    {
        if (asserted && Interlocked.Exchange(ref _isLatched, 1) == 0)
            irq.Set(asserted: true);
    }

    /// <inheritdoc/>
    protected override byte Read(int offset) => 0xff;

    /// <inheritdoc/>
    protected override void Write(int offset, byte value)
    {
        if (offset != 0 || Interlocked.Exchange(ref _isLatched, 0) == 0)
            return;
        irq.Set(asserted: false);
        vcpu.IgnoreX87Error();
    }
}
