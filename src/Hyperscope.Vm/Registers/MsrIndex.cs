namespace Hyperscope.Vm;

/// <summary>MSR indexes that more than one part names. Source: SDM vol. 4; KVM's paravirtual registers from its documentation.</summary>
public static class MsrIndex
{
#pragma warning disable CS1591 // architectural names
    public const uint Tsc = 0x10, ApicBase = 0x1B, TscAdjust = 0x3B, MtrrCap = 0xFE, SysenterCs = 0x174, SysenterEsp = 0x175,
        SysenterEip = 0x176, MiscEnable = 0x1A0, Pat = 0x277, MtrrDefType = 0x2FF, TscDeadline = 0x6E0,
        Efer = 0xC0000080, Star = 0xC0000081, Lstar = 0xC0000082, Cstar = 0xC0000083, Sfmask = 0xC0000084,
        FsBase = 0xC0000100, GsBase = 0xC0000101, KernelGsBase = 0xC0000102, TscAux = 0xC0000103;
#pragma warning restore CS1591
}
