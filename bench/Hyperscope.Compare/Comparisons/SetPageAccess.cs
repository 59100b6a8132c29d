using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using Hyperscope.Client;
using Hyperscope.LinuxHost;

namespace Hyperscope.Compare.Comparisons;

/// <summary>SET_PAGE_ACCESS in messages of 511 entries through a socket, beside the same bytes through a bare ping-pong.</summary>
internal static class SetPageAccess
{
    private const int EntriesPerMessage = 511, Messages = 1000, Turns = 10;

    public static async Task<int> RunAsync(double scale)
    {
        int turns = Math.Max(2, (int)(Turns * scale));
        int messageBytes = 8 + 8 + (EntriesPerMessage * Unsafe.SizeOf<PageAccessEntry>());
        using var directory = new ScratchDirectory();
        string vmEndpoint = directory.Endpoint("vm"), echoEndpoint = directory.Endpoint("echo");
        using ChildProcess vmProcess = ChildProcess.Start("vm", vmEndpoint);
        using ChildProcess echoProcess = ChildProcess.Start("echo", echoEndpoint, messageBytes.ToString(CultureInfo.InvariantCulture), "16");
        using var echo = StreamSocket.Connect(Endpoint.Parse(echoEndpoint));
        await using IntrospectedVm vm = await IntrospectedVm.ConnectAsync(vmEndpoint);
        ulong frames = (await vm.GetMaxGfnAsync()).Value;
        var denied = new PageAccessEntry[EntriesPerMessage * Messages];
        var allowed = new PageAccessEntry[denied.Length];
        for (int i = 0; i < denied.Length; i++)
        {
            var gpa = new Gpa(((ulong)i + 0x1000) % Math.Min(frames, 0x8_0000) << 12);
            denied[i] = new PageAccessEntry(gpa, PageAccess.Read, visible: false);
            allowed[i] = new PageAccessEntry(gpa, PageAccess.All, visible: false);
        }

        double best = double.MaxValue, bestPeer = double.MaxValue, sum = 0;
        byte[] ping = new byte[messageBytes], pong = new byte[16];
        for (int turn = -3; turn < turns; turn++)
        {
            long started = Stopwatch.GetTimestamp();
            await vm.SetPageAccessAsync((turn & 1) == 0 ? denied : allowed);
            double seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
            started = Stopwatch.GetTimestamp();
            for (int i = 0; i < Messages; i++)
            {
                if (!echo.Send(ping) || !ChildRoles.ReceiveAll(echo, pong))
                    throw new IOException("the echo process is gone");
            }

            double peer = Stopwatch.GetElapsedTime(started).TotalSeconds;
            if (turn < 0)
                continue;
            best = Math.Min(best, seconds);
            bestPeer = Math.Min(bestPeer, peer);
            sum += seconds;
        }

        double rate = denied.Length / best / 1e6, mean = denied.Length * turns / sum / 1e6, peerRate = denied.Length / bestPeer / 1e6;
        var report = new Report("SET_PAGE_ACCESS, 511 entries a message, two processes, unix socket", "", "M pages/s", "ratio");
        report.Add("best turn", rate.ToString("0.00", CultureInfo.InvariantCulture), (rate / peerRate).ToString("0.00", CultureInfo.InvariantCulture));
        report.Add("mean", mean.ToString("0.00", CultureInfo.InvariantCulture), (mean / peerRate).ToString("0.00", CultureInfo.InvariantCulture));
        report.Add("ping-pong of the same bytes", peerRate.ToString("0.00", CultureInfo.InvariantCulture), "1.00");
        report.Print("at least 3 M pages/s", rate >= 3);
        return 0;
    }
}
