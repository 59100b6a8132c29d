namespace Hyperscope.Devices.Tests;

public class NumericErrorPortTests
{
    private readonly RecordingLine _irq = new();
    private readonly RecordingVcpu _vcpu = new();
    private readonly NumericErrorPort _port;

    public NumericErrorPortTests() => _port = new NumericErrorPort(_irq, _vcpu);

    [Fact]
    public void An_error_holds_the_interrupt_until_the_port_is_written()
    {
        _port.Set(asserted: true);
        _port.Set(asserted: true);
        _port.Set(asserted: false);
        Assert.Equal((true, 1, 0), (_irq.Level, _irq.RisingEdges, _vcpu.IgnoredErrors));
        _port.WritePort(0, 1, 0);
        Assert.Equal((false, 1, 1), (_irq.Level, _irq.RisingEdges, _vcpu.IgnoredErrors));
        _port.Set(asserted: true);
        Assert.Equal((true, 2, 1), (_irq.Level, _irq.RisingEdges, _vcpu.IgnoredErrors));
    }

    [Fact]
    public void A_write_without_an_error_ignores_nothing()
    {
        _port.WritePort(0, 1, 0xff);
        _port.WritePort(1, 1, 0);
        Assert.Equal((false, 0), (_irq.Level, _vcpu.IgnoredErrors));
        Assert.Equal(0xffu, _port.ReadPort(0, 1));
    }
}
