using System.Diagnostics;
using Hyperscope.Compare.Guests;
using Hyperscope.Kvm;
using Hyperscope.LinuxHost;
using Microsoft.Extensions.Logging.Abstractions;

namespace Hyperscope.Compare.Comparisons;

/// <summary>The two ways to keep a guest from writing: userfaultfd and mprotect. How long it takes to deny writes to pages with a writable one
/// between each two, and to allow them again, and how long an event takes on a host that can run guests.</summary>
internal static class KvmProtection
{
    private const int Scattered = 20_000, Events = 20, WarmUp = 1000;

    public static int Run(double scale)
    {
        using var writes = new UserFaultFd();
        using var device = new KvmDevice();
        using var first = new View(device, writes);
        using var second = new View(device, null);
        var report = new Report("Denied writes, userfaultfd against mprotect; microseconds", "",
            "userfaultfd's best", "median", "mprotect's best", "median", "ratio of best", "median ratio", "95 %");
        foreach ((int pages, int turns) in new[] { (1, 2001), (1000, 201), (Scattered, 21) })
        {
            Pairs deny = Pairs.Measure(Turns(turns, scale), () => first.Deny(pages), () => second.Deny(pages));
            Pairs allow = Pairs.Measure(Turns(turns, scale), () => first.Allow(pages), () => second.Allow(pages));
            deny.AddTo(report, $"deny {pages}, each", 1e6 / pages, "0.00");
            allow.AddTo(report, $"allow {pages}, each", 1e6 / pages, "0.00");
        }

        if (KvmProbe.FindObstacle() is { } obstacle)
        {
            Console.Error.WriteLine($"no events: {obstacle}");
        }
        else
        {
            using var faults = new WatchedGuest(ProtectionMethod.Userfaultfd);
            using var plain = new WatchedGuest(ProtectionMethod.Mprotect);
            _ = faults.Run(WarmUp);
            _ = plain.Run(WarmUp);
            Pairs events = Pairs.Measure(Turns(401, scale), () => faults.Run(Events) / Events, () => plain.Run(Events) / Events);
            events.AddTo(report, "event", 1e6, "0.0");
        }

        report.Print("none", true);
        return 0;
    }

    private static int Turns(int turns, double scale) => Math.Max(5, (int)(turns * scale)) | 1;

    private sealed class View : IDisposable
    {
        private readonly GuestMemory _memory = new();
        private readonly AccessMap _map = new();
        private readonly KvmVm _vm;
        private readonly GuestView _view;

        public View(KvmDevice device, UserFaultFd? writes)
        {
            const ulong Bytes = 2UL * Scattered * Gfn.PageSize;
            _ = _memory.AddSlot(new Gpa(0), Bytes);
            _vm = device.CreateVm();
            _view = new GuestView(_vm, _memory, _map, RangeBudget.OfProcess, writes, NullLogger.Instance);
            Touch(_view.AddressOf(new Gfn(0)), Bytes);
            _ = Deny(1);
            _ = Change(1, PageAccess.All);
        }

        /// <summary>Denies, timed, and allows again.</summary>
        public double Deny(int pages)
        {
            double seconds = Change(pages, PageAccess.Read | PageAccess.Execute);
            _ = Change(pages, PageAccess.All);
            return seconds;
        }

        /// <summary>Denies, and allows again, timed.</summary>
        public double Allow(int pages)
        {
            _ = Change(pages, PageAccess.Read | PageAccess.Execute);
            return Change(pages, PageAccess.All);
        }

        public void Dispose()
        {
            _view.Dispose();
            _vm.Dispose();
            _memory.Dispose();
        }

        private double Change(int pages, PageAccess access)
        {
            lock (_map.WriterLock)
            {
                for (int page = 0; page < pages; page++)
                    _ = _map.Set(new Gfn(2 * (ulong)page), access);
            }

            long start = Stopwatch.GetTimestamp();
            _view.Apply();
            double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            return _view.CoarseBlocks == 0 ? seconds : throw new InvalidOperationException("protections are coarser than asked for");
        }

        // Sound: the view is that long, and nothing of it is restricted yet.
        private static unsafe void Touch(nint address, ulong bytes)
        {
            for (ulong offset = 0; offset < bytes; offset += Gfn.PageSize)
                ((byte*)address)[offset] = 1;
        }
    }
}
