using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using Hyperscope.Client;
using Hyperscope.Guests;
using Hyperscope.LinuxHost;

namespace Hyperscope.Compare.Comparisons;

/// <summary>A PF event, its RETRY, the instruction again, the next event; beside a ping-pong of as many bytes between two processes.</summary>
/// <remarks>Blocks of both alternate on one thread, so that both see the same machine.</remarks>
internal static class PageFaultRoundTrip
{
    private const int EventBytes = 8 + 544 + 24, ReplyBytes = 8 + 16, Block = 500;

    public static async Task<int> RunAsync(double scale)
    {
        int blocks = (int)(200 * scale);
        int warmUp = Math.Max(blocks / 4, 20);
        using var directory = new ScratchDirectory();
        string vmEndpoint = directory.Endpoint("vm"), echoEndpoint = directory.Endpoint("echo");
        using ChildProcess vmProcess = ChildProcess.Start("vm", vmEndpoint);
        using ChildProcess echoProcess = ChildProcess.Start("echo", echoEndpoint, ReplyBytes.ToString(CultureInfo.InvariantCulture), EventBytes.ToString(CultureInfo.InvariantCulture));
        using var echo = StreamSocket.Connect(Endpoint.Parse(echoEndpoint));
        await using IntrospectedVm vm = await IntrospectedVm.ConnectAsync(vmEndpoint);

        var events = new Samples(blocks * Block);
        var pings = new Samples(blocks * Block);
        var done = new TaskCompletionSource();
        byte[] ping = new byte[ReplyBytes], pong = new byte[EventBytes];
        int count = -warmUp * Block;
        long last = 0, allocatedBefore = 0, allocated = 0;
        using IDisposable handler = vm.On<PageFaultEvent>(pf =>
        {
            long now = Stopwatch.GetTimestamp();
            if (count > 0 && count % Block != 0)
                events.Add(Nanoseconds(now - last));
            if (count == 0)
            {
                allocatedBefore = AllocatedBy(vmProcess);
            }
            else if (count == blocks * Block)
            {
                allocated = AllocatedBy(vmProcess) - allocatedBefore;
                vm.Send(new VmSetPageAccess(1), Entry(PageAccess.All));
                pf.Retry();
                done.SetResult();
                return;
            }

            if (count % Block == 0)
                PingPong(echo, ping, pong, count < 0 ? null : pings);
            count++;
            last = Stopwatch.GetTimestamp();
            pf.Retry();
        });
        await vm.EnableAsync(EventId.PageFault);
        await vm.SetPageAccessAsync(SelftestGuest.TestPage, PageAccess.Read);
        await Hammer(vm);
        await done.Task;

        double perEvent = (double)allocated / (blocks * Block);
        var report = new Report("PF event round trip, two processes, unix socket", "quantile", "event us", "ping-pong us", "ratio");
        double median = 0;
        foreach ((string name, double q) in new[] { ("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999) })
        {
            double ratio = events.Quantile(q) / pings.Quantile(q);
            median = q == 0.5 ? ratio : median;
            report.Add(name, Micro(events.Quantile(q)), Micro(pings.Quantile(q)), ratio.ToString("0.00", CultureInfo.InvariantCulture));
        }

        report.Print($"p50 at most 1.6 times, 0 bytes allocated per event by the VM (measured {perEvent:0.000})", median <= 1.6 && perEvent < 0.1);
        return 0;
    }

    private static void PingPong(StreamSocket echo, byte[] ping, byte[] pong, Samples? samples)
    {
        for (int i = 0; i < Block; i++)
        {
            long started = Stopwatch.GetTimestamp();
            if (!echo.Send(ping) || !ChildRoles.ReceiveAll(echo, pong))
                throw new IOException("the echo process is gone");
            samples?.Add(Nanoseconds(Stopwatch.GetTimestamp() - started));
        }
    }

    private static async Task Hammer(IntrospectedVm vm)
    {
        Gpa mailbox = SelftestGuest.Mailboxes;
        byte[] value = new byte[8];
        foreach ((int offset, ulong field) in new[]
        {
            (SelftestGuest.Mailbox.Argument0, SelftestGuest.TestPage.Value),
            (SelftestGuest.Mailbox.Argument2, 1UL),
            (SelftestGuest.Mailbox.Action, (ulong)SelftestAction.Hammer),
        })
        {
            BinaryPrimitives.WriteUInt64LittleEndian(value, field);
            await vm.WritePhysicalAsync(mailbox + (ulong)offset, value);
        }
    }

    // Asking allocates as well: a second question right after the first says how much.
    private static long AllocatedBy(ChildProcess process)
    {
        long first = long.Parse(process.Ask("allocated"), CultureInfo.InvariantCulture);
        long second = long.Parse(process.Ask("allocated"), CultureInfo.InvariantCulture);
        return first - (second - first);
    }

    private static byte[] Entry(PageAccess access)
    {
        PageAccessEntry[] entries = [new(SelftestGuest.TestPage, access)];
        return System.Runtime.InteropServices.MemoryMarshal.AsBytes<PageAccessEntry>(entries).ToArray();
    }

    private static double Nanoseconds(long ticks) => ticks * 1e9 / Stopwatch.Frequency;

    private static string Micro(double nanoseconds) => (nanoseconds / 1000).ToString("0.0", CultureInfo.InvariantCulture);
}
