namespace Hyperscope.GuestLinux;

/// <summary>Reads memory maps and open files of a process.</summary>
internal sealed class ProcessMemoryReader(LinuxGuest guest, GuestReader reader, Walks walks)
{
    private const ulong MayRead = 1, MayWrite = 2, MayExecute = 4, Shared = 8;
    private const int MaxDescriptors = 1 << 20;

    private readonly Btf _btf = guest.Btf;
    private readonly PathReader _paths = new(guest, reader);
    private int _filesLeft = walks.MaxEntries; // in all tables together
    private long _slotsLeft = 64L * walks.MaxEntries; // most of a table is empty

    public PathReader Paths => _paths;

    /// <summary>The ranges of an address space, in order of addresses.</summary>
    public async Task<List<LinuxMapping>> MapsAsync(Gva mm, CancellationToken cancellation)
    {
        var mappings = new List<LinuxMapping>();
        if (!Walks.IsPointer(mm))
            return mappings;
        BtfStruct space = _btf.StructOf("mm_struct"), area = _btf.StructOf("vm_area_struct");
        StructView memory = await reader.ReadSliceAsync(
            space.Slice("mm_mt", "mmap", "start_brk", "brk", "start_stack", "context.vdso"), mm, cancellation).ConfigureAwait(false);
        BtfSlice slice = area.Slice("vm_start", "vm_end", "vm_flags", "vm_pgoff", "vm_file", "vm_ops", "vm_private_data", "vm_next");
        List<Gva> areas = memory.Has("mm_mt")
            ? await walks.MapleAsync(memory.AddressOf("mm_mt"), "memory areas", cancellation).ConfigureAwait(false)
            : await walks.ChainAsync(memory.Pointer("mmap"), area.Offset("vm_next"), "memory areas", cancellation).ConfigureAwait(false);
        await reader.PrefetchAsync(areas.Select(item => (item + (ulong)slice.Offset, slice.Length)), cancellation).ConfigureAwait(false);
        foreach (Gva address in areas)
        {
            try
            {
                StructView view = await reader.ReadSliceAsync(slice, address, cancellation).ConfigureAwait(false);
                mappings.Add(await DecodeAsync(view, memory, cancellation).ConfigureAwait(false));
            }
            catch (GuestAddressException missing)
            {
                walks.CutOff("a memory area has no memory", missing.Gva);
            }
        }

        return mappings;
    }

    /// <summary>The path of the program that an address space was made for; null: there is none.</summary>
    public async Task<string?> ProgramAsync(Gva mm, CancellationToken cancellation)
    {
        if (!Walks.IsPointer(mm))
            return null;
        Gva file = await reader.ReadPointerAsync(mm + (ulong)_btf.StructOf("mm_struct").Offset("exe_file"), cancellation).ConfigureAwait(false);
        if (!Walks.IsPointer(file))
            return null;
        return await _paths.OfFileAsync(await reader.ReadSliceAsync(_paths.File, file, cancellation).ConfigureAwait(false), cancellation).ConfigureAwait(false);
    }

    /// <summary>The open files of a process.</summary>
    public async Task<List<LinuxFile>> FilesAsync(Gva files, CancellationToken cancellation)
    {
        var open = new List<LinuxFile>();
        foreach ((int descriptor, StructView file) in await DescriptorsAsync(files, cancellation).ConfigureAwait(false))
        {
            ulong inode = await InodeAsync(file, cancellation).ConfigureAwait(false);
            open.Add(new LinuxFile(
                descriptor, file.Address, await _paths.OfFileAsync(file, cancellation).ConfigureAwait(false), file.UInt32("f_flags"), file.Unsigned("f_pos"), inode));
        }

        return open;
    }

