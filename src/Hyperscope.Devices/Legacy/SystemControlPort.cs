using Hyperscope.Vm;

namespace Hyperscope.Devices;

/// <summary>Port 0x61: gate and output of timer channel 2, the refresh toggle, and bits that are only kept.</summary>
/// <remarks>Has no lock of its own.</remarks>
public sealed class SystemControlPort(IGuestClock clock, Pit8254 pit) : BytePortDevice
{
    /// <summary>Number of ports.</summary>
    public const int PortCount = 1;

    private const int Gate = 0x01, Kept = 0x0e, Refresh = 0x10, Output = 0x20;
    private const long RefreshPeriod = 15_085;

    private byte _kept;

    /// <inheritdoc/>
    protected override byte Read(int offset)
    {
        if (offset != 0)
            return 0xff;
        return (byte)(Volatile.Read(ref _kept) | (pit.SpeakerGate ? Gate : 0) | (pit.SpeakerOutput ? Output : 0)
            | (clock.Now / RefreshPeriod % 2 != 0 ? Refresh : 0));
    }

    /// <inheritdoc/>
    protected override void Write(int offset, byte value)
    {
        if (offset != 0)
            return;
        Volatile.Write(ref _kept, (byte)(value & Kept));
        pit.SpeakerGate = (value & Gate) != 0;
    }
}
