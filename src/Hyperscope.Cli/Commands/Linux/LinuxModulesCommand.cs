using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux modules</c>.</summary>
internal sealed class LinuxModulesCommand() : LinuxCommand(
    "modules",
    "List the modules of a Linux kernel, hidden ones included, and code that belongs to none.",
    new Example("hyperscope linux modules --kvmi unix:/run/vm.sock", "What has been loaded into the kernel?"))
{
    /// <summary>What is printed as JSON.</summary>
    internal static LinuxModuleListRecord Record(
        IReadOnlyList<LinuxModule> modules, IReadOnlyList<KernelRange> unowned, Truncation? truncation) => new(
            [.. modules.Select(Record)], truncation?.ToString(),
            [.. unowned.Select(static range => new LinuxRangeRecord(Hex(range.Start), Hex(range.End)))]);

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation)
    {
        GuestList<LinuxModule> modules = await guest.ModulesAsync(cancellation).ConfigureAwait(false);
        GuestList<KernelRange> unowned = await guest.UnownedCodeAsync(cancellation).ConfigureAwait(false);
        Truncation? truncation = modules.Truncation ?? unowned.Truncation;
        if (IsJson(parsed))
        {
            Console.WriteJson(Record(modules, unowned, truncation), LinuxJson.Default.LinuxModuleListRecord);
            return ExitCode.Done;
        }

        WriteTable(modules, truncation, "NAME SIZE USED STATE NOTE BASE", Cells);
        foreach (KernelRange range in unowned)
        {
            await Console.Error.WriteLineAsync($"hyperscope: {range.Length} bytes of code at {range} belong to no module and to nothing else")
                .ConfigureAwait(false);
        }

        return ExitCode.Done;
    }

    private static LinuxModuleRecord Record(LinuxModule module) => new(
        module.Name, module.Size, module.References, module.State, Hex(module.Base), Hex(module.Address),
        [.. module.Parts.Select(static part => new LinuxModulePartRecord($"{part.Part}", Hex(part.Range.Start), Hex(part.Range.End)))],
        module.IsHidden, $"{module.Found}", $"{module.Missing}");

    private static string[] Cells(LinuxModule module) =>
    [
        module.Name, $"{module.Size}", $"{module.References}", module.State,
        module.IsHidden ? $"HIDDEN:not-in-{module.Missing.ToString().ToLowerInvariant().Replace(", ", ",", StringComparison.Ordinal)}" : "-",
        Hex(module.Base),
    ];
}
