namespace Hyperscope.GuestLinux;

/// <summary>Reads where a kernel has its parts from its symbols.</summary>
internal static class LayoutReader
{
    // Documentation/arch/x86/x86_64/mm.rst, for kernels without randomised memory regions.
    private const ulong DirectMap4 = 0xffff888000000000, DirectMap5 = 0xff11000000000000;
    private const ulong Vmalloc4 = 0xffffc90000000000, Vmalloc5 = 0xffa0000000000000;
    private const ulong Vmemmap4 = 0xffffea0000000000, Vmemmap5 = 0xffd4000000000000;
    private const ulong ModulesEnd = 0xffffffffff000000, ModulesRandomized = 0xffffffffc0000000, ModulesFixed = 0xffffffffa0000000;

    public static async Task<KernelLayout> ReadAsync(FoundKernel found, GuestReader reader, CancellationToken cancellation)
    {
        KernelSymbols symbols = found.Symbols;
        Gva text = symbols.AddressOf("_text");
        Gpa physical = await reader.TranslateAsync(text, cancellation).ConfigureAwait(false)
            ?? throw new LinuxGuestException($"kallsyms: _text {text} is not mapped");
        string root = symbols.TryAddressOf("init_top_pgt", out _) ? "init_top_pgt" : "swapper_pg_dir";
        Gva table = symbols.AddressOf(root);
        Gpa pageTable = await reader.TranslateAsync(table, cancellation).ConfigureAwait(false)
            ?? throw new LinuxGuestException($"kallsyms: {root} {table} is not mapped");
        bool five = found.Space.IsFiveLevel;
        bool isRandomized = symbols.TryAddressOf("kernel_randomize_memory", out _);
        return new KernelLayout
        {
            Image = Between(symbols, "_text", "_end"),
            Text = Between(symbols, "_text", "_etext"),
            Rodata = Between(symbols, "__start_rodata", "__end_rodata"),
            Data = Between(symbols, "_sdata", "_edata"),
            Bss = Between(symbols, "__bss_start", "__bss_stop"),
            PhysicalText = physical,
            PageTable = pageTable,
            IsFiveLevel = five,
            DirectMap = await BaseAsync("page_offset_base", five ? DirectMap5 : DirectMap4).ConfigureAwait(false),
            Vmalloc = await BaseAsync("vmalloc_base", five ? Vmalloc5 : Vmalloc4).ConfigureAwait(false),
            Vmemmap = await BaseAsync("vmemmap_base", five ? Vmemmap5 : Vmemmap4).ConfigureAwait(false),
            Modules = new KernelRange(new Gva(isRandomized ? ModulesRandomized : ModulesFixed), new Gva(ModulesEnd)),
        };

        async ValueTask<Gva> BaseAsync(string name, ulong otherwise)
        {
            if (!symbols.TryAddressOf(name, out Gva variable))
                return new Gva(otherwise);
            try
            {
                return await reader.ReadPointerAsync(variable, cancellation).ConfigureAwait(false);
            }
            catch (GuestAddressException)
            {
                return new Gva(otherwise);
            }
        }
    }

    private static KernelRange Between(KernelSymbols symbols, string first, string last)
    {
        // Without CONFIG_KALLSYMS_ALL only text is named.
        if (!symbols.TryAddressOf(first, out Gva start) || !symbols.TryAddressOf(last, out Gva end) || end.Value < start.Value)
            return default;
        return new KernelRange(start, end);
    }
}
