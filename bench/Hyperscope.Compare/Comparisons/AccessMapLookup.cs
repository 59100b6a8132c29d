using System.Diagnostics;
using System.Globalization;

namespace Hyperscope.Compare.Comparisons;

/// <summary>One look at the access map, beside one look at a flat array of as many bytes as there are pages.</summary>
internal static class AccessMapLookup
{
    private const int Frames = 1 << 18, Lookups = 1 << 20;

    public static int Run(double scale)
    {
        var map = new AccessMap();
        byte[] flat = new byte[Frames];
        var random = new Random(3);
        lock (map.WriterLock)
        {
            for (int frame = 0; frame < Frames; frame++)
            {
                var access = (PageAccess)random.Next(8);
                map.Set(new Gfn((ulong)frame), access);
                flat[frame] = (byte)(PageAccess.All & ~access);
            }
        }

        int[] order = new int[Lookups];
        for (int i = 0; i < order.Length; i++)
            order[i] = random.Next(Frames);
        double best = double.MaxValue, bestPeer = double.MaxValue;
        long check = 0;
        int turns = Math.Max(20, (int)(100 * scale));
        for (int turn = 0; turn < turns; turn++)
        {
            long started = Stopwatch.GetTimestamp();
            check += Look(map, order);
            best = Math.Min(best, Stopwatch.GetElapsedTime(started).TotalNanoseconds / Lookups);
            started = Stopwatch.GetTimestamp();
            check -= Look(flat, order);
            bestPeer = Math.Min(bestPeer, Stopwatch.GetElapsedTime(started).TotalNanoseconds / Lookups);
        }

        if (check != 0)
            throw new InvalidOperationException($"map and array disagree by {check}");
        double bytesPerPage = (double)map.TableBytes / Frames;
        var report = new Report("Access map, 1 GiB restricted, random frames", "", "ns/lookup", "ratio", "bytes/page");
        report.Add("access map", Text(best), Text(best / bestPeer), Text(bytesPerPage));
        report.Add("flat array", Text(bestPeer), "1.00", "1.00");
        report.Print("at most 5 ns and at most 1 byte per page", best <= 5 && bytesPerPage <= 1);
        return 0;
    }

    private static long Look(AccessMap map, int[] order)
    {
        long sum = 0;
        foreach (int frame in order)
            sum += (long)map.Denied((ulong)frame);
        return sum;
    }

    private static long Look(byte[] flat, int[] order)
    {
        long sum = 0;
        foreach (int frame in order)
            sum += flat[frame];
        return sum;
    }

    private static string Text(double value) => value.ToString("0.00", CultureInfo.InvariantCulture);
}
