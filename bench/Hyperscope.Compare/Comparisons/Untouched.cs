using System.Globalization;
using Hyperscope.Compare.Guests;
using Hyperscope.Machine;
using Hyperscope.X64;
using Iced.Intel;

namespace Hyperscope.Compare.Comparisons;

/// <summary>A guest's speed while 8192 pages that it never touches are restricted, beside its speed without any restriction.</summary>
internal static class Untouched
{
    private const ulong Instructions = 30_000_000;

    public static int Run(double scale)
    {
        int turns = Math.Max(5, (int)(41 * scale)) | 1;
        var report = new Report("Restrictions the guest never touches, by processor time", "kernel", "free MIPS", "restricted MIPS", "cost %");
        bool met = true;
        foreach ((string name, Action<Assembler> kernel) in new (string, Action<Assembler>)[]
        {
            ("MEM loop", Loops.Memory),
            ("BIG 49 KB", KernelMix.OfSize(49 << 10)),
        })
        {
            (double free, double restricted, double cost) = Measure(kernel, turns);
            met &= cost <= 2;
            report.Add(name, Text(free, "0"), Text(restricted, "0"), Text(cost, "0.00"));
        }

        report.Print("at most 2 %", met);
        return 0;
    }

    private static (double Free, double Restricted, double Cost) Measure(Action<Assembler> kernel, int turns)
    {
        var vm = new VirtualMachine(new VirtualMachineOptions { MemoryBytes = 64UL << 20 });
        vm.Load(MultibootLoader.Load(MultibootImage.Build(kernel, ulong.MaxValue >> 1), "", [], vm.MemoryMap));
        SoftwareVcpu vcpu = vm.Processors[0];
        for (int i = 0; i < 10; i++)
            vcpu.Run(Instructions);
        double[] ratios = new double[turns], free = new double[turns], restricted = new double[turns];
        for (int turn = 0; turn < turns; turn++)
        {
            // Every other turn the other way round, so that a machine that slows down is not blamed on the second.
            bool restrictedFirst = (turn & 1) != 0;
            double first = Time(vm, vcpu, restrictedFirst), second = Time(vm, vcpu, !restrictedFirst);
            (free[turn], restricted[turn]) = restrictedFirst ? (second, first) : (first, second);
            ratios[turn] = restricted[turn] / free[turn];
        }

        Array.Sort(ratios);
        Array.Sort(free);
        Array.Sort(restricted);
        vm.DisposeAsync().AsTask().GetAwaiter().GetResult();
        return (Instructions / free[turns / 2] / 1e6, Instructions / restricted[turns / 2] / 1e6, (ratios[turns / 2] - 1) * 100);
    }

    private static double Time(VirtualMachine vm, SoftwareVcpu vcpu, bool restrict)
    {
        lock (vm.AccessMap.WriterLock)
        {
            vm.AccessMap.Clear();
            for (ulong frame = 0; restrict && frame < 8192; frame++)
                vm.AccessMap.Set(new Gfn(0x2000 + frame), PageAccess.None);
        }

        vm.InvalidateTranslations();
        vcpu.Run(1_000_000); // the TLB fills
        double started = CpuTime.OfThread();
        vcpu.Run(Instructions);
        return CpuTime.OfThread() - started;
    }

    private static string Text(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
