using Hyperscope.Machine;

namespace Hyperscope.Cli.Running;

/// <summary>The guest of <c>--boot debian</c>: a kernel package of Debian and busybox, wherever they were unpacked.</summary>
internal static class DebianGuest
{
    /// <summary>Where the packages were unpacked; the root directory unless set.</summary>
    public const string RootVariable = "HYPERSCOPE_DEBIAN_ROOT";

    private static readonly string[] BusyboxNames = ["bin/busybox", "usr/bin/busybox"];

    /// <summary>Finds the newest kernel and makes the initial RAM disk.</summary>
    /// <param name="added">What else goes into the RAM disk.</param>
    /// <exception cref="CliException">A package, or a file to add, is missing.</exception>
    public static (FileInfo Kernel, ReadOnlyMemory<byte> Initrd) Find(IReadOnlyList<AddedFile> added)
    {
        string root = Environment.GetEnvironmentVariable(RootVariable) ?? "/";
        string boot = Path.Combine(root, "boot");
        string? kernel = Directory.Exists(boot)
            ? Directory.GetFiles(boot, "vmlinuz-*-cloud-amd64").Concat(Directory.GetFiles(boot, "vmlinuz-*-amd64"))
                .OrderByDescending(static name => name.Contains("cloud", StringComparison.Ordinal)).ThenByDescending(static name => name, StringComparer.Ordinal)
                .FirstOrDefault()
            : null;
        string? busybox = BusyboxNames.Select(name => Path.Combine(root, name)).FirstOrDefault(File.Exists);
        if (kernel is null || busybox is null)
        {
            throw new CliException($"no Debian kernel or busybox below {root}; try: apt-get install linux-image-cloud-amd64 busybox-static "
                + $"(or unpack them somewhere and set {RootVariable})");
        }

        try
        {
            IEnumerable<InitramfsFile> files = added.SelectMany(static file => InitramfsFile.From(file.Source, file.GuestPath));
            return (new FileInfo(kernel), DebianInitramfs.Build(File.ReadAllBytes(busybox), files: files));
        }
        catch (FileNotFoundException problem)
        {
            throw new CliException($"--add: {problem.Message}");
        }
    }
}
