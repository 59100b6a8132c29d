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
    private const ulong Compat = 2; // TS_COMPAT in thread_info.status

    private static readonly string[] CompatEntries = ["__ia32_sys_", "__ia32_compat_sys_"];

    private static readonly string[] CompatDoors = ["do_int80_syscall_32", "do_fast_syscall_32"];

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
            places.Add((guest.Symbols.AddressOf("do_syscall_64"), (scene, token) => catalog.AnyEnteredAsync(scene, (int)scene.Second, isCompat: false, token)));
            places.AddRange(catalog.AllOf32Bit());
            return places;
        }

        foreach (string name in wanted.Distinct(StringComparer.Ordinal))
        {
            // By the function and not by the table, which a guest may have changed.
            SyscallEntry? entry = int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out int number)
                ? table.FirstOrDefault(entry => entry.Number == number)
                : table.FirstOrDefault(entry => entry.Name == name);
            string known = entry?.Name ?? name;
            Gva[] compat = [.. CompatEntries.Where(prefix => guest.Symbols.TryAddressOf(prefix + known, out _)).Select(prefix => guest.Symbols.AddressOf(prefix + known))];
            bool isNative = guest.Symbols.TryAddressOf(Entry + known, out Gva native);
            if (!isNative && compat.Length == 0)
                throw new LinuxGuestException($"kallsyms: this kernel has no system call {name} ({Entry}{known}); `linux syscalls` lists all");
            SyscallSignature signature = await catalog.AddAsync(reader, known, entry?.Number, cancellation).ConfigureAwait(false);
            if (isNative)
            {
                // What takes no arguments is one function for both.
                bool? isCompat = compat.Contains(native) ? null : false;
                places.Add((native, (scene, token) => catalog.EnteredAsync(scene, signature, isCompat, token)));
            }

            foreach (Gva function in compat.Where(function => !isNative || function != native).Distinct())
                places.Add((function, (scene, token) => catalog.EnteredAsync(scene, signature, isCompat: true, token)));
        }

        return places;
    }

    // long ia32_sys_call(const struct pt_regs *regs, unsigned int nr), where there is no table; before, the two that are called on entry.
    private IEnumerable<(Gva At, EventDecoder Decode)> AllOf32Bit()
    {
        if (_guest.Symbols.TryAddressOf("ia32_sys_call", out Gva dispatch))
            return [(dispatch, (scene, token) => AnyEnteredAsync(scene, (int)scene.Second, isCompat: true, token))];
        return CompatDoors.Where(name => _guest.Symbols.TryAddressOf(name, out _))
            .Select(name => (_guest.Symbols.AddressOf(name), new EventDecoder((scene, token) => AnyEnteredAsync(scene, null, isCompat: true, token))));
    }

    // long __x64_sys_NAME(const struct pt_regs *regs), and the same for __ia32_sys_NAME; null: whether the thread is in a 32-bit call is asked.
    private async ValueTask<GuestEvent?> EnteredAsync(EventScene scene, SyscallSignature signature, bool? isCompat, CancellationToken cancellation)
    {
        StructView registers = await RegistersAsync(scene, cancellation).ConfigureAwait(false);
        bool isNarrow = isCompat ?? await IsIn32BitCallAsync(scene, cancellation).ConfigureAwait(false);
        int number = isNarrow ? registers.Int32("orig_ax") : signature.Number;
        return new SyscallEntered(
            scene.Origin, number, signature.Name,
            await SyscallArguments.DecodeAsync(scene, signature, ValuesOf(registers, isNarrow), cancellation).ConfigureAwait(false))
        {
            Is32Bit = isNarrow,
        };
    }

    // void do_syscall_64(struct pt_regs *regs, int nr)
    private async ValueTask<GuestEvent?> AnyEnteredAsync(EventScene scene, int? number, bool isCompat, CancellationToken cancellation)
    {
        if (!isCompat)
        {
            SyscallSignature signature = _byNumber.GetValueOrDefault(number ?? -1) ?? new SyscallSignature(number ?? -1, $"syscall_{number}", null);
            return await EnteredAsync(scene, signature, isCompat: false, cancellation).ConfigureAwait(false);
        }

        // 32-bit calls have numbers of their own, and no kernel of today keeps a table of them.
        int called = number ?? (await RegistersAsync(scene, cancellation).ConfigureAwait(false)).Int32("orig_ax");
        return await EnteredAsync(scene, new SyscallSignature(called, $"syscall32_{called}", null), isCompat: true, cancellation).ConfigureAwait(false);
    }

    private ValueTask<StructView> RegistersAsync(EventScene scene, CancellationToken cancellation) =>
        scene.ReadStructAsync(_guest.Btf.StructOf("pt_regs"), new Gva(scene.First), cancellation);

    private async ValueTask<bool> IsIn32BitCallAsync(EventScene scene, CancellationToken cancellation)
    {
        BtfSlice slice = _guest.Btf.StructOf("task_struct").Slice("thread_info.status");
        StructView task = await scene.Memory.ReadSliceAsync(slice, scene.Origin.By.Task, cancellation).ConfigureAwait(false);
        return (task.Unsigned("thread_info.status") & Compat) != 0;
    }

    private static ulong[] ValuesOf(StructView registers, bool isNarrow)
    {
        string[] names = isNarrow ? ["bx", "cx", "dx", "si", "di", "bp"] : ["di", "si", "dx", "r10", "r8", "r9"];
        return [.. names.Select(name => isNarrow ? registers.UInt32(name) : registers.Unsigned(name))];
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