    /// <summary>The open <c>struct file</c>s of a process.</summary>
    public async Task<List<(int Descriptor, StructView File)>> DescriptorsAsync(Gva files, CancellationToken cancellation)
    {
        var open = new List<(int, StructView)>();
        if (!Walks.IsPointer(files))
            return open;
        try
        {
            BtfStruct type = _btf.StructOf("fdtable");
            Gva table = await reader.ReadPointerAsync(files + (ulong)_btf.StructOf("files_struct").Offset("fdt"), cancellation).ConfigureAwait(false);
            StructView descriptors = await reader.ReadStructAsync(type, table, cancellation).ConfigureAwait(false);
            uint count = descriptors.UInt32("max_fds");
            if (count > MaxDescriptors)
            {
                walks.CutOff($"a file table claims {count} descriptors", table);
                count = 1024;
            }

            if (count > _slotsLeft)
            {
                walks.CutOff($"file tables of more than {64L * walks.MaxEntries} descriptors", table);
                count = (uint)_slotsLeft;
            }

            _slotsLeft -= count;
            byte[] pointers = new byte[count * 8];
            int length = await reader.TryReadAsync(descriptors.Pointer("fd"), pointers, cancellation).ConfigureAwait(false);
            var handles = new List<(int Descriptor, Gva File)>();
            for (int i = 0; i < length / 8; i++)
            {
                var file = new Gva(BinaryPrimitives.ReadUInt64LittleEndian(pointers.AsSpan(i * 8)));
                if (!Walks.IsPointer(file))
                    continue;
                if (_filesLeft == 0)
                {
                    walks.CutOff($"there are more than {walks.MaxEntries} open files", table);
                    break;
                }

                _filesLeft--;
                handles.Add((i, file));
            }

            await _paths.PrefetchAsync([.. handles.Select(static handle => handle.File)], cancellation).ConfigureAwait(false);
            foreach ((int descriptor, Gva file) in handles)
            {
                if (await walks.TryReadAsync(_paths.File, file, "an open file", cancellation).ConfigureAwait(false) is { } view)
                    open.Add((descriptor, view));
            }
        }
        catch (GuestAddressException missing)
        {
            walks.CutOff("a file table has no memory", missing.Gva);
        }

        return open;
    }

    private async ValueTask<ulong> InodeAsync(StructView file, CancellationToken cancellation)
    {
        try
        {
            return await reader.ReadUInt64Async(file.Pointer("f_inode") + (ulong)_paths.Inode.Type.Offset("i_ino"), cancellation).ConfigureAwait(false);
        }
        catch (GuestAddressException)
        {
            return 0;
        }
    }

    private async ValueTask<LinuxMapping> DecodeAsync(StructView area, StructView memory, CancellationToken cancellation)
    {
        ulong flags = area.Unsigned("vm_flags");
        Gva start = area.Pointer("vm_start"), end = area.Pointer("vm_end");
        PageAccess access = ((flags & MayRead) != 0 ? PageAccess.Read : PageAccess.None) | ((flags & MayWrite) != 0 ? PageAccess.Write : PageAccess.None)
            | ((flags & MayExecute) != 0 ? PageAccess.Execute : PageAccess.None);
        Gva file = area.Pointer("vm_file");
        if (!Walks.IsPointer(file))
        {
            string name = await NameOfAnonymousAsync(area, memory, cancellation).ConfigureAwait(false);
            return new LinuxMapping(start, end, access, (flags & Shared) != 0, 0, "00:00", 0, name);
        }

        StructView view = await reader.ReadSliceAsync(_paths.File, file, cancellation).ConfigureAwait(false);
        string path = await _paths.OfFileAsync(view, cancellation).ConfigureAwait(false);
        StructView inode = await reader.ReadSliceAsync(_paths.Inode, view.Pointer("f_inode"), cancellation).ConfigureAwait(false);
        uint device = await reader.ReadUInt32Async(inode.Pointer("i_sb") + (ulong)_btf.StructOf("super_block").Offset("s_dev"), cancellation)
            .ConfigureAwait(false);
        return new LinuxMapping(start, end, access, (flags & Shared) != 0, area.Unsigned("vm_pgoff") << Gfn.PageShift, $"{device >> 20:x2}:{device & 0xfffff:x2}",
            inode.Unsigned("i_ino"), path);
    }

    private async ValueTask<string> NameOfAnonymousAsync(StructView area, StructView memory, CancellationToken cancellation)
    {
        Gva start = area.Pointer("vm_start"), end = area.Pointer("vm_end");
        if (guest.Symbols.TryAddressOf("special_mapping_vmops", out Gva special) && area.Pointer("vm_ops") == special
            && _btf.TryStructOf("vm_special_mapping", out BtfStruct? mapping))
        {
            Gva name = await reader.ReadPointerAsync(area.Pointer("vm_private_data") + (ulong)mapping.Offset("name"), cancellation).ConfigureAwait(false);
            return await reader.ReadCStringAsync(name, 32, cancellation).ConfigureAwait(false);
        }

        if (memory.Has("context.vdso") && memory.Pointer("context.vdso") == start)
            return "[vdso]";
        if (start.Value < memory.Unsigned("brk") && end.Value > memory.Unsigned("start_brk"))
            return "[heap]";
        ulong stack = memory.Unsigned("start_stack");
        return start.Value <= stack && end.Value >= stack ? "[stack]" : "";
    }
}
