using System.Diagnostics;
using System.Globalization;
using Hyperscope.Compare.Guests;
using Iced.Intel;

namespace Hyperscope.Compare.Comparisons;

/// <summary>The same multiboot images on Hyperscope and on QEMU's translator (TCG), by processor time.</summary>
/// <remarks>Each image runs with two iteration counts; start-up and translation drop out of the difference.</remarks>
internal static class InterpreterSpeed
{
    private const string Qemu = "qemu-system-x86_64";

    private sealed record Kernel(string Name, Action<Assembler> Code, ulong Iterations, bool IsLoop);

    public static Task<int> RunAsync(double scale)
    {
        Kernel[] kernels =
        [
            new("INT loop", Loops.Integers, 20_000_000, IsLoop: true),
            new("MEM loop", Loops.Memory, 25_000, IsLoop: true),
            new("CRC loop", Loops.Checksum, 10_000, IsLoop: true),
            new("FIB calls", Loops.Calls, 2_000, IsLoop: true),
            new("BIG 49 KB", KernelMix.OfSize(49 << 10), 20_000, IsLoop: false),
            new("HUGE 250 KB", KernelMix.OfSize(250 << 10), 4_000, IsLoop: false),
        ];
        using var directory = new ScratchDirectory();
        bool hasPeer = IsInstalled();
        var report = new Report("Interpreter beside QEMU TCG, by processor time", "kernel", "image bytes", "MIPS", "TCG MIPS", "ratio");
        bool met = hasPeer;
        foreach (Kernel kernel in kernels)
        {
            ulong few = Math.Max(1, (ulong)(kernel.Iterations * scale * 0.5)), many = few * 5;
            string fewFile = Write(directory, "few", kernel, few, out _), manyFile = Write(directory, "many", kernel, many, out int bytes);
            double ours = OnHyperscope(manyFile, out ulong manyInstructions) - OnHyperscope(fewFile, out ulong fewInstructions);
            double instructions = manyInstructions - fewInstructions;
            double mips = instructions / ours / 1e6;
            double peer = hasPeer ? instructions / (OnQemu(manyFile) - OnQemu(fewFile)) / 1e6 : double.NaN;
            double ratio = mips / peer;
            met &= kernel.IsLoop ? ratio >= 0.3 : mips >= 100;
            report.Add(kernel.Name, bytes.ToString(CultureInfo.InvariantCulture), Text(mips, "0"), Text(peer, "0"), Text(ratio, "0.00"));
        }

        report.Print($"loops at least 0.3 of TCG, mixes at least 100 MIPS{(hasPeer ? "" : " (TCG not measured: install qemu-system-x86)")}", met);
        return Task.FromResult(0);
    }

    private static string Text(double value, string format) => double.IsNaN(value) ? "-" : value.ToString(format, CultureInfo.InvariantCulture);

    private static string Write(ScratchDirectory directory, string name, Kernel kernel, ulong iterations, out int bytes)
    {
        byte[] image = MultibootImage.Build(kernel.Code, iterations);
        bytes = image.Length - 0x4000; // without header and tables
        string path = directory.File(name);
        File.WriteAllBytes(path, image);
        return path;
    }

    private static double OnHyperscope(string image, out ulong instructions)
    {
        string self = Environment.ProcessPath!;
        var start = new ProcessStartInfo(self);
        if (Path.GetFileName(self) == "dotnet")
            start.ArgumentList.Add(typeof(InterpreterSpeed).Assembly.Location);
        foreach (string argument in new[] { "child", "image", image })
            start.ArgumentList.Add(argument);
        double seconds = CpuTime.OfProcess(start, out string output, out int exitCode);
        string[] result = output.Trim().Split('\n')[^1].Split(' ');
        if (exitCode != 0 || result is not [string count, "GuestExit", _])
            throw new InvalidOperationException($"the image did not reach its end on Hyperscope: '{output.Trim()}'");
        instructions = ulong.Parse(count, CultureInfo.InvariantCulture);
        return seconds;
    }

    private static double OnQemu(string image)
    {
        string[] arguments =
        [
            "-accel", "tcg", "-m", "64", "-display", "none", "-nodefaults", "-no-reboot", "-kernel", image,
            "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
        ];
        double seconds = CpuTime.OfProcess(new ProcessStartInfo(Qemu, arguments), out _, out int exitCode);
        return exitCode == 1 ? seconds : throw new InvalidOperationException($"{Qemu} ended with {exitCode}, not with 1 by the debug-exit port");
    }

    private static bool IsInstalled() =>
        Environment.GetEnvironmentVariable("PATH")!.Split(':').Any(static directory => File.Exists(Path.Combine(directory, Qemu)));
}
