using System.Collections.Concurrent;

namespace Hyperscope.GuestLinux;

/// <summary>Names for addresses of the kernel and of its modules as they are loaded when it is first asked for one of theirs.</summary>
/// <remarks>Make a new one for each question (<see cref="LinuxGuest.OpenSymbols"/>), because modules come and go. What is asked for is read
/// once. Safe from any thread.</remarks>
public sealed class SymbolMap
{
    private readonly LinuxGuest _guest;
    private readonly ConcurrentDictionary<ulong, ModuleSymbols> _tables = []; // by address of struct module
    private GuestList<LinuxModule>? _modules;

    internal SymbolMap(LinuxGuest guest) => _guest = guest;

    /// <summary>The modules, hidden ones included.</summary>
    /// <exception cref="LinuxGuestException">The kernel does not describe its types.</exception>
    public async ValueTask<GuestList<LinuxModule>> ModulesAsync(CancellationToken cancellation = default) =>
        _modules ??= await _guest.ModulesAsync(cancellation).ConfigureAwait(false);

    /// <summary>The module that an address lies in; null if it lies in none, or the kernel does not describe its types.</summary>
    public async ValueTask<LinuxModule?> ModuleOfAsync(Gva address, CancellationToken cancellation = default) =>
        _guest.HasBtf && _guest.Layout.Modules.Contains(address)
            ? (await ModulesAsync(cancellation).ConfigureAwait(false)).FirstOrDefault(module => module.Contains(address))
            : null;

    /// <summary>The symbols of a module.</summary>
    public async ValueTask<ModuleSymbols> SymbolsOfAsync(LinuxModule module, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(module);
        return _tables.TryGetValue(module.Address.Value, out ModuleSymbols? known)
            ? known
            : _tables.GetOrAdd(module.Address.Value, await ModuleSymbolReader.ReadAsync(_guest, module, cancellation).ConfigureAwait(false));
    }

    /// <summary>An address as <c>name+0x12</c>, <c>name+0x12 [module]</c>, or in hex if it belongs to nothing that has a name.</summary>
    public async ValueTask<string> DescribeAsync(Gva address, CancellationToken cancellation = default)
    {
        if (_guest.Layout.Image.Contains(address))
            return _guest.Symbols.Describe(address);
        return await ModuleOfAsync(address, cancellation).ConfigureAwait(false) is { } module
            ? (await SymbolsOfAsync(module, cancellation).ConfigureAwait(false)).Describe(address)
            : $"{address}";
    }
}
