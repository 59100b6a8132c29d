using System.Globalization;

namespace Hyperscope.Kvm;

/// <summary>How many memory ranges that differ in protection the kernel lets this process have, and how many guests' views use.</summary>
/// <remarks>The kernel's limit (vm.max_map_count, 65530 unless changed) is the process's: once it is reached, the runtime cannot get memory
/// either. So a quarter is left alone.</remarks>
internal sealed class RangeBudget(int limit)
{
    private const int UsualLimit = 65530;

    private int _used;

    /// <summary>This process's.</summary>
    public static RangeBudget OfProcess { get; } = new(FindLimit() / 4 * 3);

    /// <summary>Ranges in use beyond one for each mapping.</summary>
    public int Used => Volatile.Read(ref _used);

    /// <summary>Whether so many more could be had now.</summary>
    public bool HasRoom(int ranges) => Used + ranges <= limit;

    /// <summary>Takes ranges, or with a negative number gives them back. False: there are too few.</summary>
    public bool TryTake(int ranges)
    {
        if (Interlocked.Add(ref _used, ranges) <= limit || ranges <= 0)
            return true;
        Interlocked.Add(ref _used, -ranges);
        return false;
    }

    /// <summary>Takes ranges even if there are too few.</summary>
    public void Take(int ranges) => Interlocked.Add(ref _used, ranges);

    private static int FindLimit()
    {
        try
        {
            return int.Parse(File.ReadAllText("/proc/sys/vm/max_map_count"), CultureInfo.InvariantCulture);
        }
        catch (Exception unreadable) when (unreadable is IOException or UnauthorizedAccessException or FormatException or OverflowException)
        {
            return UsualLimit;
        }
    }
}
