namespace Hyperscope.Devices.Tests;

public sealed class DebugExitPortTests
{
    [Theory]
    [InlineData(0u, 1)]
    [InlineData(1u, 3)]
    [InlineData(0x10u, 0x21)]
    [InlineData(0xffffffffu, -1)]
    public void Written_value_becomes_an_odd_exit_status(uint value, int status)
    {
        var machine = new RecordingMachine();
        new DebugExitPort(machine).WritePort(0, 4, value);
        Assert.Equal(status, machine.ExitStatus);
    }

    [Fact]
    public void Reading_gives_ones_and_ends_nothing()
    {
        var machine = new RecordingMachine();
        Assert.Equal(0xffffffffu, new DebugExitPort(machine).ReadPort(0, 4));
        Assert.Null(machine.ExitStatus);
    }
}
