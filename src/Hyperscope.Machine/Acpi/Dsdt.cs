using Hyperscope.Devices;

namespace Hyperscope.Machine;

/// <summary>The AML of the board: soft-off as _S5, the serial port and the clock. Source: ACPI specification, "ACPI Machine Language".</summary>
internal static class Dsdt
{
    private const byte ZeroOp = 0x00, OneOp = 0x01, NameOp = 0x08, BytePrefix = 0x0a, DwordPrefix = 0x0c, ScopeOp = 0x10, BufferOp = 0x11,
        PackageOp = 0x12, ExtendedPrefix = 0x5b, DeviceOp = 0x82;

    public static byte[] Body() =>
    [
        .. Name("_S5_", [PackageOp, .. Sized([4, AcpiPowerManagement.SoftOffType, ZeroOp, ZeroOp, ZeroOp])]),
        ScopeOp, .. Sized(
        [
            .. "\\_SB_"u8,
            .. Device("COM1", 0x0501, PcBoard.SerialPort, Uart16550.PortCount, PcBoard.SerialInterrupt),
            .. Device("RTC0", 0x0b00, PcBoard.RtcPort, CmosRtc.PortCount, PcBoard.RtcInterrupt),
        ]),
    ];

    private static byte[] Device(string name, ushort plugAndPlayId, ushort port, byte ports, byte irq)
    {
        int mask = 1 << irq;
        byte[] resources =
        [
            0x47, 0x01, (byte)port, (byte)(port >> 8), (byte)port, (byte)(port >> 8), 1, ports, // ports, 16-bit decode
            0x22, (byte)mask, (byte)(mask >> 8), // edge-triggered interrupt
            0x79, 0x00, // end, no checksum
        ];
        return
        [
            ExtendedPrefix, DeviceOp, .. Sized(
            [
                .. Segment(name),
                .. Name("_HID", [DwordPrefix, 0x41, 0xd0, (byte)(plugAndPlayId >> 8), (byte)plugAndPlayId]), // PNPxxxx
                .. Name("_UID", [OneOp]),
                .. Name("_CRS", [BufferOp, .. Sized([BytePrefix, (byte)resources.Length, .. resources])]),
            ]),
        ];
    }

    private static byte[] Name(string name, ReadOnlySpan<byte> value) => [NameOp, .. Segment(name), .. value];

    private static byte[] Segment(string name) => System.Text.Encoding.ASCII.GetBytes(name);

    /// <summary>Puts a package length, which counts itself, in front.</summary>
    private static byte[] Sized(ReadOnlySpan<byte> body)
    {
        int length = body.Length + 1;
        if (length < 64)
            return [(byte)length, .. body];
        length++;
        return [(byte)(0x40 | (length & 15)), (byte)(length >> 4), .. body];
    }
}
