using Hyperscope.Vm;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>File tables that are longer than they can be.</summary>
public sealed class OpenFilesTests
{
    private const ulong Files = 0x1a00000, Table = 0x1a01000, File = 0x1a02000, Pointers = 0x1a10000;

    private readonly SyntheticGuest _synthetic = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private FlatMemory Memory => _synthetic.Memory;

    [Theory]
    [InlineData(400, 400, null)]
    [InlineData(600, 500, "more than 500 open files")]
    public async Task Open_files_are_as_many_as_are_taken(int open, int taken, string? said)
    {
        for (int i = 0; i < open; i++)
            Memory.Write(Pointers + ((ulong)i * 8), SyntheticGuest.Direct(File));
        GuestList<LinuxFile> files = await FilesAsync(descriptors: 1024);
        Assert.Equal(taken, files.Count);
        Assert.Equal(said is null, files.Truncation is null);
        Assert.Contains(said ?? "", files.Truncation?.Reason ?? "", StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_table_of_more_descriptors_than_all_may_have_is_cut_off()
    {
        GuestList<LinuxFile> files = await FilesAsync(descriptors: 64 * 500 + 1);
        Assert.Empty(files);
        Assert.Contains("more than 32000 descriptors", files.Truncation!.Reason, StringComparison.Ordinal);
    }

    private async Task<GuestList<LinuxFile>> FilesAsync(int descriptors)
    {
        Memory.Write(Files, SyntheticGuest.Direct(Table));
        Memory.Write(Table, (ulong)descriptors);
        Memory.Write(Table + 8, SyntheticGuest.Direct(Pointers));
        var b = new BtfBuilder();
        b.Struct("files_struct", 8, ("fdt", b.Void, 0));
        b.Struct("fdtable", 16, ("max_fds", b.Int32, 0), ("fd", b.Void, 8));
        int path = b.Struct("path", 16, ("mnt", b.Void, 0), ("dentry", b.Void, 8));
        b.Struct("file", 64, ("f_path", path, 0), ("f_inode", b.Void, 16), ("f_flags", b.Int32, 24), ("f_pos", b.Int64, 32), ("f_op", b.Void, 40), ("private_data", b.Void, 48));
        b.Struct("inode", 32, ("i_ino", b.Int64, 0), ("i_sb", b.Void, 8), ("i_mode", b.Int16, 16));
        int name = b.Struct("qstr", 16, ("len", b.Int32, 4), ("name", b.Void, 8));
        b.Struct("dentry", 64, ("d_name", name, 0), ("d_parent", b.Void, 16), ("d_inode", b.Void, 24), ("d_hash", b.Void, 32), ("d_sb", b.Void, 40));
        int mnt = b.Struct("vfsmount", 8, ("mnt_root", b.Void, 0));
        b.Struct("mount", 32, ("mnt_parent", b.Void, 0), ("mnt_mountpoint", b.Void, 8), ("mnt", mnt, 16));
        b.Struct("super_block", 16, ("s_type", b.Void, 0));
        b.Struct("file_system_type", 8, ("name", b.Void, 0));
        LinuxGuest guest = await _synthetic.AttachAsync(b);
        LinuxProcess process = (await (await _synthetic.AttachAsync()).ProcessesAsync(Cancel))[0];
        return await guest.FilesAsync(process with { Files = new Gva(SyntheticGuest.Direct(Files)) }, Cancel);
    }
}
