namespace Hyperscope.GuestLinux;

/// <summary>Reads loaded modules.</summary>
internal sealed class ModuleReader(LinuxGuest guest, GuestReader reader, Walks walks)
{
    private const int MaxSize = 1 << 30, Live = 0;

    private const long MaxCarved = 64 << 20;

    private static readonly string[] States = ["Live", "Loading", "Unloading", "Unformed"];

    private readonly BtfStruct _type = guest.Btf.StructOf("module");

    private readonly BtfSlice _whole = new(guest.Btf.StructOf("module"), 0, guest.Btf.StructOf("module").Size);

    /// <summary>All modules: those of the list, those that only the tree of addresses or the objects know, and those that nothing knows but
    /// whose code is there.</summary>
    /// <returns>The modules, and executable memory that belongs to none of them and to nothing else.</returns>
    public async Task<(List<LinuxModule> Modules, List<KernelRange> Unowned)> AllAsync(CancellationToken cancellation)
    {
        int link = _type.Offset("list");
        var found = new Dictionary<ulong, ModuleSources>();
        foreach (Gva module in await walks.ListAsync(guest.Symbols.AddressOf("modules"), link, "modules", cancellation).ConfigureAwait(false))
            found[module.Value] = ModuleSources.List;
        ModuleSources known = ModuleSources.List | await AddIndexedAsync(found, cancellation).ConfigureAwait(false);
        await reader.PrefetchAsync(found.Keys.Select(module => (new Gva(module), _type.Size)), cancellation).ConfigureAwait(false);
        var modules = new List<LinuxModule>();
        foreach ((ulong address, ModuleSources sources) in found)
        {
            if (await walks.TryReadAsync(_whole, new Gva(address), "a module", cancellation).ConfigureAwait(false) is { } view)
                modules.Add(Decode(view, sources, known));
        }

        var owners = new CodeOwners(guest, reader, walks);
        List<KernelRange> unowned = await owners.UnownedAsync(modules, cancellation).ConfigureAwait(false);
        if (unowned.Count != 0)
        {
            List<KernelRange> data = CodeOwners.Subtract(
                await owners.MappedAsync(isExecutable: false, cancellation).ConfigureAwait(false), modules.SelectMany(static module => module.Ranges));
            List<LinuxModule> lost = await CarveAsync(unowned, data, known, cancellation).ConfigureAwait(false);
            modules.AddRange(lost);
            unowned = CodeOwners.Subtract(unowned, lost.SelectMany(static module => module.Ranges));
        }

        return (modules, unowned);
    }

    /// <summary>The module with this <c>struct module</c>. Where it is known is not looked up.</summary>
    public async ValueTask<LinuxModule> AtAsync(Gva address, CancellationToken cancellation) =>
        Decode(await reader.ReadSliceAsync(_whole, address, cancellation).ConfigureAwait(false), ModuleSources.None, ModuleSources.None);

    // A struct module lies in its module's own data and says where the code starts, so it is found from code that nobody knows.
    private async Task<List<LinuxModule>> CarveAsync(
        List<KernelRange> code, List<KernelRange> data, ModuleSources known, CancellationToken cancellation)
    {
        HashSet<ulong> starts = [.. code.Select(static range => range.Start.Value)];
        int start = _type.TryMember("mem", out BtfMember? memory)
            ? memory.Offset + (memory.Type.Target.Struct?.Offset("base") ?? 0)
            : _type.Offset("core_layout.base");
        var modules = new List<LinuxModule>();
        long left = MaxCarved;
        int candidates = 0;
        foreach (KernelRange range in data)
        {
            byte[] bytes = new byte[(int)Math.Min((long)range.Length, left)];
            left -= bytes.Length;
            await reader.ReadBulkAsync(range.Start, bytes, cancellation).ConfigureAwait(false);
            for (int at = start & 7; at + 8 <= bytes.Length; at += 8)
            {
                if (!starts.Contains(BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(at))))
                    continue;
                var address = new Gva(range.Start.Value + (ulong)at - (ulong)start);
                if (candidates++ == walks.MaxEntries)
                {
                    walks.CutOff($"more than {walks.MaxEntries} places look like hidden modules", address);
                    return modules;
                }

                if (await walks.TryReadAsync(_whole, address, "what looks like a module", cancellation).ConfigureAwait(false) is not { } view)
                    continue;
                LinuxModule module = Decode(view, ModuleSources.Memory, known);
                if (module.Contains(address) && IsName(module.Name))
                    modules.Add(module);
            }
        }

