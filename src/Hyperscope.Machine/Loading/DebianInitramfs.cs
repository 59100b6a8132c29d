namespace Hyperscope.Machine;

/// <summary>The initial RAM disk of <c>--boot debian</c>: busybox and an init script that ends in a shell on the serial console.</summary>
public static class DebianInitramfs
{
    /// <summary>What init prints once user space runs.</summary>
    public const string ReadyMarker = "hyperscope: user space is up";

    // exec replaces init by the shell's session leader; when it ends, the machine goes off.
    // A terminal throws away what it has not sent yet when the leader of its session ends, and a busy machine may be late with the interrupts that
    // send it. stty waits for its terminal to have sent everything.
    private const string Init = $"""
        #!/bin/busybox sh
        /bin/busybox mkdir -p /proc /sys /dev /tmp /root /usr/bin /usr/sbin /sbin
        /bin/busybox --install -s
        export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root TERM=linux
        mount -t proc proc /proc
        mount -t sysfs sysfs /sys
        mount -t devtmpfs dev /dev
        echo '{ReadyMarker}'
        if [ -x /etc/hyperscope-run ]; then
            setsid -c sh -c '/etc/hyperscope-run; stty echo' </dev/ttyS0 >/dev/ttyS0 2>&1
        else
            setsid -c sh </dev/ttyS0 >/dev/ttyS0 2>&1
        fi
        sync
        poweroff -f

        """;

    /// <summary>Builds the archive.</summary>
    /// <param name="busybox">A static busybox.</param>
    /// <param name="script">A shell script that runs instead of an interactive shell, or null.</param>
    /// <param name="files">What else the guest is to find, at paths that are not taken.</param>
    /// <exception cref="ArgumentException">A path of a file is taken, or leaves the archive.</exception>
    public static byte[] Build(ReadOnlySpan<byte> busybox, string? script = null, IEnumerable<InitramfsFile>? files = null)
    {
        if (!ElfFile.IsElf(busybox))
            throw new ImageFormatException("busybox: it is not an ELF file");
        InitramfsBuilder archive = new InitramfsBuilder()
            .AddFile("/bin/busybox", busybox, isExecutable: true)
            .AddLink("/bin/sh", "busybox")
            .AddText("/init", Init.ReplaceLineEndings("\n"), isExecutable: true)
            .AddCharacterDevice("/dev/console", 5, 1)
            .AddCharacterDevice("/dev/null", 1, 3)
            .AddCharacterDevice("/dev/ttyS0", 4, 64);
        if (script is not null)
            archive.AddText("/etc/hyperscope-run", "#!/bin/sh\n" + script.ReplaceLineEndings("\n") + "\n", isExecutable: true);
        foreach (InitramfsFile file in files ?? [])
            archive.AddFile(file.Path, file.Contents.Span, file.IsExecutable);
        return archive.Build();
    }
}
