using System.Text;

namespace Hyperscope.GuestLinux;

/// <summary>Turns directory entries into paths, from the first mount of the namespace on.</summary>
internal sealed class PathReader
{
    private const int MaxParts = 256, MaxName = 255;

    private readonly GuestReader _reader;
    private readonly BtfSlice _dentry, _mount, _file, _inode;
    private readonly BtfStruct _superBlock, _fileSystem;
    private readonly int _vfsMount;
    private readonly Dictionary<(ulong Mount, ulong Dentry), string> _known = [];

    public PathReader(LinuxGuest guest, GuestReader reader)
    {
        _reader = reader;
        Btf btf = guest.Btf;
        _dentry = btf.StructOf("dentry").Slice("d_name", "d_parent", "d_inode", "d_hash", "d_sb");
        BtfStruct mount = btf.StructOf("mount");
        _mount = mount.Slice("mnt_parent", "mnt_mountpoint", "mnt");
        _vfsMount = mount.Offset("mnt");
        _file = btf.StructOf("file").Slice("f_path", "f_inode", "f_flags", "f_pos", "f_op", "private_data");
        _inode = btf.StructOf("inode").Slice("i_ino", "i_sb", "i_mode");
        _superBlock = btf.StructOf("super_block");
        _fileSystem = btf.StructOf("file_system_type");
    }

    public BtfSlice File => _file;

    public BtfSlice Inode => _inode;

    /// <summary>Fetches what the paths of these files start with.</summary>
    public async ValueTask PrefetchAsync(IReadOnlyList<Gva> files, CancellationToken cancellation)
    {
        await _reader.PrefetchAsync(files.Select(file => (file + (ulong)_file.Offset, _file.Length)), cancellation).ConfigureAwait(false);
        var ranges = new List<(Gva, int)>();
        foreach (Gva file in files)
        {
            try
            {
                StructView view = await _reader.ReadSliceAsync(_file, file, cancellation).ConfigureAwait(false);
                ranges.Add((view.Pointer("f_path.dentry"), _dentry.Offset + _dentry.Length));
                ranges.Add((view.Pointer("f_inode"), _inode.Offset + _inode.Length));
            }
            catch (GuestAddressException)
            {
                continue; // said by whoever reads the file
            }
        }

        await _reader.PrefetchAsync(ranges, cancellation).ConfigureAwait(false);
    }

    /// <summary>The path of a <c>struct file</c>.</summary>
    public ValueTask<string> OfFileAsync(StructView file, CancellationToken cancellation) =>
        OfAsync(file.Pointer("f_path.mnt"), file.Pointer("f_path.dentry"), cancellation);

    /// <summary>The path of a directory entry in a mount. Broken chains end in <c>...</c>.</summary>
    public async ValueTask<string> OfAsync(Gva vfsMount, Gva dentry, CancellationToken cancellation)
    {
        if (_known.TryGetValue((vfsMount.Value, dentry.Value), out string? known))
            return known;
        string path;
        try
        {
            path = await WalkAsync(vfsMount, dentry, cancellation).ConfigureAwait(false);
        }
        catch (GuestAddressException missing)
        {
            path = $"...?[{missing.Gva}]";
        }

        _known[(vfsMount.Value, dentry.Value)] = path;
        return path;
    }

    private async ValueTask<string> WalkAsync(Gva vfsMount, Gva dentry, CancellationToken cancellation)
    {
        StructView entry = await _reader.ReadSliceAsync(_dentry, dentry, cancellation).ConfigureAwait(false);
        if (await SpecialNameAsync(entry, cancellation).ConfigureAwait(false) is { } special)
            return special;
        bool isDeleted = entry.Pointer("d_hash.pprev").Value == 0 && entry.Pointer("d_parent") != dentry;
        var parts = new List<string>();
        var mount = new Gva(vfsMount.Value - (ulong)_vfsMount);
        StructView at = await _reader.ReadSliceAsync(_mount, mount, cancellation).ConfigureAwait(false);
        Gva root = at.Pointer("mnt.mnt_root");
        for (int count = 0; count < MaxParts; count++)
        {
            if (dentry == root)
            {
                Gva parent = at.Pointer("mnt_parent");
                if (parent == mount)
                    return Join(parts, "", isDeleted);
                dentry = at.Pointer("mnt_mountpoint");
                mount = parent;
                at = await _reader.ReadSliceAsync(_mount, mount, cancellation).ConfigureAwait(false);
                root = at.Pointer("mnt.mnt_root");
                continue;
            }

            entry = await _reader.ReadSliceAsync(_dentry, dentry, cancellation).ConfigureAwait(false);
            parts.Add(await NameOfAsync(entry, cancellation).ConfigureAwait(false));
            Gva above = entry.Pointer("d_parent");
            if (above == dentry)
                return Join(parts, "(unreachable)", isDeleted);
            dentry = above;
        }

        return Join(parts, "...", isDeleted);
    }

    private static string Join(List<string> parts, string start, bool isDeleted)
    {
        var path = new StringBuilder(start);
        for (int i = parts.Count - 1; i >= 0; i--)
            path.Append('/').Append(parts[i]);
        if (parts.Count == 0)
            path.Append('/');
        return path.Append(isDeleted ? " (deleted)" : "").ToString();
    }

    private async ValueTask<string> NameOfAsync(StructView dentry, CancellationToken cancellation)
    {
        uint length = dentry.UInt32("d_name.len");
        return await _reader.ReadCStringAsync(dentry.Pointer("d_name.name"), (int)Math.Clamp(length, 1, MaxName), cancellation).ConfigureAwait(false);
    }

    // File systems that nobody can mount give their files names of their own.
    private async ValueTask<string?> SpecialNameAsync(StructView dentry, CancellationToken cancellation)
    {
        Gva type = await _reader.ReadPointerAsync(dentry.Pointer("d_sb") + (ulong)_superBlock.Offset("s_type"), cancellation).ConfigureAwait(false);
        Gva name = await _reader.ReadPointerAsync(type + (ulong)_fileSystem.Offset("name"), cancellation).ConfigureAwait(false);
        string fileSystem = await _reader.ReadCStringAsync(name, 32, cancellation).ConfigureAwait(false);
        switch (fileSystem)
        {
            case "sockfs" or "pipefs":
                Gva inode = dentry.Pointer("d_inode");
                ulong number = await _reader.ReadUInt64Async(inode + (ulong)_inode.Type.Offset("i_ino"), cancellation).ConfigureAwait(false);
                return $"{(fileSystem == "sockfs" ? "socket" : "pipe")}:[{number}]";
            case "anon_inodefs":
                return $"anon_inode:{await NameOfAsync(dentry, cancellation).ConfigureAwait(false)}";
            default:
                return null;
        }
    }
}
