using System.Diagnostics;
using Hyperscope.Compare.Guests;
using Hyperscope.Kvm;
using Hyperscope.LinuxHost;

namespace Hyperscope.Compare.Comparisons;

/// <summary>A store to a page that is not writable, allowed each time: one instruction in the software CPU against opening the page, a single
/// step and closing it again, a few events in turn. The second way learns neither address nor kind of the access.</summary>
internal static class KvmEvents
{
    private const int Events = 20, WarmUp = 1000;

    public static int Run(double scale)
    {
        using var emulated = new WatchedGuest();
        using var stepped = new Stepped();
        _ = emulated.Run(WarmUp);
        _ = stepped.Run(WarmUp / 10);
        Pairs pairs = Pairs.Measure(Math.Max(5, (int)(401 * scale)) | 1, () => emulated.Run(Events) / Events, () => stepped.Run(Events) / Events);
        var report = new Report("A write to a restricted page, allowed; microseconds an event", "EFAULT and one instruction / open, step, re-protect",
            "best", "median", "peer's best", "peer's median", "ratio of best", "median ratio", "95 %");
        pairs.AddTo(report, $"{Events} events a turn", 1e6, "0.0");
        report.Print("the peer takes as long at least, 5 times as long expected", pairs.Confidence.Low >= 1);
        return 0;
    }

    private sealed class Stepped : IDisposable
    {
        private readonly KvmDevice _device = new();
        private readonly SharedMemory _memory = new("bench", BareGuest.Bytes);
        private readonly MemoryMapping _view;
        private readonly KvmVm _vm;
        private readonly KvmVcpu _vcpu;

        public Stepped()
        {
            _vm = _device.CreateVm();
            _view = _memory.Map(0, BareGuest.Bytes);
            Load(_view, BareGuest.Image(BareGuest.Loop(1UL << 40)));
            _vm.SetMemory(0, new Gpa(0), BareGuest.Bytes, _view.Address, isReadOnly: false);
            _vcpu = _vm.CreateVcpu(new VcpuIndex(0));
            _vcpu.SetCpuid(_device.GetSupportedCpuid());
            _vcpu.GetSregs(out KvmSregs special);
            (KvmRegs general, special) = BareGuest.Registers(special);
            _vcpu.SetSregs(special);
            _vcpu.SetRegs(general);
            _view.Protect(BareGuest.Page, Gfn.PageSize, MemoryProtection.Read);
        }

        public double Run(int events)
        {
            long start = Stopwatch.GetTimestamp();
            for (int count = 0; count < events; count++)
            {
                Expect(Errno.Fault, null);
                _view.Protect(BareGuest.Page, Gfn.PageSize, MemoryProtection.ReadWrite);
                _vcpu.SetGuestDebug(KvmGuestDebug.SingleStep);
                Expect(0, KvmExitReason.Debug);
                _vcpu.SetGuestDebug(0);
                _view.Protect(BareGuest.Page, Gfn.PageSize, MemoryProtection.Read);
            }

            return Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        public void Dispose()
        {
            _vcpu.Dispose();
            _vm.Dispose();
            _view.Dispose();
            _memory.Dispose();
            _device.Dispose();
        }

        private void Expect(int expected, KvmExitReason? reason)
        {
            int error;
            do
                error = _vcpu.Run();
            while (error == Errno.Interrupted);
            if (error != expected || (reason is { } exit && _vcpu.Page.ExitReason != exit))
                throw new InvalidOperationException($"errno {error}, exit {_vcpu.Page.ExitReason}");
        }

        // Sound: the mapping is as long as the image.
        private static unsafe void Load(MemoryMapping mapping, byte[] image) => image.CopyTo(new Span<byte>((void*)mapping.Address, (int)mapping.Length));
    }
}
