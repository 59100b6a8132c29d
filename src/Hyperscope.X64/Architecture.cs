namespace Hyperscope.X64;

#pragma warning disable CS1591 // bit names of the SDM

/// <summary>RFLAGS bits (SDM vol. 1, "EFLAGS Register").</summary>
internal static class Rflags
{
    public const ulong Cf = 1 << 0, Fixed = 1 << 1, Pf = 1 << 2, Af = 1 << 4, Zf = 1 << 6, Sf = 1 << 7, Tf = 1 << 8, If = 1 << 9, Df = 1 << 10,
        Of = 1 << 11, Iopl = 3 << 12, Nt = 1 << 14, Rf = 1 << 16, Vm = 1 << 17, Ac = 1 << 18, Vif = 1 << 19, Vip = 1 << 20, Id = 1 << 21;

    /// <summary>The six flags that arithmetic sets.</summary>
    public const ulong Arithmetic = Cf | Pf | Af | Zf | Sf | Of;

    /// <summary>Every bit that exists.</summary>
    public const ulong All = Arithmetic | Tf | If | Df | Iopl | Nt | Rf | Vm | Ac | Vif | Vip | Id;
}

/// <summary>CR0 bits (SDM vol. 3, "Control Registers").</summary>
internal static class Cr0
{
    public const ulong Pe = 1 << 0, Mp = 1 << 1, Em = 1 << 2, Ts = 1 << 3, Et = 1 << 4, Ne = 1 << 5, Wp = 1 << 16, Am = 1 << 18, Nw = 1 << 29,
        Cd = 1 << 30, Pg = 1UL << 31;

    public const ulong All = Pe | Mp | Em | Ts | Et | Ne | Wp | Am | Nw | Cd | Pg;
}

/// <summary>CR4 bits (SDM vol. 3, "Control Registers").</summary>
internal static class Cr4
{
    public const ulong Vme = 1 << 0, Pvi = 1 << 1, Tsd = 1 << 2, De = 1 << 3, Pse = 1 << 4, Pae = 1 << 5, Mce = 1 << 6, Pge = 1 << 7, Pce = 1 << 8,
        OsFxsr = 1 << 9, OsXmmExcpt = 1 << 10, Umip = 1 << 11, FsGsBase = 1 << 16, Pcide = 1 << 17, OsXsave = 1 << 18, Smep = 1 << 20,
        Smap = 1 << 21;

    /// <summary>What this processor implements; any other bit is reserved.</summary>
    public const ulong Supported = Vme | Pvi | Tsd | De | Pse | Pae | Mce | Pge | Pce | OsFxsr | OsXmmExcpt | Umip | FsGsBase | Pcide | OsXsave
        | Smep | Smap;
}

/// <summary>IA32_EFER bits (SDM vol. 4).</summary>
internal static class Efer
{
    public const ulong Sce = 1 << 0, Lme = 1 << 8, Lma = 1 << 10, Nx = 1 << 11;
}

/// <summary>Exception vectors (SDM vol. 3, "Exception and Interrupt Reference").</summary>
internal static class Vector
{
    public const byte DivideError = 0, Debug = 1, Nmi = 2, Breakpoint = 3, Overflow = 4, BoundRange = 5, InvalidOpcode = 6, DeviceNotAvailable = 7,
        DoubleFault = 8, InvalidTss = 10, SegmentNotPresent = 11, StackFault = 12, GeneralProtection = 13, PageFault = 14, X87Error = 16,
        AlignmentCheck = 17, MachineCheck = 18, SimdError = 19;

    /// <summary>True for the vectors that push an error code.</summary>
    public static bool HasErrorCode(byte vector) => vector is DoubleFault or InvalidTss or SegmentNotPresent or StackFault or GeneralProtection
        or PageFault or AlignmentCheck;
}

/// <summary>Bits of a page-fault error code (SDM vol. 3, "Page-Fault Exceptions").</summary>
internal static class PageFaultCode
{
    public const uint Present = 1, Write = 2, User = 4, Reserved = 8, Fetch = 16;
}
