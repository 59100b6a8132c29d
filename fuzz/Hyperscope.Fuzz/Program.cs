using System.Diagnostics;
using System.Globalization;
using Hyperscope.Fuzz;

// Feeds a reader of foreign bytes until it has had enough units (messages, images, programs), or until the first bug.
FuzzTarget? target = args.Length > 0 ? FuzzTarget.All.FirstOrDefault(one => one.Name == args[0]) : null;
if (target is null)
{
    Console.Error.WriteLine($"usage: Hyperscope.Fuzz {string.Join('|', FuzzTarget.All.Select(static one => one.Name))} [units] [seed] [most seconds]");
    return 2;
}

long units = args.Length > 1 ? long.Parse(args[1], CultureInfo.InvariantCulture) : 2_000_000;
int seed = args.Length > 2 ? int.Parse(args[2], CultureInfo.InvariantCulture) : 1;
var clock = Stopwatch.StartNew();
TimeSpan? limit = args.Length > 3 ? TimeSpan.FromSeconds(double.Parse(args[3], CultureInfo.InvariantCulture)) : null;
FuzzRun run = target.Feed(units, seed, limit);
GC.Collect();
GC.WaitForPendingFinalizers();
Console.WriteLine(
    $"{target.Name}: {run.Units} {target.Unit} in {run.Inputs} inputs, seed {seed}, {clock.Elapsed.TotalSeconds:0} s; {target.Summary()}");
Console.WriteLine(
    $"afterwards {GC.GetTotalMemory(forceFullCollection: true) >> 10} KiB of heap, {Process.GetCurrentProcess().Threads.Count} threads, "
    + $"{Directory.GetFileSystemEntries("/proc/self/fd").Length} descriptors");
return 0;
