using System.Globalization;

namespace Hyperscope.Client;

/// <summary>The arguments of a command in the words of an error message. Cold: called when a command failed.</summary>
internal static class CommandText
{
    public static string Describe(object command) => command switch
    {
        VmCheckCommand c => $"{c.Subject}",
        VmCheckEvent c => $"{c.Subject}",
        VmControlEvents c => $"{c.EventId} {OnOff(c.Enable)}",
        VmReadPhysical c => $"{c.Size} bytes at gpa {c.Gpa}",
        VmWritePhysical c => $"{c.Size} bytes at gpa {c.Gpa}",
        VcpuGetInfo c => Vcpu(c.Vcpu),
        VcpuPause c => $"{Vcpu(c.Vcpu)}, {(c.Wait ? "wait" : "no wait")}",
        VcpuControlEvents c => $"{Vcpu(c.Vcpu)}, {c.EventId} {OnOff(c.Enable)}",
        VcpuGetRegisters c => $"{Vcpu(c.Vcpu)}, {c.MsrCount} MSRs",
        VcpuSetRegisters c => $"{Vcpu(c.Vcpu)}, rip 0x{c.Regs.Rip:x}",
        VcpuGetCpuid c => $"{Vcpu(c.Vcpu)}, leaf 0x{c.Function:x} index 0x{c.Index:x}",
        VmControlCleanup c => OnOff(c.Enable),
        VcpuControlCr c => $"{Vcpu(c.Vcpu)}, CR{c.Cr} {OnOff(c.Enable)}",
        VcpuInjectException c => string.Create(
            CultureInfo.InvariantCulture, $"{Vcpu(c.Vcpu)}, vector {c.Vector} error 0x{c.ErrorCode:x} address 0x{c.Address:x}"),
        VcpuGetXcr c => $"{Vcpu(c.Vcpu)}, XCR{c.Xcr}",
        VcpuGetXsave c => Vcpu(c.Vcpu),
        VcpuSetXsave c => Vcpu(c.Vcpu),
        VcpuGetMtrrType c => $"{Vcpu(c.Vcpu)}, gpa {c.Gpa}",
        VcpuControlMsr c => $"{Vcpu(c.Vcpu)}, MSR 0x{c.Msr:x} {OnOff(c.Enable)}",
        VmSetPageAccess c => $"{c.Count} pages",
        VcpuControlSinglestep c => $"{Vcpu(c.Vcpu)}, {OnOff(c.Enable)}",
        VcpuTranslateGva c => $"{Vcpu(c.Vcpu)}, gva {c.Gva}",
        _ => "",
    };

    private static string Vcpu(VcpuHeader header) => $"vCPU {header.Index}";

    private static string OnOff(bool enable) => enable ? "on" : "off";
}
