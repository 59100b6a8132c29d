namespace Hyperscope.Devices;

/// <summary>Local APIC registers by x2APIC number (MMIO offset / 16) and their bits. Source: SDM vol. 3, "Local APIC".</summary>
internal static class ApicRegister
{
    public const int Id = 0x02, VersionRegister = 0x03, TaskPriority = 0x08, ArbitrationPriority = 0x09, ProcessorPriority = 0x0a, Eoi = 0x0b,
        RemoteRead = 0x0c, LogicalDestination = 0x0d, DestinationFormat = 0x0e, SpuriousVector = 0x0f, InService = 0x10,
        TriggerMode = 0x18, Request = 0x20, ErrorStatus = 0x28, CommandLow = 0x30, CommandHigh = 0x31, LocalTimer = 0x32, Thermal = 0x33,
        PerformanceCounter = 0x34, Lint0 = 0x35, Lint1 = 0x36, Error = 0x37, InitialCount = 0x38, CurrentCount = 0x39,
        DivideConfiguration = 0x3e, SelfIpi = 0x3f, Count = 0x40;

    public const uint VersionValue = 0x14 | (5 << 16); // integrated, six local vectors

    public const uint Masked = 1 << 16, ModeMask = 7 << 8, TimerModeMask = 3 << 17, TimerPeriodic = 1 << 17, TimerDeadline = 2 << 17;

    public const uint SoftwareEnabled = 1 << 8;

    public const uint ErrorSendIllegalVector = 1 << 5, ErrorReceiveIllegalVector = 1 << 6, ErrorIllegalRegister = 1 << 7;

    public const ulong BaseBootstrap = 1 << 8, BaseX2 = 1 << 10, BaseEnabled = 1 << 11, BaseAddress = 0x000f_ffff_ffff_f000,
        BaseDefault = 0xfee0_0000;

    /// <summary>Bits of a local vector entry that can be written.</summary>
    public static uint LocalVectorBits(int register) => register switch
    {
        LocalTimer => 0xff | Masked | TimerModeMask,
        Thermal or PerformanceCounter => 0xff | ModeMask | Masked,
        Lint0 or Lint1 => 0xff | ModeMask | (1 << 13) | (1 << 15) | Masked,
        _ => 0xff | Masked,
    };
}