        if (left == 0)
            walks.CutOff($"more than {MaxCarved >> 20} MiB would have to be searched for hidden modules", data[^1].Start);
        return modules;
    }

    private static bool IsName(string name) =>
        name.Length != 0 && name.All(static letter => char.IsAsciiLetterOrDigit(letter) || letter is '_' or '-');

    // Two indexes: the tree that finds a module by an address in it, and the kobjects behind /sys/module.
    private async Task<ModuleSources> AddIndexedAsync(Dictionary<ulong, ModuleSources> found, CancellationToken cancellation)
    {
        var known = ModuleSources.None;
        Btf btf = guest.Btf;
        if (guest.Symbols.TryAddressOf("mod_tree", out Gva tree) && btf.TryStructOf("mod_tree_root", out BtfStruct? root)
            && btf.TryStructOf("mod_tree_node", out BtfStruct? node))
        {
            known |= ModuleSources.Tree;
            const string What = "the tree of module addresses";
            Gva top = await walks.PointerAsync(tree + (ulong)root.Offset("root.tree"), What, cancellation).ConfigureAwait(false);
            int link = node.Offset("node.node"), owner = node.Offset("mod");
            foreach (Gva item in await walks.RedBlackAsync(top, "module addresses", cancellation).ConfigureAwait(false))
                Add(await walks.PointerAsync(new Gva(item.Value - (ulong)link + (ulong)owner), What, cancellation).ConfigureAwait(false), ModuleSources.Tree);
        }

        if (guest.Symbols.TryAddressOf("module_kset", out Gva kset) && btf.TryStructOf("module_kobject", out BtfStruct? holder))
        {
            const string What = "the list of module objects";
            Gva set = await walks.PointerAsync(kset, What, cancellation).ConfigureAwait(false);
            if (Walks.IsPointer(set))
            {
                known |= ModuleSources.Objects;
                List<Gva> objects = await walks.ListAsync(
                    set + (ulong)btf.StructOf("kset").Offset("list"), holder.Offset("kobj.entry"), "module objects", cancellation).ConfigureAwait(false);
                foreach (Gva item in objects) // built-in ones have no struct module
                    Add(await walks.PointerAsync(item + (ulong)holder.Offset("mod"), What, cancellation).ConfigureAwait(false), ModuleSources.Objects);
            }
        }

        return known;

        void Add(Gva module, ModuleSources source)
        {
            if (Walks.IsPointer(module))
                found[module.Value] = found.GetValueOrDefault(module.Value) | source;
        }
    }

    private static LinuxModule Decode(StructView module, ModuleSources found, ModuleSources known)
    {
        List<(ModulePart, KernelRange)> parts = module.Has("mem") ? PartsFrom64(module) : PartsBefore64(module);
        ulong size = 0;
        foreach ((ModulePart _, KernelRange range) in parts)
            size += range.Length;
        uint state = module.UInt32("state");
        return new LinuxModule
        {
            Address = module.Address,
            Name = module.Text("name"),
            State = state < States.Length ? States[state] : $"{state}",
            Size = size,
            References = module.Has("refcnt") ? module.Int32("refcnt") - 1 : 0, // the kernel's own one
            Parts = parts,
            Found = found,
            Missing = known & ~found & (state == Live ? ~ModuleSources.None : ~ModuleSources.Objects), // objects come late and go early
        };
    }

    // 6.4 and later: an array of parts, indexed by enum mod_mem_type.
    private static List<(ModulePart, KernelRange)> PartsFrom64(StructView module)
    {
        var parts = new List<(ModulePart, KernelRange)>();
        BtfMember memory = module.Type.Member("mem");
        ReadOnlySpan<byte> bytes = module.Bytes("mem");
        BtfStruct item = memory.Type.Target.Struct ?? throw new LinuxGuestException("BTF: mem of struct module is no array of structures");
        int start = item.Offset("base"), size = item.Offset("size");
        for (int i = 0; item.Size > 0 && (i + 1) * item.Size <= bytes.Length; i++)
        {
            ReadOnlySpan<byte> one = bytes.Slice(i * item.Size, item.Size);
            Add(parts, i <= (int)ModulePart.RodataAfterInit ? (ModulePart)i : ModulePart.Init,
                BinaryPrimitives.ReadUInt64LittleEndian(one[start..]), BinaryPrimitives.ReadUInt32LittleEndian(one[size..]));
        }

        return parts;
    }

    // Before: text, constants, constants after init and variables one after the other.
    private static List<(ModulePart, KernelRange)> PartsBefore64(StructView module)
    {
        var parts = new List<(ModulePart, KernelRange)>();
        StructView core = module.Struct("core_layout");
        ulong start = core.Unsigned("base");
        uint text = core.UInt32("text_size"), constant = core.UInt32("ro_size"), late = core.UInt32("ro_after_init_size"), all = core.UInt32("size");
        if (text <= constant && constant <= late && late <= all)
        {
            Add(parts, ModulePart.Text, start, text);
            Add(parts, ModulePart.Rodata, start + text, constant - text);
            Add(parts, ModulePart.RodataAfterInit, start + constant, late - constant);
            Add(parts, ModulePart.Data, start + late, all - late);
        }
        else
        {
            Add(parts, ModulePart.Data, start, all);
        }

        StructView init = module.Struct("init_layout");
        Add(parts, ModulePart.Init, init.Unsigned("base"), init.UInt32("size"));
        return parts;
    }

    private static void Add(List<(ModulePart, KernelRange)> parts, ModulePart part, ulong start, uint size)
    {
        if (size is > 0 and < MaxSize && (long)start < 0 && start + size > start)
            parts.Add((part, new KernelRange(new Gva(start), new Gva(start + size))));
    }
}
