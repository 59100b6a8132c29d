namespace Hyperscope.Guard;

/// <summary>Tells the kernel's own patching of code from anybody else's.</summary>
/// <remarks>All of it goes through one function, text_poke (before 6.4 with the copy in memcpy), which maps the page in an address space of its
/// own, poking_mm. So the writer must be that function, or a copy that returns into it, and the address space that one.</remarks>
internal static class TextPatching
{
    private static readonly string[] Writers = ["__text_poke", "text_poke", "text_poke_memcpy", "text_poke_memset"];

    private static readonly string[] Copies =
        ["memcpy", "__memcpy", "memcpy_orig", "memcpy_erms", "memset", "__memset", "memset_orig", "memset_erms"];

    public static async ValueTask<bool> IsWriterAsync(GuardEvent access, CancellationToken cancellation)
    {
        KernelSymbols symbols = access.Guest.Symbols;
        if (!symbols.TryFind(new Gva(access.Registers.Rip), out SymbolOffset writer) || !access.Guest.Layout.Text.Contains(new Gva(access.Registers.Rip)))
            return false;
        bool isWriter = Writers.Contains(writer.Symbol.Name);
        if (!isWriter && Copies.Contains(writer.Symbol.Name))
        {
            GuestReader stack = access.Guest.OpenMemory();
            isWriter = await ReturnsIntoAsync(stack, access, symbols, cancellation).ConfigureAwait(false);
        }

        return isWriter && await IsInPokingSpaceAsync(access, cancellation).ConfigureAwait(false);
    }

    private static async ValueTask<bool> ReturnsIntoAsync(
        GuestReader stack, GuardEvent access, KernelSymbols symbols, CancellationToken cancellation)
    {
        try
        {
            Gva caller = await stack.ReadPointerAsync(new Gva(access.Registers.Rsp), cancellation).ConfigureAwait(false);
            return symbols.TryFind(caller, out SymbolOffset found) && Writers.Contains(found.Symbol.Name);
        }
        catch (GuestAddressException)
        {
            return false;
        }
    }

    private static async ValueTask<bool> IsInPokingSpaceAsync(GuardEvent access, CancellationToken cancellation)
    {
        // A kernel without that symbol, or without BTF, is recognised by its writer alone.
        if (!access.Guest.HasBtf || !access.Guest.Symbols.TryAddressOf("poking_mm", out Gva variable))
            return true;
        try
        {
            GuestReader reader = access.Guest.OpenMemory();
            Gva mm = await reader.ReadPointerAsync(variable, cancellation).ConfigureAwait(false);
            Gva table = await reader.ReadPointerAsync(mm + (ulong)access.Guest.Btf.StructOf("mm_struct").Offset("pgd"), cancellation).ConfigureAwait(false);
            Gpa? root = await reader.TranslateAsync(table, cancellation).ConfigureAwait(false);
            return root is { } gpa && gpa.Frame.Value == (access.System.Cr3 & 0x000f_ffff_ffff_f000) >> Gfn.PageShift;
        }
        catch (GuestAddressException)
        {
            return false;
        }
    }
}
