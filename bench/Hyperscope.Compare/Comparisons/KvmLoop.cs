using System.Diagnostics;
using Hyperscope.Compare.Guests;
using Hyperscope.Kvm;
using Hyperscope.X64;

namespace Hyperscope.Compare.Comparisons;

/// <summary>Guest code that nothing restricts: the KVM back end against a minimal KVM program in C, turn by turn.</summary>
internal static class KvmLoop
{
    private const int Turns = 7;

    public static int Run(double scale, string native)
    {
        ulong rounds = (ulong)(100_000_000 * scale);
        List<double> ours = [], theirs = [];
        for (int turn = 0; turn < Turns; turn++)
        {
            ours.Add(Ours(rounds));
            theirs.Add(Theirs(native, rounds));
        }

        Console.WriteLine($"{rounds} rounds of six instructions, {Turns} turns each, best turn:");
        Console.WriteLine($"KVM back end      {ours.Min(),8:f3} s   (median {ours.Order().ElementAt(Turns / 2):f3})");
        Console.WriteLine($"C KVM program     {theirs.Min(),8:f3} s   (median {theirs.Order().ElementAt(Turns / 2):f3})");
        Console.WriteLine($"ratio of the best {ours.Min() / theirs.Min(),8:f3}     of the medians {ours.Order().ElementAt(Turns / 2) / theirs.Order().ElementAt(Turns / 2):f3}");
        return 0;
    }

    private static double Ours(ulong rounds)
    {
        using var memory = new GuestMemory();
        _ = memory.AddSlot(new Gpa(0), BareGuest.Bytes);
        _ = memory.TryLoad(new Gpa(0), BareGuest.Image(BareGuest.Loop(rounds)));
        var group = new ProcessorGroup(memory, new AccessMap(), new Machine.DeviceBus());
        using SoftwareVcpu vcpu = group.AddVcpu(new CpuModel());
        using var backend = new KvmBackend(group);
        vcpu.GetSpecialRegisters(out KvmSregs special);
        (KvmRegs general, special) = BareGuest.Registers(special);
        vcpu.SetSpecialRegisters(special);
        vcpu.SetRegisters(general);
        long start = Stopwatch.GetTimestamp();
        RunOutcome outcome = vcpu.Run(returnOnHalt: true);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        return outcome == RunOutcome.Halted ? seconds : throw new InvalidOperationException($"the guest ended with {outcome}");
    }

    private static double Theirs(string native, ulong rounds)
    {
        using Process process = Process.Start(new ProcessStartInfo(native, [$"{rounds}"]) { RedirectStandardOutput = true })!;
        string answer = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return double.Parse(answer, System.Globalization.CultureInfo.InvariantCulture) / 1e9;
    }
}
