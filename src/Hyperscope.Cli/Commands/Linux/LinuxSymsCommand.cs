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
            "Look up symbols of a running Linux kernel.",
            new("hyperscope linux syms --kvmi unix:/run/vm.sock sys_call_table", "Where is it?"),
            new("hyperscope linux syms --kvmi unix:/run/vm.sock 0xffffffff81001234", "What is there?"),
            new("hyperscope linux syms --kvmi unix:/run/vm.sock *modprobe*", "All names with a part"))
    {
        Arguments.Add(_what);
    }

    /// <inheritdoc/>
    protected override Task<int> RunAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation)
    {
        string what = parsed.GetValue(_what)!;
        List<(KernelSymbol Symbol, ulong? Offset)> found = Find(guest, what);
        if (found.Count == 0)
            throw new CliException($"this kernel has no symbol {what}; part of a name is looked for with *{what.Trim('*')}*");
        return Task.FromResult(Write(
            parsed, found,
            static item => new LinuxSymbolRecord(Hex(item.Symbol.Address), $"{item.Symbol.Type}", item.Symbol.Name, item.Offset),
            LinuxJson.Default.LinuxListRecordLinuxSymbolRecord, "",
            static item =>
            [
                $"{item.Symbol.Address.Value:x16}", $"{item.Symbol.Type}", item.Offset is > 0 ? $"{item.Symbol.Name}+0x{item.Offset:x}" : item.Symbol.Name,
            ]));
    }

    private static List<(KernelSymbol Symbol, ulong? Offset)> Find(LinuxGuest guest, string what)
    {
        if (what.StartsWith("0x", StringComparison.Ordinal) && Values.TryParseNumber(what, out ulong address))
            return guest.Symbols.TryFind(new Gva(address), out SymbolOffset nearest) ? [(nearest.Symbol, nearest.Offset)] : [];
        if (!what.Contains('*', StringComparison.Ordinal))
            return [.. guest.Symbols.AllNamed(what).Select(static symbol => (symbol, (ulong?)null))];
        return [.. guest.Symbols.All().Where(symbol => System.IO.Enumeration.FileSystemName.MatchesSimpleExpression(what, symbol.Name, ignoreCase: false))
            .Select(static symbol => (symbol, (ulong?)null))];
    }
}
