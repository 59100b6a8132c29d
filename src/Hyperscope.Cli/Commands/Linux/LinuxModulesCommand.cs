using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux modules</c>.</summary>
internal sealed class LinuxModulesCommand() : LinuxListCommand<LinuxModule, LinuxModuleRecord>(
    "modules",
    "List the modules of a Linux kernel, hidden ones included, and code that belongs to none.",
    "NAME SIZE USED STATE NOTE BASE",
    LinuxJson.Default.LinuxListRecordLinuxModuleRecord,
    new Example("hyperscope linux modules --kvmi unix:/run/vm.sock", "What has been loaded into the kernel?"))
{
    /// <inheritdoc/>
    protected override async Task<IReadOnlyList<LinuxModule>> ReadAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation) =>
        await guest.ModulesAsync(cancellation).ConfigureAwait(false);

    /// <inheritdoc/>
    protected override LinuxModuleRecord Record(LinuxModule module) => new(
        module.Name, module.Size, module.References, module.State, Hex(module.Base), Hex(module.Address),
        [.. module.Parts.Select(static part => new LinuxModulePartRecord($"{part.Part}", Hex(part.Range.Start), Hex(part.Range.End)))],
        module.IsHidden, $"{module.Found}", $"{module.Missing}");

    /// <inheritdoc/>
    protected override string[] Cells(LinuxModule module) =>
    [
        module.Name, $"{module.Size}", $"{module.References}", module.State,
        module.IsHidden ? $"HIDDEN:not-in-{module.Missing.ToString().ToLowerInvariant().Replace(", ", ",", StringComparison.Ordinal)}" : "-",
        Hex(module.Base),
    ];

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation)
    {
        int result = await base.RunAsync(guest, parsed, cancellation).ConfigureAwait(false);
        foreach (KernelRange range in await guest.UnownedCodeAsync(cancellation).ConfigureAwait(false))
            await Console.Error.WriteLineAsync($"hyperscope: {range.Length} bytes of code at {range} belong to no module and to nothing else").ConfigureAwait(false);
        return result;
    }
}
