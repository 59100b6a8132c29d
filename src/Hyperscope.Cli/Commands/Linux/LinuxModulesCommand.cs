using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux modules</c>.</summary>
internal sealed class LinuxModulesCommand() : LinuxCommand(
    "modules",
    "List the modules of a Linux kernel, hidden ones included.",
    new Example("hyperscope linux modules --kvmi unix:/run/vm.sock", "What has been loaded into the kernel?"))
{
    /// <inheritdoc/>
    protected override async Task<int> RunAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation)
    {
        int result = Write(
            parsed, await guest.ModulesAsync(cancellation).ConfigureAwait(false),
            static module => new LinuxModuleRecord(
                module.Name, module.Size, module.References, module.State, Hex(module.Base), Hex(module.Address),
                [.. module.Parts.Select(static part => new LinuxModulePartRecord($"{part.Part}", Hex(part.Range.Start), Hex(part.Range.End)))],
                module.IsHidden, $"{module.Found}", $"{module.Missing}"),
            LinuxJson.Default.LinuxListRecordLinuxModuleRecord, "NAME SIZE USED STATE NOTE BASE",
            static module =>
            [
                module.Name, $"{module.Size}", $"{module.References}", module.State,
                module.IsHidden ? $"HIDDEN:not-in-{module.Missing.ToString().ToLowerInvariant().Replace(", ", ",", StringComparison.Ordinal)}" : "-",
                Hex(module.Base),
            ]);
        GuestList<KernelRange> unowned = await guest.UnownedCodeAsync(cancellation).ConfigureAwait(false);
        foreach (KernelRange range in unowned)
            await Console.Error.WriteLineAsync($"hyperscope: {range.Length} bytes of code at {range} belong to no module and to nothing else").ConfigureAwait(false);
        return result;
    }
}
