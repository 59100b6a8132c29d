namespace Hyperscope.GuestLinux;

/// <summary>Reads tables of pointers into the kernel: system calls and interrupt gates. Needs no types.</summary>
internal sealed class KernelTableReader(LinuxGuest guest, GuestReader reader)
{
    private const int MaxSyscalls = 4096, GateSize = 16, Gates = 256;

    private static readonly string[] Prefixes = ["__x64_sys_", "__ia32_compat_sys_", "__ia32_sys_", "__do_sys_", "sys_"];

    public async Task<List<SyscallEntry>> SyscallsAsync(CancellationToken cancellation)
    {
        KernelSymbols symbols = guest.Symbols;
        Gva table = symbols.AddressOf("sys_call_table");
        symbols.TryFind(table, out SymbolOffset found);
        byte[] bytes = new byte[Math.Clamp(found.Size / 8, 1, MaxSyscalls) * 8];
        int length = await reader.TryReadAsync(table, bytes, cancellation).ConfigureAwait(false);
        var entries = new List<SyscallEntry>();
        for (int i = 0; i < length / 8; i++)
        {
            var target = new Gva(BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(i * 8)));
            if (target.Value == 0)
                break; // padding behind the table
            bool known = symbols.TryFind(target, out SymbolOffset symbol);
            entries.Add(new SyscallEntry(
                i, known ? NameOf(symbol.Symbol.Name) : "", target, known ? symbol.ToString() : $"{target}",
                known && symbol.Offset == 0 && guest.Layout.Text.Contains(target)));
        }

        return entries;
    }

    public async Task<List<IdtEntry>> GatesAsync(Gva table, int limit, CancellationToken cancellation)
    {
        byte[] bytes = new byte[Math.Min(limit + 1, Gates * GateSize)];
        int length = await reader.TryReadAsync(table, bytes, cancellation).ConfigureAwait(false);
        var entries = new List<IdtEntry>();
        for (int vector = 0; vector < length / GateSize; vector++)
        {
            ReadOnlySpan<byte> gate = bytes.AsSpan(vector * GateSize, GateSize);
            int flags = BinaryPrimitives.ReadUInt16LittleEndian(gate[4..]);
            if ((flags & 0x8000) == 0)
                continue; // not present
            ulong target = BinaryPrimitives.ReadUInt16LittleEndian(gate) | (ulong)BinaryPrimitives.ReadUInt16LittleEndian(gate[6..]) << 16
                | (ulong)BinaryPrimitives.ReadUInt32LittleEndian(gate[8..]) << 32;
            entries.Add(new IdtEntry(
                vector, new Gva(target), guest.Symbols.Describe(new Gva(target)), BinaryPrimitives.ReadUInt16LittleEndian(gate[2..]),
                flags >> 8 & 15, flags >> 13 & 3, flags & 7, guest.Layout.Text.Contains(new Gva(target))));
        }

        return entries;
    }

    private static string NameOf(string symbol)
    {
        foreach (string prefix in Prefixes)
        {
            if (symbol.StartsWith(prefix, StringComparison.Ordinal))
                return symbol[prefix.Length..];
        }

        return symbol;
    }
}
