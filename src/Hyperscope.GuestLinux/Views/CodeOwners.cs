namespace Hyperscope.GuestLinux;

/// <summary>Finds executable memory where modules are loaded that belongs to nobody.</summary>
/// <remarks>What is executable is taken from the page tables, which no rootkit can do without. Owners other than modules are those of Linux
/// 5.15 to 6.12: compiled BPF, the instruction slots of kprobes and trampolines of ftrace. Before 5.18 compiled classic filters (seccomp) are on no
/// list, and count as nobody's.</remarks>
internal sealed class CodeOwners(LinuxGuest guest, GuestReader reader, Walks walks)
{
    private const ulong MaxPack = 64 << 20; // of bpf_prog_pack: 2 MiB for each node

    private const int MaxThunkPages = 4096;

    /// <summary>What no module of these owns and nothing else does.</summary>
    public async ValueTask<List<KernelRange>> UnownedAsync(IReadOnlyList<LinuxModule> modules, CancellationToken cancellation)
    {
        List<KernelRange> code = Subtract(
            await MappedAsync(isExecutable: true, cancellation).ConfigureAwait(false),
            modules.SelectMany(static module => module.Ranges));
        if (code.Count != 0)
            code = Subtract(code, await OthersAsync(code, cancellation).ConfigureAwait(false));
        return Subtract(code, await ThunksAsync(code, cancellation).ConfigureAwait(false));
    }

    /// <summary>The mapped ranges where modules are loaded, neighbours joined.</summary>
    public async ValueTask<List<KernelRange>> MappedAsync(bool isExecutable, CancellationToken cancellation)
    {
        KernelRange area = guest.Layout.Modules;
        IReadOnlyList<MappedRange> all = [];
        try
        {
            all = await reader.MappingsAsync(area.Start, area.End, walks.MaxEntries, cancellation).ConfigureAwait(false);
        }
        catch (LinuxGuestException odd)
        {
            walks.CutOff(odd.Message, area.Start);
        }

        if (all.Count >= walks.MaxEntries)
            walks.CutOff($"there are more than {walks.MaxEntries} mappings where modules are loaded", all[^1].Start);
        return KernelRange.Join(all.Where(mapped => mapped.IsExecutable == isExecutable));
    }

    /// <summary>What is left of ranges, which ascend and do not overlap, when whole pages of others are taken out.</summary>
    public static List<KernelRange> Subtract(IEnumerable<KernelRange> from, IEnumerable<KernelRange> taken)
    {
        var holes = new List<(ulong Start, ulong End)>();
        foreach ((ulong first, ulong end) in taken
            .Select(static range => (Floor(range.Start.Value), Floor(range.End.Value + Gfn.PageSize - 1))).Order())
        {
            // Each is looked at once or twice only if no two overlap.
            if (holes.Count != 0 && first <= holes[^1].End)
                holes[^1] = (holes[^1].Start, Math.Max(holes[^1].End, end));
            else if (end > first)
                holes.Add((first, end));
        }

        var left = new List<KernelRange>();
        int hole = 0;
        foreach (KernelRange range in from)
        {
            ulong start = range.Start.Value;
            while (hole < holes.Count && holes[hole].End <= start)
                hole++;
            for (int next = hole; next < holes.Count && holes[next].Start < range.End.Value; next++)
            {
                Add(start, holes[next].Start);
                start = Math.Max(start, holes[next].End);
            }

            Add(start, range.End.Value);
        }

        return left;

        static ulong Floor(ulong address) => address & ~(ulong)(Gfn.PageSize - 1);

        void Add(ulong start, ulong end)
        {
            if (end > start)
                left.Add(new KernelRange(new Gva(start), new Gva(end)));
        }
    }

