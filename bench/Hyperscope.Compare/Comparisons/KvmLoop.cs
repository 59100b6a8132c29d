using System.Diagnostics;
using System.Globalization;
using Hyperscope.Compare.Guests;
using Hyperscope.X64;

namespace Hyperscope.Compare.Comparisons;

/// <summary>Guest code that nothing restricts: the KVM back end against a minimal KVM program in C, in many turns.</summary>
internal static class KvmLoop
{
    private const double Goal = 1.02;

    public static int Run(double scale, string native)
    {
        const ulong Rounds = 20_000_000; // long enough that entering and leaving does not count
        using var guest = new KvmGuest(Rounds);
        using Process peer = Process.Start(
            new ProcessStartInfo(native, [$"{Rounds}"]) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
        _ = Ours(guest);
        _ = Theirs(peer);
        Pairs pairs = Pairs.Measure(Math.Max(5, (int)(101 * scale)) | 1, () => Theirs(peer), () => Ours(guest));
        peer.StandardInput.Close();
        peer.WaitForExit();
        var report = new Report($"{Rounds} rounds of six instructions, unrestricted; milliseconds", "C KVM program / KVM back end",
            "peer's best", "peer's median", "best", "median", "ratio of best", "median ratio", "95 %");
        pairs.AddTo(report, "loop", 1e3, "0.00");
        // Other work on the machine only adds time, so the best turns tell most; the median must not say otherwise.
        bool met = pairs.BestRatio <= Goal && pairs.Confidence.Low <= Goal, missed = pairs.Confidence.Low > Goal;
        report.Print(met || missed ? "at most 1.02" : "at most 1.02; this run cannot tell", met);
        return 0;
    }

    private static double Ours(KvmGuest guest)
    {
        guest.Rewind();
        long start = Stopwatch.GetTimestamp();
        RunOutcome outcome = guest.Vcpu.Run(returnOnHalt: true);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        guest.Vcpu.GetRegisters(out KvmRegs registers);
        return outcome == RunOutcome.Halted && registers.Rcx == 0
            ? seconds
            : throw new InvalidOperationException($"the guest ended with {outcome}, {registers.Rcx} rounds left");
    }

    private static double Theirs(Process peer)
    {
        peer.StandardInput.WriteLine();
        peer.StandardInput.Flush();
        return double.Parse(peer.StandardOutput.ReadLine()!, CultureInfo.InvariantCulture) / 1e9;
    }
}
