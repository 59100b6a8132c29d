using System.Globalization;
using System.Runtime.Versioning;
using System.Text;

namespace Hyperscope.Machine.Tests;

public sealed class InitramfsBuilderTests
{
    [Fact]
    public void Entries_come_back_with_names_modes_and_contents()
    {
        byte[] archive = new InitramfsBuilder()
            .AddFile("/bin/busybox", [1, 2, 3, 4, 5], isExecutable: true)
            .AddLink("/bin/sh", "busybox")
            .AddText("/etc/motd", "hi")
            .AddCharacterDevice("/dev/console", 5, 1)
            .Build();
        Entry[] entries = [.. Parse(archive)];
        Assert.Equal(["bin", "bin/busybox", "bin/sh", "etc", "etc/motd", "dev", "dev/console"], entries.Select(entry => entry.Name));
        Assert.Equal(["41ed", "81ed", "a1ff", "41ed", "81a4", "41ed", "2180"], entries.Select(entry => entry.Mode.ToString("x", null)));
        Assert.Equal([1, 2, 3, 4, 5], entries[1].Contents);
        Assert.Equal("busybox", Encoding.UTF8.GetString(entries[2].Contents));
        Assert.Equal((5u, 1u), (entries[6].Major, entries[6].Minor));
        Assert.Equal(entries.Length, entries.Select(entry => entry.Inode).Distinct().Count());
        Assert.Equal(0, archive.Length % 512);
    }

    [Fact]
    public void Same_input_gives_the_same_bytes()
    {
        static byte[] Make() => new InitramfsBuilder().AddText("/a/b/c", "x").Build();
        Assert.Equal(Make(), Make());
    }

    [Theory]
    [InlineData("")]
    [InlineData("/")]
    [InlineData("a//b")]
    [InlineData("../x")]
    [InlineData("a/./b")]
    public void Paths_that_leave_the_archive_are_refused(string path) =>
        Assert.Throws<ArgumentException>(() => new InitramfsBuilder().AddText(path, ""));

    [Fact]
    public void A_name_is_taken_once_and_nothing_follows_the_end()
    {
        InitramfsBuilder archive = new InitramfsBuilder().AddText("/a", "");
        Assert.Throws<ArgumentException>(() => archive.AddText("/a", ""));
        archive.Build();
        Assert.Throws<InvalidOperationException>(() => archive.AddText("/b", ""));
        Assert.Equal(archive.Build(), archive.Build());
    }

    [Fact]
    public void Debian_archive_has_an_init_that_ends_in_power_off()
    {
        byte[] busybox = ElfBuilder.Build64(0x400000, (0x400000, [1], 1));
        Entry[] entries = [.. Parse(DebianInitramfs.Build(busybox, "echo hello"))];
        string init = Encoding.UTF8.GetString(entries.Single(entry => entry.Name == "init").Contents);
        Assert.StartsWith("#!/bin/busybox sh\n", init, StringComparison.Ordinal);
        Assert.Contains(DebianInitramfs.ReadyMarker, init, StringComparison.Ordinal);
        Assert.EndsWith("poweroff -f\n", init, StringComparison.Ordinal);
        Assert.DoesNotContain('\r', init);
        Assert.Contains("echo hello", Encoding.UTF8.GetString(entries.Single(entry => entry.Name == "etc/hyperscope-run").Contents), StringComparison.Ordinal);
        Assert.Throws<ImageFormatException>(() => DebianInitramfs.Build("#!/bin/sh"u8));
    }

    [Fact]
    [SupportedOSPlatform("linux")]
    public void Files_and_folders_of_the_host_are_added_with_their_right_to_be_executed()
    {
        string folder = Directory.CreateTempSubdirectory("initramfs").FullName;
        try
        {
            Directory.CreateDirectory(Path.Combine(folder, "sub"));
            File.WriteAllText(Path.Combine(folder, "sub", "tool"), "#!/bin/sh");
            File.SetUnixFileMode(Path.Combine(folder, "sub", "tool"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
            File.WriteAllText(Path.Combine(folder, "data"), "xyz");
            byte[] busybox = ElfBuilder.Build64(0x400000, (0x400000, [1], 1));
            IEnumerable<InitramfsFile> files = [.. InitramfsFile.From(folder, "/opt/"), .. InitramfsFile.From(Path.Combine(folder, "data"))];
            Entry[] entries = [.. Parse(DebianInitramfs.Build(busybox, files: files))];
            Assert.Equal(["opt/data:81a4", "opt/sub/tool:81ed", "data:81a4"],
                entries.SkipWhile(static entry => entry.Name != "opt").Where(static entry => (entry.Mode & 0x8000) != 0)
                    .Select(static entry => $"{entry.Name}:{entry.Mode:x}"));
            Assert.Equal("xyz"u8, entries[^1].Contents);
            Assert.Throws<ArgumentException>(() => DebianInitramfs.Build(busybox, files: InitramfsFile.From(folder, "/bin/../x")));
            Assert.Throws<ArgumentException>(() => DebianInitramfs.Build(busybox, files: InitramfsFile.From(Path.Combine(folder, "data"), "/init")));
            Assert.Contains("nothing-here", Assert.Throws<FileNotFoundException>(() => InitramfsFile.From("/nothing-here")).Message, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static IEnumerable<Entry> Parse(byte[] archive)
    {
        int at = 0;
        while (true)
        {
            Assert.Equal("070701", Encoding.ASCII.GetString(archive, at, 6));
            uint Field(int index) => uint.Parse(Encoding.ASCII.GetString(archive, at + 6 + (8 * index), 8), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            int nameLength = (int)Field(11);
            int length = (int)Field(6);
            string name = Encoding.UTF8.GetString(archive, at + 110, nameLength - 1);
            if (name == "TRAILER!!!")
                yield break;
            int contents = (at + 110 + nameLength + 3) & ~3;
            yield return new Entry(name, Field(0), Field(1), Field(9), Field(10), archive[contents..(contents + length)]);
            at = (contents + length + 3) & ~3;
        }
    }

    private sealed record Entry(string Name, uint Inode, uint Mode, uint Major, uint Minor, byte[] Contents);
}
