using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux syms</c>.</summary>
internal sealed class LinuxSymsCommand : LinuxCommand
{
    private readonly Argument<string> _what = new("what")
    {
        Description = "A name, part of one as *part*, or an address in hex; all symbols unless given",
        DefaultValueFactory = static _ => "*",
    };

    /// <summary>Adds its arguments.</summary>
    public LinuxSymsCommand()
        : base(
            "syms",
            "Look up symbols of a running Linux kernel and of its modules.",
            new("hyperscope linux syms --kvmi unix:/run/vm.sock sys_call_table", "Where is it?"),
            new("hyperscope linux syms --kvmi unix:/run/vm.sock 0xffffffff81001234", "What is there?"),
            new("hyperscope linux syms --kvmi unix:/run/vm.sock *modprobe*", "All names with a part"))
    {
        Arguments.Add(_what);
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation)
    {
        string what = parsed.GetValue(_what)!;
        (List<Found> found, Truncation? truncation) = await FindAsync(guest, what, cancellation).ConfigureAwait(false);
        if (found.Count == 0)
            throw new CliException($"this kernel has no symbol {what}; part of a name is looked for with *{what.Trim('*')}*");
        return Write(
            parsed, found, truncation,
            static item => new LinuxSymbolRecord(Hex(item.Symbol.Address), $"{item.Symbol.Type}", item.Symbol.Name, item.Offset, item.Module),
            LinuxJson.Default.LinuxListRecordLinuxSymbolRecord, "",
            static item =>
            [
                $"{item.Symbol.Address.Value:x16}", $"{item.Symbol.Type}",
                (item.Offset is > 0 ? $"{item.Symbol.Name}+0x{item.Offset:x}" : item.Symbol.Name) + (item.Module is null ? "" : $" [{item.Module}]"),
            ]);
    }

    private static async Task<(List<Found> Found, Truncation? Truncation)> FindAsync(LinuxGuest guest, string what, CancellationToken cancellation)
    {
        SymbolMap map = guest.OpenSymbols();
        if (what.StartsWith("0x", StringComparison.Ordinal) && Values.TryParseNumber(what, out ulong number))
        {
            var address = new Gva(number);
            if (await map.ModuleOfAsync(address, cancellation).ConfigureAwait(false) is not { } owner)
                return (guest.Symbols.TryFind(address, out SymbolOffset nearest) ? [new Found(nearest.Symbol, nearest.Offset)] : [], null);
            ModuleSymbols own = await map.SymbolsOfAsync(owner, cancellation).ConfigureAwait(false);
            return (own.TryFind(address, out SymbolOffset inModule) ? [new Found(inModule.Symbol, inModule.Offset, owner.Name)] : [], own.Truncation);
        }

        bool isPattern = what.Contains('*', StringComparison.Ordinal);
        List<Found> found = [.. (isPattern ? guest.Symbols.All() : guest.Symbols.AllNamed(what)).Where(IsWanted).Select(static symbol => new Found(symbol))];
        Truncation? truncation = null;
        if (guest.HasBtf)
        {
            GuestList<LinuxModule> modules = await map.ModulesAsync(cancellation).ConfigureAwait(false);
            truncation = modules.Truncation;
            foreach (LinuxModule module in modules)
            {
                ModuleSymbols symbols = await map.SymbolsOfAsync(module, cancellation).ConfigureAwait(false);
                truncation ??= symbols.Truncation;
                found.AddRange(symbols.All.Where(IsWanted).Select(symbol => new Found(symbol, Module: module.Name)));
            }
        }

        return (found, truncation);

        bool IsWanted(KernelSymbol symbol) =>
            isPattern ? System.IO.Enumeration.FileSystemName.MatchesSimpleExpression(what, symbol.Name, ignoreCase: false) : symbol.Name == what;
    }

    private sealed record Found(KernelSymbol Symbol, ulong? Offset = null, string? Module = null);
}
