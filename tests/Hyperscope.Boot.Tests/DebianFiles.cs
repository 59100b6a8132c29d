using System.Runtime.CompilerServices;

namespace Hyperscope.Boot.Tests;

/// <summary>Debian's own files: below HYPERSCOPE_DEBIAN_ROOT, where eng/fetch-debian unpacked them, or installed.</summary>
internal static class DebianFiles
{
    private static readonly string[] Roots =
    [
        .. Environment.GetEnvironmentVariable("HYPERSCOPE_DEBIAN_ROOT") is { } given ? new[] { given } : [],
        Path.GetFullPath(Path.Combine(SourceFolder(), "../../artifacts/debian")),
        "/",
    ];

    /// <summary>The newest cloud kernel.</summary>
    public static string Kernel => Find("boot", "vmlinuz-*cloud-amd64", "linux-image-cloud-amd64");

    /// <summary>A busybox that needs no library.</summary>
    public static string Busybox => Find("bin", "busybox", "busybox-static");

    /// <summary>memtest86+ for the Linux boot protocol.</summary>
    public static string Memtest => Find("boot", "memtest86+x64.bin", "memtest86+");

    /// <summary>A module of that kernel that needs no other and no device; null where only the kernel itself was unpacked.</summary>
    public static string? Module => Roots
        .Select(root => Path.Combine(root, "lib", "modules", Path.GetFileName(Kernel)["vmlinuz-".Length..], "kernel", "drivers", "net", "dummy.ko"))
        .FirstOrDefault(File.Exists);

    private static string Find(string folder, string pattern, string package)
    {
        foreach (string root in Roots)
        {
            foreach (string path in new[] { Path.Combine(root, folder), Path.Combine(root, "usr", folder) })
            {
                if (Directory.Exists(path) && Directory.GetFiles(path, pattern).Order(StringComparer.Ordinal).LastOrDefault() is { } found)
                    return found;
            }
        }

        Assert.Skip($"needs Debian's package {package}; as root: apt-get install {package}, or: eng/fetch-debian");
        throw new InvalidOperationException();
    }

    private static string SourceFolder([CallerFilePath] string path = "") => Path.GetDirectoryName(path)!;
}
