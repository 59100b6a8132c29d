namespace Hyperscope.GuestLinux;

/// <summary>Reads the symbol table that a module keeps in memory. Source: Linux include/linux/module.h, struct mod_kallsyms.</summary>
internal static class ModuleSymbolReader
{
    private const int EntrySize = 24, MaxSymbols = 1 << 17, MaxNames = 8 << 20, MaxName = KernelSymbols.MaxName;

    /// <summary>All symbols of a module that are defined in it. A table that leads nowhere gives none, and says so.</summary>
    public static async ValueTask<ModuleSymbols> ReadAsync(LinuxGuest guest, LinuxModule module, CancellationToken cancellation)
    {
        GuestReader reader = guest.OpenMemory();
        BtfStruct type = guest.Btf.StructOf("module"), table = guest.Btf.StructOf("mod_kallsyms");
        try
        {
            Gva place = await reader.ReadPointerAsync(module.Address + (ulong)type.Offset("kallsyms"), cancellation).ConfigureAwait(false);
            StructView view = await reader.ReadStructAsync(table, place, cancellation).ConfigureAwait(false);
            uint count = view.UInt32("num_symtab");
            byte[] entries = await BulkAsync(reader, view.Pointer("symtab"), Math.Min(count, MaxSymbols) * EntrySize, cancellation).ConfigureAwait(false);
            byte[] types = await BulkAsync(reader, view.Pointer("typetab"), entries.Length / EntrySize, cancellation).ConfigureAwait(false);
            byte[] names = await BulkAsync(reader, view.Pointer("strtab"), NamesLength(entries), cancellation).ConfigureAwait(false);
            return new ModuleSymbols(
                module, Decode(entries, types, names),
                count > MaxSymbols ? new Truncation($"module {module.Name} has {count} symbols, more than {MaxSymbols}", place) : null);
        }
        catch (GuestAddressException missing)
        {
            return new ModuleSymbols(module, [], new Truncation($"the symbols of module {module.Name} lead to an address without memory", missing.Gva));
        }
    }

    // What is not mapped reads as zero, and a symbol of zeros is none.
    private static async ValueTask<byte[]> BulkAsync(GuestReader reader, Gva at, long length, CancellationToken cancellation)
    {
        byte[] bytes = new byte[Walks.IsPointer(at, 1) ? length : 0];
        await reader.ReadBulkAsync(at, bytes, cancellation).ConfigureAwait(false);
        return bytes;
    }

    // The table of names has no length of its own: it ends behind the last name.
    private static long NamesLength(ReadOnlySpan<byte> entries)
    {
        long length = 0;
        for (int at = 0; at + EntrySize <= entries.Length; at += EntrySize)
        {
            uint name = BinaryPrimitives.ReadUInt32LittleEndian(entries[at..]);
            if (name <= MaxNames - MaxName)
                length = Math.Max(length, name + MaxName);
        }

        return length;
    }

    // Source: ELF, "Symbol Table": name, info, other, section, value, size. Section 0: not defined here.
    private static List<KernelSymbol> Decode(ReadOnlySpan<byte> entries, ReadOnlySpan<byte> types, ReadOnlySpan<byte> names)
    {
        var symbols = new List<KernelSymbol>();
        for (int i = 0; (i + 1) * EntrySize <= entries.Length; i++)
        {
            ReadOnlySpan<byte> entry = entries.Slice(i * EntrySize, EntrySize);
            uint name = BinaryPrimitives.ReadUInt32LittleEndian(entry);
            if (BinaryPrimitives.ReadUInt16LittleEndian(entry[6..]) == 0 || name >= names.Length || names[(int)name] == 0)
                continue;
            char type = i < types.Length && types[i] is > 0x20 and < 0x7f ? (char)types[i] : '?';
            ReadOnlySpan<byte> text = names[(int)name..];
            symbols.Add(new KernelSymbol(
                new Gva(BinaryPrimitives.ReadUInt64LittleEndian(entry[8..])), type, GuestText.OfArray(text[..Math.Min(text.Length, MaxName)])));
        }

        return symbols;
    }
}
