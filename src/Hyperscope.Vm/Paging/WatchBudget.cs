namespace Hyperscope.Vm;

/// <summary>What all watches of a VM may use of memory together.</summary>
public sealed class WatchBudget
{
    /// <summary>The bound in bytes. A frame takes 128 bytes and 536 more for each kind it is watched for: some 100,000 frames watched for
    /// one kind.</summary>
    public const long Limit = 64L << 20;

    private long _used;

    /// <summary>Bytes in use.</summary>
    public long Used => Volatile.Read(ref _used);

    internal bool TryTake(long bytes)
    {
        if (Interlocked.Add(ref _used, bytes) <= Limit)
            return true;
        Return(bytes);
        return false;
    }

    internal void Return(long bytes) => Interlocked.Add(ref _used, -bytes);
}
