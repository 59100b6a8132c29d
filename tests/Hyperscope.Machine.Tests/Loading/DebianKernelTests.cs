namespace Hyperscope.Machine.Tests;

/// <summary>The real kernel and busybox, where Debian's packages are installed or unpacked below HYPERSCOPE_DEBIAN_ROOT.</summary>
public sealed class DebianKernelTests
{
    private static readonly string Root = Environment.GetEnvironmentVariable("HYPERSCOPE_DEBIAN_ROOT") ?? "/";

    [Theory]
    [InlineData(LinuxEntry.Long)]
    [InlineData(LinuxEntry.Pvh)]
    [InlineData(LinuxEntry.Protected)]
    public void Cloud_kernel_loads_through_every_entry(LinuxEntry entry)
    {
        byte[] image = File.ReadAllBytes(Find("boot", "vmlinuz-*cloud-amd64", "linux-image-cloud-amd64"));
        var options = new LinuxBootOptions { Memory = new GuestMemoryMap(512UL << 20), CommandLine = "console=ttyS0", Entry = entry };
        BootImage boot = LinuxLoader.Load(image, options);
        Assert.Contains(boot.Pieces, piece => boot.Registers.Rip - piece.Address.Value < (ulong)piece.Bytes.Length);
        if (entry != LinuxEntry.Protected)
            Assert.Equal(0x1000000ul, boot.Pieces[0].Address.Value);
    }

    [Fact]
    public void Busybox_becomes_an_initial_RAM_disk()
    {
        byte[] busybox = File.ReadAllBytes(Find("bin", "busybox", "busybox-static"));
        byte[] archive = DebianInitramfs.Build(busybox);
        Assert.InRange(archive.Length, busybox.Length, busybox.Length + 4096);
    }

    private static string Find(string folder, string pattern, string package)
    {
        string path = Path.Combine(Root, folder);
        string? found = Directory.Exists(path) ? Directory.GetFiles(path, pattern).Order(StringComparer.Ordinal).LastOrDefault() : null;
        Assert.SkipWhen(found is null, $"needs Debian's package {package} below {Root}");
        return found!;
    }
}
