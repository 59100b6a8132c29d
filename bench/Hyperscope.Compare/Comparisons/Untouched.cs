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
        Pairs pairs = Pairs.Measure(turns, () => Time(vm, vcpu, restrict: false), () => Time(vm, vcpu, restrict: true));
        vm.DisposeAsync().AsTask().GetAwaiter().GetResult();
        return (Instructions / pairs.First.Median / 1e6, Instructions / pairs.Second.Median / 1e6, (pairs.MedianRatio - 1) * 100);
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
