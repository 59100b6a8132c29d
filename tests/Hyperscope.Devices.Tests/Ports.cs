using Hyperscope.Vm;

namespace Hyperscope.Devices.Tests;

/// <summary>Byte access the way test bodies want to write it.</summary>
internal static class Ports
{
    public static byte In(this IPortDevice device, int offset) => (byte)device.ReadPort(offset, 1);

    public static void Out(this IPortDevice device, int offset, int value) => device.WritePort(offset, 1, (uint)value);
}
