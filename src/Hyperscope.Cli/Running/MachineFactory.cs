using Hyperscope.Machine;

namespace Hyperscope.Cli.Running;

/// <summary>Puts the machine together that <c>vm run</c> asks for.</summary>
internal static class MachineFactory
{
    /// <summary>Makes a stopped VM with its image loaded.</summary>
    /// <exception cref="CliException">The image cannot be used.</exception>
    public static VirtualMachine Create(VmRunRequest request) =>
        throw new CliException($"{request.Image.Name} cannot be run: this build has no board and no image loader");
}
