using System.Diagnostics;
using System.Globalization;
using Hyperscope.Machine;

namespace Hyperscope.Compare.Comparisons;

/// <summary>Debian's kernel and an initial RAM disk from start to power-off, on the published command and on QEMU's translator, by processor time.</summary>
internal static class BootSpeed
{
    private const string Command = "artifacts/publish/hyperscope";
    private const string Qemu = "qemu-system-x86_64";
    private const string CommandLine = "console=ttyS0 quiet panic=-1 cryptomgr.notests";

    public static int Run(double scale)
    {
        string root = Environment.GetEnvironmentVariable("HYPERSCOPE_DEBIAN_ROOT") ?? "artifacts/debian";
        string? kernel = Directory.Exists($"{root}/boot") ? Directory.EnumerateFiles($"{root}/boot", "vmlinuz-*cloud-amd64").Order().LastOrDefault() : null;
        if (kernel is null || !File.Exists(Command))
        {
            Console.WriteLine($"boot: not measured: {(kernel is null ? $"no kernel in {root}/boot (eng/fetch-debian)" : $"no {Command} (eng/publish)")}");
            return 0;
        }

        using var directory = new ScratchDirectory();
        string initrd = directory.File("initrd");
        File.WriteAllBytes(initrd, DebianInitramfs.Build(File.ReadAllBytes($"{root}/bin/busybox"), "true"));
        int turns = Math.Max(2, (int)(8 * scale));
        var ours = new List<double>();
        var theirs = new List<double>();
        double instructions = 0;
        for (int turn = 0; turn < turns; turn++)
        {
            ours.Add(OnHyperscope(kernel, initrd, out instructions));
            theirs.Add(OnQemu(kernel, initrd));
        }

        double mine = Median(ours), peer = Median(theirs), mips = instructions / mine / 1e6;
        var report = new Report($"Boot of Debian's kernel to power-off, processor time, median of {turns} turns", "", "Hyperscope", "QEMU TCG", "ratio");
        report.Add("seconds", Text(mine, "0.00"), Text(peer, "0.00"), Text(mine / peer, "0.00"));
        report.Add("million instructions", Text(instructions / 1e6, "0"), "-", "-");
        report.Add("MIPS", Text(mips, "0"), "-", "-");
        report.Print("at most 1.5 times TCG, at least 100 MIPS", mine / peer <= 1.5 && mips >= 100);

        StartUp(directory, turns * 4);
        return 0;
    }

    // The image's first instructions end the VM, so the whole life of the process is start, one guest instruction or two, and end.
    private static void StartUp(ScratchDirectory directory, int turns)
    {
        string image = directory.File("first");
        File.WriteAllBytes(image, [0xB0, 0x00, 0xE6, 0xF4]); // mov al, 0; out 0xf4, al: the debug-exit port
        var seconds = new List<double>();
        for (int turn = 0; turn < turns; turn++)
        {
            long before = Stopwatch.GetTimestamp();
            Run(Command, ["vm", "run", "--image", image, "--memory", "64M"], exitCode: 1);
            seconds.Add(Stopwatch.GetElapsedTime(before).TotalSeconds);
        }

        double median = Median(seconds);
        var report = new Report($"Start of the command, first guest instruction, end of the process, median of {turns} turns", "", "milliseconds");
        report.Add("vm run", Text(median * 1000, "0"));
        report.Print("first guest instruction within 300 ms", median <= 0.3);
    }

    private static double OnHyperscope(string kernel, string initrd, out double instructions)
    {
        var start = new ProcessStartInfo(Command, ["vm", "run", "--kernel", kernel, "--initrd", initrd, "--append", CommandLine, "--memory", "512M", "--verbose"])
        {
            RedirectStandardError = true,
            RedirectStandardInput = true,
        };
        string errors = "";
        double seconds = CpuTime.OfProcess(start, process => errors = process.StandardError.ReadToEnd(), out string output, out int exitCode);
        string? line = errors.Split('\n').FirstOrDefault(static line => line.EndsWith("guest instructions", StringComparison.Ordinal));
        if (exitCode != 0 || line is null || !output.Contains(DebianInitramfs.ReadyMarker, StringComparison.Ordinal))
            throw new InvalidOperationException($"the guest did not boot on Hyperscope: {errors}");
        instructions = double.Parse(line.Split(' ')[0], CultureInfo.InvariantCulture);
        return seconds;
    }

    private static double OnQemu(string kernel, string initrd)
    {
        string[] arguments =
        [
            "-accel", "tcg", "-cpu", "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt", "-m", "512", "-display", "none", "-nodefaults", "-no-reboot", "-serial", "stdio",
            "-kernel", kernel, "-initrd", initrd, "-append", CommandLine,
        ];
        double seconds = CpuTime.OfProcess(new ProcessStartInfo(Qemu, arguments) { RedirectStandardInput = true }, null, out string output, out int exitCode);
        return exitCode == 0 && output.Contains(DebianInitramfs.ReadyMarker, StringComparison.Ordinal)
            ? seconds : throw new InvalidOperationException($"the guest did not boot on {Qemu}: {output}");
    }

    private static void Run(string command, string[] arguments, int exitCode)
    {
        using Process process = Process.Start(new ProcessStartInfo(command, arguments)
        { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true })!;
        string errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode != exitCode)
            throw new InvalidOperationException($"{command} ended with {process.ExitCode}, not {exitCode}: {errors}");
    }

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);

    private static string Text(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
