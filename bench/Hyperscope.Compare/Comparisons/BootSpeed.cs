using System.Diagnostics;
using System.Globalization;
using System.Text;
using Hyperscope.Devices;
using Hyperscope.Machine;
using Hyperscope.X64;

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
        report.Add("MIPS, best turn", Text(instructions / ours.Min() / 1e6, "0"), "-", "-");
        report.Print("at most 1.5 times TCG, at least 100 MIPS", mine / peer <= 1.5 && mips >= 100);

        StartUp(directory, turns * 4);
        Memory(kernel, initrd);
        Armed(kernel, File.ReadAllBytes($"{root}/bin/busybox"), turns);
        return 0;
    }

    // The process's own memory while the guest stands at its shell; the guest's pages are shared memory and counted apart by the kernel.
    private static void Memory(string kernel, string initrd)
    {
        string[] arguments = ["vm", "run", "--kernel", kernel, "--initrd", initrd, "--append", CommandLine + " init=/bin/sh rdinit=/bin/sh", "--memory", "512M"];
        using Process process = Process.Start(new ProcessStartInfo(Command, arguments)
        { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true })!;
        var seen = new StringBuilder();
        for (int next; !seen.ToString().EndsWith("# ", StringComparison.Ordinal) && (next = process.StandardOutput.Read()) >= 0;)
            seen.Append((char)next);
        Dictionary<string, long> kilobytes = File.ReadLines($"/proc/{process.Id}/status")
            .Where(static line => line.EndsWith(" kB", StringComparison.Ordinal)).Select(static line => line.Split(':', StringSplitOptions.TrimEntries))
            .ToDictionary(static pair => pair[0], static pair => long.Parse(pair[1].Split(' ')[0], CultureInfo.InvariantCulture));
        process.Kill();
        process.WaitForExit();
        double own = (kilobytes["RssAnon"] + kilobytes["RssFile"]) / 1024.0;
        var report = new Report("Memory of the command after boot, guest of 512 MB", "", "MB");
        report.Add("the guest's pages", Text(kilobytes["RssShmem"] / 1024.0, "0"));
        report.Add("everything else", Text(own, "0"));
        report.Print("at most 150 MB beyond the guest's own pages", own <= 150);
    }

    // A kernel patches itself while it boots, three quarters of a million writes to its text; it says when it is done, and from there on nothing writes.
    // All in this process, so that no turn but the first compiles anything, and on the clock of instructions, so that each turn executes the same.
    private static void Armed(string kernel, byte[] busybox, int turns)
    {
        byte[] kernelBytes = File.ReadAllBytes(kernel), initrd = DebianInitramfs.Build(busybox, """
            head -c 1000000 /bin/busybox | gzip | gunzip | sha256sum
            i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo 1 | cat >/dev/null; done
            """);
        _ = Boot(kernelBytes, initrd, isArmed: true, out int frames, out long violations);
        var plain = new List<double>();
        var armed = new List<double>();
        for (int turn = 0; turn < turns; turn++)
        {
            bool armedFirst = (turn & 1) != 0;
            double first = Boot(kernelBytes, initrd, armedFirst, out _, out _), second = Boot(kernelBytes, initrd, !armedFirst, out _, out _);
            armed.Add(armedFirst ? first : second);
            plain.Add(armedFirst ? second : first);
        }

        var report = new Report($"Boot and a little work, {frames} frames of kernel text and read-only data closed to writes ({violations} writes), processor time, {turns} turns",
            "", "free", "armed", "cost %");
        report.Add("seconds, median", Text(Median(plain), "0.00"), Text(Median(armed), "0.00"), Text(Cost(Median(armed), Median(plain)), "0.0"));

        // A machine that others use adds to a time and never takes away: the best turns are the ones least disturbed.
        double best = Cost(armed.Min(), plain.Min());
        report.Add("seconds, best", Text(plain.Min(), "0.00"), Text(armed.Min(), "0.00"), Text(best, "0.0"));
        report.Print("at most 3 %, by the best turns", best <= 3);
    }

    private static double Boot(byte[] kernel, byte[] initrd, bool isArmed, out int frames, out long violations)
    {
        var serial = new LineOutput();
        var vm = new VirtualMachine(new VirtualMachineOptions
        {
            MemoryBytes = 512UL << 20,
            Clock = new InstructionClock(),
            WallClock = DateTimeOffset.UnixEpoch.AddYears(50),
            CpuModel = new CpuModel { RandomSeed = 1 },
            SerialOutput = serial,
        });
        MemoryPiece acpi = AcpiTables.Build(1);
        BootImage image = ImageLoader.LoadKernel(kernel, new LinuxBootOptions
        { Memory = vm.MemoryMap, CommandLine = CommandLine.Replace("quiet ", "", StringComparison.Ordinal), Initrd = initrd, Rsdp = AcpiTables.RsdpAddress });
        vm.Load(image);
        if (!vm.Memory.TryLoad(acpi.Address, acpi.Bytes.Span))
            throw new InvalidOperationException("no room for the ACPI tables");
        int closed = 0;
        if (isArmed)
            serial.On("Write protecting the kernel read-only data", () => closed = Arm(vm, image.Pieces[0]));
        TimeSpan before = Process.GetCurrentProcess().TotalProcessorTime;
        vm.Start();
        VmExit exit = vm.Completion.GetAwaiter().GetResult();
        double seconds = (Process.GetCurrentProcess().TotalProcessorTime - before).TotalSeconds;
        frames = closed;
        violations = vm.Memory.PageTracker.Asked;
        if (exit is not { Kind: VmExitKind.GuestExit, Code: 0 } || (isArmed && frames == 0))
            throw new InvalidOperationException($"the guest did not boot, or said nothing of its read-only data: {exit}");
        vm.DisposeAsync().AsTask().GetAwaiter().GetResult();
        return seconds;
    }

    // vmlinux's first segment is text and read-only data; the gaps in it, filled with one byte, the kernel gives to its allocator.
    private static int Arm(VirtualMachine vm, MemoryPiece text)
    {
        int frames = 0;
        lock (vm.AccessMap.WriterLock)
        {
            for (int offset = 0; offset + 4096 <= text.Bytes.Length; offset += 4096)
            {
                ReadOnlySpan<byte> page = text.Bytes.Span.Slice(offset, 4096);
                if (!page.ContainsAnyExcept(page[0]))
                    continue;
                vm.AccessMap.Set(new Gfn((text.Address.Value + (ulong)offset) >> 12), PageAccess.Read | PageAccess.Execute);
                frames++;
            }
        }

        vm.InvalidateTranslations();
        return frames;
    }

    /// <summary>The guest's console; runs an action when a line with a text is complete, on the vCPU's thread.</summary>
    private sealed class LineOutput : ISerialOutput
    {
        private readonly StringBuilder _line = new();
        private string? _wanted;
        private Action? _action;

        public void On(string text, Action action) => (_wanted, _action) = (text, action);

        public void Write(byte value)
        {
            if (value != '\n')
            {
                _line.Append((char)value);
                return;
            }

            if (_wanted is not null && _line.ToString().Contains(_wanted, StringComparison.Ordinal))
            {
                _wanted = null;
                _action!();
            }

            _line.Clear();
        }
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

    private static double Cost(double armed, double plain) => ((armed / plain) - 1) * 100;

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);

    private static string Text(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
