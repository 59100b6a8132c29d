namespace Hyperscope.GuestLinux;

/// <summary>The symbols that a module brought with it, as they are in guest memory.</summary>
public sealed class ModuleSymbols
{
    private readonly LinuxModule _module;
    private readonly KernelSymbol[] _symbols; // addresses ascend

    internal ModuleSymbols(LinuxModule module, IEnumerable<KernelSymbol> symbols, Truncation? truncation)
    {
        _module = module;
        _symbols = [.. symbols.OrderBy(static symbol => symbol.Address.Value)];
        Truncation = truncation;
    }

    /// <summary>Why these are not all; null if they are.</summary>
    public Truncation? Truncation { get; }

    /// <summary>All of them; addresses ascend. Those of per-CPU variables are no addresses but offsets.</summary>
    public IReadOnlyList<KernelSymbol> All => _symbols;

    /// <summary>The symbol that an address of the module lies behind, in the same part of it.</summary>
    public bool TryFind(Gva address, out SymbolOffset found)
    {
        found = default;
        int index = Array.FindLastIndex(_symbols, symbol => symbol.Address.Value <= address.Value);
        if (index < 0 || _module.PartOf(address) is not { } part || !part.Contains(_symbols[index].Address))
            return false;
        Gva at = _symbols[index].Address;

        // Of several names at one address the first global one is the one to show.
        int first = Array.FindIndex(_symbols, symbol => symbol.Address == at);
        int named = Array.FindIndex(_symbols, first, index - first + 1, static symbol => char.IsUpper(symbol.Type));
        Gva next = index + 1 < _symbols.Length && part.Contains(_symbols[index + 1].Address) ? _symbols[index + 1].Address : part.End;
        found = new SymbolOffset(_symbols[named < 0 ? first : named], address.Value - at.Value, next.Value - at.Value);
        return true;
    }

    /// <summary>An address of the module as <c>name+0x12 [module]</c>; from its start if there is no name.</summary>
    public string Describe(Gva address) => TryFind(address, out SymbolOffset found)
        ? $"{found} [{_module.Name}]"
        : $"0x{address.Value - _module.Base.Value:x} [{_module.Name}]";
}
