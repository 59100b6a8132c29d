namespace Hyperscope.GuestLinux;

/// <summary>The code of the kernel and of its modules, with its unwind tables.</summary>
internal sealed class KernelCode : IStackCode
{
    private const uint MaxModuleEntries = 1 << 20;

    private readonly LinuxGuest _guest;
    private readonly GuestReader _reader;
    private readonly SymbolMap _symbols;
    private readonly OrcFormat _format;
    private readonly OrcTable? _kernel;
    private readonly KernelRange _boot;
    private readonly Dictionary<ulong, OrcTable?> _modules = []; // by address of struct module

    public KernelCode(LinuxGuest guest, GuestReader reader, SymbolMap symbols)
    {
        _guest = guest;
        _reader = reader;
        _symbols = symbols;
        _format = guest.HasBtf && guest.Btf.TryStructOf("orc_entry", out _) ? OrcFormat.Of(guest.Btf) : OrcFormat.OfRelease(guest.Release);
        _kernel = OrcTable.OfKernel(guest, reader, _format);

        // The boot CPU's stack starts in code that is long gone; its unwind entries are still there.
        _boot = guest.Symbols.TryAddressOf("_sinittext", out Gva start) && guest.Symbols.TryAddressOf("_einittext", out Gva end)
            ? new KernelRange(start, end)
            : default;
    }

    /// <inheritdoc/>
    public async ValueTask<OrcEntry?> FindAsync(Gva ip, CancellationToken cancellation)
    {
        OrcTable? table = IsKernelCode(ip) ? _kernel : await ModuleTableAsync(ip, cancellation).ConfigureAwait(false);
        return table is null ? null : await table.FindAsync(ip, cancellation).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask<bool> IsCodeAsync(Gva ip, CancellationToken cancellation) => IsKernelCode(ip)
        || (_guest.HasBtf ? await _symbols.ModuleOfAsync(ip, cancellation).ConfigureAwait(false) is not null : _guest.Layout.Modules.Contains(ip));

    /// <inheritdoc/>
    public ValueTask<string> DescribeAsync(Gva ip, CancellationToken cancellation) => _symbols.DescribeAsync(ip, cancellation);

    private bool IsKernelCode(Gva ip) => _guest.Layout.Text.Contains(ip) || _boot.Contains(ip);

    private async ValueTask<OrcTable?> ModuleTableAsync(Gva ip, CancellationToken cancellation)
    {
        BtfStruct type;
        if (await _symbols.ModuleOfAsync(ip, cancellation).ConfigureAwait(false) is not { } module
            || !(type = _guest.Btf.StructOf("module")).Has("arch.num_orcs"))
        {
            return null;
        }

        if (_modules.TryGetValue(module.Address.Value, out OrcTable? known))
            return known;
        StructView view = await _reader.ReadSliceAsync(
            type.Slice("arch.num_orcs", "arch.orc_unwind_ip", "arch.orc_unwind"), module.Address, cancellation).ConfigureAwait(false);
        uint count = view.UInt32("arch.num_orcs");
        OrcTable? table = count is 0 or > MaxModuleEntries ? null
            : new OrcTable(_reader, _format, view.Pointer("arch.orc_unwind_ip"), view.Pointer("arch.orc_unwind"), (int)count);
        _modules[module.Address.Value] = table;
        return table;
    }
}
