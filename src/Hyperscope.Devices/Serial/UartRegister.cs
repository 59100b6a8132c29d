namespace Hyperscope.Devices;

/// <summary>Register offsets and bits of the 16550. Source: PC16550D data sheet.</summary>
internal static class UartRegister
{
    public const int Data = 0, InterruptEnable = 1, InterruptId = 2, FifoControl = 2, LineControl = 3, ModemControl = 4,
        LineStatus = 5, ModemStatus = 6, Scratch = 7;

    public const int ModemControlBits = 0x1f;

    public const byte IerReceived = 0x01, IerTransmitterEmpty = 0x02, IerLineStatus = 0x04, IerModemStatus = 0x08, IerBits = 0x0f;

    public const byte IirNone = 0x01, IirModemStatus = 0x00, IirTransmitterEmpty = 0x02, IirReceived = 0x04, IirLineStatus = 0x06,
        IirTimeout = 0x0c, IirFifo = 0xc0;

    public const byte FcrEnable = 0x01, FcrClearReceiver = 0x02;

    public const byte LcrDivisorLatch = 0x80;

    public const byte McrDtr = 0x01, McrRts = 0x02, McrOut1 = 0x04, McrOut2 = 0x08, McrLoop = 0x10;

    public const byte LsrDataReady = 0x01, LsrOverrun = 0x02, LsrBreak = 0x10, LsrErrors = 0x1e, LsrTransmitterEmpty = 0x20,
        LsrIdle = 0x40, LsrFifoError = 0x80;

    public const byte MsrDeltaCts = 0x01, MsrDeltaDsr = 0x02, MsrTrailingRing = 0x04, MsrDeltaDcd = 0x08, MsrDeltas = 0x0f,
        MsrCts = 0x10, MsrDsr = 0x20, MsrRing = 0x40, MsrDcd = 0x80;
}
