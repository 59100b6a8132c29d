using Hyperscope.Vm;

namespace Hyperscope.Devices;

/// <summary>The ISA interrupt lines: each drives the 8259's input and the IOAPIC's pin of its number; IRQ 0 is on pin 2.</summary>
/// <remarks>Has no lock: a device drives its own line, and no two share one.</remarks>
public sealed class IsaInterrupts(DualPic pic, IoApic ioApic)
{
    /// <summary>Number of lines.</summary>
    public const int LineCount = 16;

    /// <summary>The IOAPIC pin of IRQ 0.</summary>
    public const int TimerPin = 2;

    private readonly IInterruptLine[] _lines =
        [.. Enumerable.Range(0, LineCount).Select(irq => new Line(pic.Line(irq), ioApic.Pin(irq == 0 ? TimerPin : irq)))];

    /// <summary>Line 0 to 15, not 2.</summary>
    public IInterruptLine this[int irq] => irq != TimerPin ? _lines[irq] : throw new ArgumentOutOfRangeException(nameof(irq), irq, "IRQ 2 is the cascade");

    private sealed class Line(IInterruptLine first, IInterruptLine second) : IInterruptLine
    {
        public void Set(bool asserted)
        {
            first.Set(asserted);
            second.Set(asserted);
        }
    }
}
