namespace Hyperscope.GuestLinux;

/// <summary>Reads loaded modules.</summary>
internal sealed class ModuleReader(LinuxGuest guest, GuestReader reader, Walks walks)
{
    private const int MaxSize = 1 << 30;

    private static readonly string[] States = ["Live", "Loading", "Unloading", "Unformed"];

    private readonly BtfStruct _type = guest.Btf.StructOf("module");

    /// <summary>All modules: those of the list, and those that only the index of addresses or the tree of objects knows.</summary>
    public async Task<List<LinuxModule>> AllAsync(CancellationToken cancellation)
    {
        int link = _type.Offset("list");
        List<Gva> listed = await walks.ListAsync(guest.Symbols.AddressOf("modules"), link, "modules", cancellation).ConfigureAwait(false);
        (HashSet<ulong> Modules, bool IsKnown) indexed = await IndexedAsync(cancellation).ConfigureAwait(false);
        var found = new Dictionary<ulong, FoundIn>();
        foreach (Gva module in listed)
            found[module.Value] = indexed.IsKnown ? FoundIn.List : FoundIn.Both;
        foreach (ulong module in indexed.Modules)
            found[module] = found.GetValueOrDefault(module) | FoundIn.Index;
        await reader.PrefetchAsync(found.Keys.Select(module => (new Gva(module), _type.Size)), cancellation).ConfigureAwait(false);
        var modules = new List<LinuxModule>();
        foreach ((ulong address, FoundIn sources) in found)
        {
            try
            {
                modules.Add(Decode(await reader.ReadStructAsync(_type, new Gva(address), cancellation).ConfigureAwait(false), sources));
            }
            catch (GuestAddressException missing)
            {
                walks.CutOff("a module has no memory", missing.Gva);
            }
        }

        return modules;
    }

    // Two indexes: the tree that finds a module by an address in it, and the kobjects behind /sys/module.
    private async Task<(HashSet<ulong> Modules, bool IsKnown)> IndexedAsync(CancellationToken cancellation)
    {
        var modules = new HashSet<ulong>();
        bool isKnown = false;
        Btf btf = guest.Btf;
        if (guest.Symbols.TryAddressOf("mod_tree", out Gva tree) && btf.TryStructOf("mod_tree_root", out BtfStruct? root)
            && btf.TryStructOf("mod_tree_node", out BtfStruct? node))
        {
            isKnown = true;
            Gva top = await ReadAsync(tree + (ulong)root.Offset("root.tree"), cancellation).ConfigureAwait(false);
            int link = node.Offset("node.node"), owner = node.Offset("mod");
            foreach (Gva item in await walks.RedBlackAsync(top, "module addresses", cancellation).ConfigureAwait(false))
            {
                Gva module = await ReadAsync(new Gva(item.Value - (ulong)link + (ulong)owner), cancellation).ConfigureAwait(false);
                if (Walks.IsPointer(module))
                    modules.Add(module.Value);
            }
        }

        if (guest.Symbols.TryAddressOf("module_kset", out Gva kset) && btf.TryStructOf("module_kobject", out BtfStruct? holder))
        {
            Gva set = await ReadAsync(kset, cancellation).ConfigureAwait(false);
            if (Walks.IsPointer(set))
            {
                List<Gva> objects = await walks.ListAsync(
                    set + (ulong)btf.StructOf("kset").Offset("list"), holder.Offset("kobj.entry"), "module objects", cancellation).ConfigureAwait(false);
                foreach (Gva item in objects)
                {
                    Gva module = await ReadAsync(item + (ulong)holder.Offset("mod"), cancellation).ConfigureAwait(false);
                    if (Walks.IsPointer(module)) // built-in ones have none
                        modules.Add(module.Value);
                }
            }
        }

        return (modules, isKnown);
    }

    private async ValueTask<Gva> ReadAsync(Gva at, CancellationToken cancellation)
    {
        try
        {
            return await reader.ReadPointerAsync(at, cancellation).ConfigureAwait(false);
        }
        catch (GuestAddressException)
        {
            walks.CutOff("an index of modules leads to an address without memory", at);
            return default;
        }
    }

    private static LinuxModule Decode(StructView module, FoundIn found)
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
