namespace Hyperscope.Cli;

/// <summary>Finds the vCPU that a command line names.</summary>
internal static class VcpuLookup
{
    /// <summary>The vCPU, or bad usage that says which there are.</summary>
    public static IntrospectedVcpu Vcpu(this IntrospectedVm vm, int index) => vm.Vcpus.Count == 0 || index < vm.Vcpus.Count
        ? vm.GetVcpu(index)
        : throw new CliException($"there is no vCPU {index}; this VM has 0 to {vm.Vcpus.Count - 1}", ExitCode.BadUsage);
}