    private async ValueTask<List<KernelRange>> OthersAsync(List<KernelRange> code, CancellationToken cancellation)
    {
        var others = new List<KernelRange>();
        await AddListAsync("pack_list", 0, "bpf_prog_pack", "list", "BPF packs", Pack).ConfigureAwait(false);
        await AddListAsync("bpf_kallsyms", 0, "bpf_ksym", "lnode", "BPF images", static view => Between(view.Unsigned("start"), view.Unsigned("end")))
            .ConfigureAwait(false);
        int pages = guest.Btf.TryStructOf("kprobe_insn_cache", out BtfStruct? cache) ? cache.Offset("pages") : 0;
        await AddListAsync("kprobe_insn_slots", pages, "kprobe_insn_page", "list", "kprobe slots", Slots).ConfigureAwait(false);
        await AddListAsync("kprobe_optinsn_slots", pages, "kprobe_insn_page", "list", "kprobe slots", Slots).ConfigureAwait(false);
        await AddTrampolinesAsync().ConfigureAwait(false);
        return others;

        // A pack has no length: it is as long as its mapping.
        KernelRange Pack(StructView view)
        {
            Gva start = view.Pointer("ptr");
            KernelRange mapped = code.FirstOrDefault(range => range.Contains(start));
            return Between(start.Value, Math.Min(mapped.End.Value, start.Value + MaxPack));
        }

        static KernelRange Slots(StructView view) => Between(view.Unsigned("insns"), view.Unsigned("insns") + Gfn.PageSize);

        async ValueTask AddListAsync(string symbol, int head, string type, string link, string what, Func<StructView, KernelRange> range)
        {
            if (!guest.Symbols.TryAddressOf(symbol, out Gva list) || !guest.Btf.TryStructOf(type, out BtfStruct? item))
                return;
            var whole = new BtfSlice(item, 0, item.Size);
            foreach (Gva entry in await walks.ListAsync(list + (ulong)head, item.Offset(link), what, cancellation).ConfigureAwait(false))
            {
                if (await walks.TryReadAsync(whole, entry, $"one of the {what}", cancellation).ConfigureAwait(false) is { } view)
                    others.Add(range(view));
            }
        }

        async ValueTask AddTrampolinesAsync()
        {
            if (!guest.Symbols.TryAddressOf("ftrace_ops_list", out Gva list) || !guest.Btf.TryStructOf("ftrace_ops", out BtfStruct? type)
                || !type.Has("trampoline_size"))
            {
                return;
            }

            BtfSlice slice = type.Slice("trampoline", "trampoline_size");
            Gva first = await walks.PointerAsync(list, "the list of ftrace", cancellation).ConfigureAwait(false);
            foreach (Gva item in await walks.ChainAsync(first, type.Offset("next"), "ftrace users", cancellation).ConfigureAwait(false))
            {
                if (await walks.TryReadAsync(slice, item, "an ftrace user", cancellation).ConfigureAwait(false) is { } view)
                    others.Add(Between(view.Unsigned("trampoline"), view.Unsigned("trampoline") + view.Unsigned("trampoline_size")));
            }
        }
    }

    // Pages of jumps against indirect target selection (ITS) are on no list, so they are known by what is in them.
    private async ValueTask<List<KernelRange>> ThunksAsync(List<KernelRange> code, CancellationToken cancellation)
    {
        var thunks = new List<KernelRange>();
        byte[] page = new byte[Gfn.PageSize];
        int left = MaxThunkPages;
        foreach (KernelRange range in code)
        {
            for (Gva at = range.Start; at.Value < range.End.Value && left > 0; at += Gfn.PageSize, left--)
            {
                if (await reader.TryReadAsync(at, page, cancellation).ConfigureAwait(false) == page.Length && IsThunks(page))
                    thunks.Add(new KernelRange(at, at + Gfn.PageSize));
            }
        }

        return thunks;
    }

    /// <summary>Whether code is nothing but INT3 and jumps through a register: it does nothing of its own.</summary>
    internal static bool IsThunks(ReadOnlySpan<byte> code)
    {
        for (int at = 0; at < code.Length;)
        {
            if (code[at] == 0xcc)
            {
                at++;
                continue;
            }

            if (code[at] == 0x41) // r8 to r15
                at++;
            if (at + 2 > code.Length || code[at] != 0xff || (code[at + 1] & 0xf8) != 0xe0)
                return false;
            at += 2;
        }

        return true;
    }

    private static KernelRange Between(ulong start, ulong end) => end > start ? new KernelRange(new Gva(start), new Gva(end)) : default;
}
