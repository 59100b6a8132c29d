namespace Hyperscope.GuestLinux;

/// <summary>A system call: its number, its name and what it takes.</summary>
/// <param name="Number">What user mode passes.</param>
/// <param name="Name">As the kernel calls it.</param>
/// <param name="Parameters">Type and name of each parameter, as the kernel's source declares them; null if the kernel does not say.</param>
internal sealed record SyscallSignature(int Number, string Name, IReadOnlyList<(string Type, string Name)>? Parameters);

/// <summary>The system calls of a kernel, with the parameters that it keeps for its own tracing (CONFIG_FTRACE_SYSCALLS).</summary>
internal sealed class SyscallCatalog
{
    private const string Entry = "__x64_sys_", Metadata = "__syscall_meta__", All = "all";
    private const int MaxParameters = 6;

    private readonly LinuxGuest _guest;
    private readonly Dictionary<int, SyscallSignature> _byNumber = [];

    private SyscallCatalog(LinuxGuest guest) => _guest = guest;

    /// <summary>The functions that system calls are seen at.</summary>
    /// <exception cref="LinuxGuestException">This kernel has no such system call.</exception>
    public static async Task<List<(Gva At, EventDecoder Decode)>> ChooseAsync(
        LinuxGuest guest, IReadOnlyList<string> wanted, CancellationToken cancellation)
    {
        var places = new List<(Gva, EventDecoder)>();
        if (wanted.Count == 0)
            return places;
        var catalog = new SyscallCatalog(guest);
        IReadOnlyList<SyscallEntry> table = await guest.SyscallsAsync(cancellation).ConfigureAwait(false);
        GuestReader reader = guest.OpenMemory();
        foreach (SyscallEntry entry in wanted.Contains(All) ? table : [])
            await catalog.AddAsync(reader, entry.Name, entry.Number, cancellation).ConfigureAwait(false);
        if (wanted.Contains(All))
        {
            places.Add((guest.Symbols.AddressOf("do_syscall_64"), catalog.AnyEnteredAsync));
            return places;
        }

        foreach (string name in wanted.Distinct(StringComparer.Ordinal))
        {
            // By the function and not by the table, which a guest may have changed.
            SyscallEntry? entry = int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out int number)
                ? table.FirstOrDefault(entry => entry.Number == number)
                : table.FirstOrDefault(entry => entry.Name == name);
            string symbol = Entry + (entry?.Name ?? name);
            if (!guest.Symbols.TryAddressOf(symbol, out Gva function))
                throw new LinuxGuestException($"kallsyms: this kernel has no system call {name} ({symbol}); `linux syscalls` lists all");
            SyscallSignature signature = await catalog.AddAsync(reader, symbol[Entry.Length..], entry?.Number, cancellation).ConfigureAwait(false);
            places.Add((function, (scene, token) => catalog.EnteredAsync(scene, signature, token)));
        }

        return places;
    }

    // long __x64_sys_NAME(const struct pt_regs *regs)
    private async ValueTask<GuestEvent?> EnteredAsync(EventScene scene, SyscallSignature signature, CancellationToken cancellation)
    {
        BtfStruct type = _guest.Btf.StructOf("pt_regs");
        byte[] bytes = new byte[type.Size];
        await scene.ReadAsync(new Gva(scene.First), bytes, cancellation).ConfigureAwait(false);
        var registers = new StructView(type, new Gva(scene.First), 0, bytes);
        ulong[] values =
        [
            registers.Unsigned("di"), registers.Unsigned("si"), registers.Unsigned("dx"), registers.Unsigned("r10"), registers.Unsigned("r8"),
            registers.Unsigned("r9"),
        ];
        return new SyscallEntered(
            scene.Origin, signature.Number, signature.Name,
            await SyscallArguments.DecodeAsync(scene, signature, values, cancellation).ConfigureAwait(false));
    }

    // void do_syscall_64(struct pt_regs *regs, int nr)
    private ValueTask<GuestEvent?> AnyEnteredAsync(EventScene scene, CancellationToken cancellation)
    {
        int number = (int)scene.Second;
        SyscallSignature signature = _byNumber.GetValueOrDefault(number) ?? new SyscallSignature(number, $"syscall_{number}", null);
        return EnteredAsync(scene, signature, cancellation);
    }

    private async Task<SyscallSignature> AddAsync(GuestReader reader, string name, int? number, CancellationToken cancellation)
    {
        var signature = new SyscallSignature(number ?? -1, name, null);
        if (_guest.Symbols.TryAddressOf(Metadata + name, out Gva address) && _guest.Btf.TryStructOf("syscall_metadata", out BtfStruct? type))
        {
            try
            {
                signature = await ReadAsync(reader, await reader.ReadStructAsync(type, address, cancellation).ConfigureAwait(false), signature, cancellation)
                    .ConfigureAwait(false);
            }
            catch (GuestAddressException)
            {
                // Only numbers then.
            }
        }

        _byNumber[signature.Number] = signature;
        return signature;
    }

    private static async Task<SyscallSignature> ReadAsync(
        GuestReader reader, StructView metadata, SyscallSignature signature, CancellationToken cancellation)
    {
        int count = Math.Clamp(metadata.Int32("nb_args"), 0, MaxParameters);
        var parameters = new List<(string, string)>();
        for (int i = 0; i < count; i++)
        {
            Gva type = await reader.ReadPointerAsync(metadata.Pointer("types") + (ulong)i * 8, cancellation).ConfigureAwait(false);
            Gva name = await reader.ReadPointerAsync(metadata.Pointer("args") + (ulong)i * 8, cancellation).ConfigureAwait(false);
            parameters.Add((
                await reader.ReadCStringAsync(type, 64, cancellation).ConfigureAwait(false),
                await reader.ReadCStringAsync(name, 64, cancellation).ConfigureAwait(false)));
        }

        return signature with { Number = signature.Number >= 0 ? signature.Number : metadata.Int32("syscall_nr"), Parameters = parameters };
    }
}
