namespace Hyperscope.Devices.Tests;

public sealed class StreamSerialOutputTests
{
    [Fact]
    public void Everything_written_before_disposal_arrives_in_order()
    {
        using var stream = new MemoryStream();
        using (var output = new StreamSerialOutput(stream, capacity: 7))
        {
            for (int i = 0; i < 10_000; i++)
                output.Write((byte)i);
        }

        Assert.Equal(Enumerable.Range(0, 10_000).Select(i => (byte)i), stream.ToArray());
    }

    [Fact]
    public void A_failing_stream_blocks_nobody_and_is_counted()
    {
        using var stream = new MemoryStream(new byte[4], writable: false);
        using var output = new StreamSerialOutput(stream, capacity: 4);
        for (int i = 0; i < 100; i++)
            output.Write(1);
        output.Dispose();
        Assert.Equal(100, output.Dropped);
    }
}
